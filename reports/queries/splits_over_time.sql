WITH taken AS (
    SELECT strategy, least(239, floor(240 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER AS step, (last_ns - first_ns) / 240e9 AS step_s
    FROM split JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND action = 'split' AND cause <> 'warm_up' AND t_ns >= first_ns
)
SELECT strategy, step, round((step + 1) * step_s, 6) AS t_s, count(*) AS splits
-- One row per strategy and step of 1/240 of the recording in which anything was split after the first event.
FROM taken
GROUP BY strategy, step, step_s
ORDER BY strategy <> 'unprotected', strategy, step;
