SELECT strategy, leaf, cause, count(*) AS splits,
       CASE WHEN cause <> 'warm_up' THEN (min(t_ns) - any_value(first_ns)) / 1e9 END AS first_s,
       CASE WHEN cause <> 'warm_up' THEN (max(t_ns) - any_value(first_ns)) / 1e9 END AS last_s
FROM split JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
WHERE capture.name = $capture AND action = 'split'
GROUP BY strategy, leaf, cause
ORDER BY strategy <> 'unprotected', strategy, leaf, cause;
