WITH step AS (
    -- Share of the direct map mapped at 4K: the last value of each of 240 steps in which it changed, and that at the start (step 0).
    SELECT run_id, strategy, (last_ns - first_ns) / 240e9 AS width_s, t_ns, value,
           CASE WHEN t_ns > first_ns
                THEN 1 + least(239, floor(240 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER ELSE 0 END AS step
    FROM timeline JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND metric = 'pte_pages'),
map AS (
    SELECT run_id, sum(last_pfn - first_pfn + 1) AS pages FROM direct_map WHERE moment = 'start' GROUP BY run_id)
SELECT strategy, round(step * any_value(width_s), 6) AS t_s, arg_max(value, t_ns) / any_value(pages) AS share_4k
FROM step JOIN map USING (run_id)
GROUP BY strategy, step
ORDER BY strategy <> 'unprotected', strategy, step;
