SELECT strategy, moment, sum(pages) AS pages,
       coalesce(sum(pages) FILTER (leaf LIKE '%G'), 0) AS pages_1g, coalesce(sum(pages) FILTER (leaf LIKE '%M'), 0) AS pages_2m,
       coalesce(sum(pages) FILTER (leaf LIKE '%K'), 0) AS pages_4k, coalesce(sum(pages) FILTER (keyed), 0) AS pages_keyed,
       coalesce(sum(pages) FILTER (keyed AND leaf LIKE '%K'), 0) AS pages_keyed_4k,
       pages_1g / sum(pages) AS share_1g, pages_2m / sum(pages) AS share_2m, pages_4k / sum(pages) AS share_4k
FROM (SELECT *, last_pfn - first_pfn + 1 AS pages FROM direct_map) JOIN strategy_summary USING (run_id)
WHERE capture = $capture
GROUP BY strategy, moment
ORDER BY strategy <> 'unprotected', strategy, moment DESC;
