WITH step AS (
    -- One row per strategy, cause and step of 1/240 of the recording in which that cause split something.
    SELECT strategy, cause, (last_ns - first_ns) / 240e9 AS width_s,
           least(239, floor(240 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER AS step, count(*) AS splits
    FROM split JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND action = 'split' AND cause <> 'warm_up' AND t_ns >= first_ns
    GROUP BY ALL)
SELECT strategy, cause, round((step + 1) * width_s, 6) AS t_s, splits,
       sum(splits) OVER (PARTITION BY strategy, cause ORDER BY step)::BIGINT AS splits_so_far
FROM step
ORDER BY strategy <> 'unprotected', strategy, cause, step;
