WITH leaf AS (
    SELECT run_id, sum(pages) FILTER (moment = 'end' AND leaf LIKE '%M') / sum(pages) FILTER (moment = 'end') AS pmd_share_end,
           (sum(pages) FILTER (moment = 'start' AND leaf LIKE '%G') - coalesce(sum(pages) FILTER (moment = 'end' AND leaf LIKE '%G'), 0))
               / sum(pages) FILTER (moment = 'end') AS pud_share_lost
    FROM (SELECT *, last_pfn - first_pfn + 1 AS pages FROM direct_map) GROUP BY run_id)
SELECT strategy, pte_share_mean, mapping_cost_pct_low, mapping_cost_pct_median, mapping_cost_pct_high, mapping_cost_basis,
       coalesce(pmd_share_end, 0) AS pmd_share_end, pud_share_lost, table_pages_direct_map, (table_pages_direct_map * page_bytes(page_size))::BIGINT AS table_bytes
FROM strategy_summary JOIN capture USING (capture_id) LEFT JOIN leaf USING (run_id)
WHERE capture.name = $capture AND strategy <> 'oracle'
ORDER BY strategy <> 'unprotected', strategy;
