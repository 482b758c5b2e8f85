WITH capture_of AS (SELECT capture_id, first_ns, greatest(last_ns - first_ns, 1) AS length_ns FROM capture WHERE name = $capture),
piece AS (
    -- Pages of each cell of $cell_pages pages before the first event, and of them those mapped at 4K; only cells in which anything is split.
    SELECT strategy, leaf LIKE '%K' AS small, first_pfn, last_pfn,
           unnest(range(first_pfn // $cell_pages, last_pfn // $cell_pages + 1)) AS cell
    FROM direct_map JOIN strategy_summary USING (run_id) JOIN capture_of USING (capture_id) WHERE moment = 'start'),
change AS (
    -- A 2M leaf that is split becomes a block of 4K; a collapse undoes that.
    SELECT strategy, pfn // $cell_pages AS cell,
           1 + least(119, floor(120 * ((t_ns - first_ns) / length_ns)))::INTEGER AS step,
           sum(CASE action WHEN 'split' THEN $block_pages ELSE -$block_pages END) AS pages
    FROM split JOIN strategy_summary USING (run_id) JOIN capture_of USING (capture_id)
    WHERE leaf LIKE '%M' AND cause <> 'warm_up' GROUP BY ALL),
start AS (
    SELECT strategy, cell, sum(pages) AS pages, coalesce(sum(pages) FILTER (small), 0) AS small
    FROM (SELECT *, least(last_pfn, (cell + 1) * $cell_pages - 1) - greatest(first_pfn, cell * $cell_pages) + 1 AS pages FROM piece WHERE cell IN (SELECT cell FROM change))
    GROUP BY strategy, cell)
SELECT strategy, cell, 0 AS step, pages, small::BIGINT AS pages_4k FROM start
UNION ALL
SELECT strategy, cell, step, start.pages,
       least(start.pages, small + sum(change.pages) OVER (PARTITION BY strategy, cell ORDER BY step))::BIGINT AS pages_4k
FROM change JOIN start USING (strategy, cell)
ORDER BY strategy <> 'unprotected', strategy, cell, step;
