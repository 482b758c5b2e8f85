WITH step AS (
    -- The last value of each step of 1/120 of the recording in which it changed.
    SELECT strategy, value, t_ns, least(119, floor(120 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER + 1 AS step
    FROM timeline JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND t_ns >= first_ns AND metric = 'pool_idle')
SELECT strategy, step, arg_max(value, t_ns)::BIGINT AS value
FROM step
GROUP BY strategy, step
ORDER BY strategy, step;
