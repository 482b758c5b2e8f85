WITH step AS (
    -- At most 240 points a series: the last value of each step of the recording in which it changed.
    SELECT strategy, metric, t_ns, value, (last_ns - first_ns) / 240e9 AS width_s,
           least(239, floor(240 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER AS step
    FROM timeline JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND t_ns >= first_ns AND refills IS NOT NULL AND metric IN ('ptp_live', 'pool_held', 'pool_idle'))
SELECT strategy, round((step + 1) * any_value(width_s), 6) AS t_s,
       arg_max(value, t_ns) FILTER (metric = 'ptp_live') AS ptp_live,
       arg_max(value, t_ns) FILTER (metric = 'pool_held') AS pool_held,
       arg_max(value, t_ns) FILTER (metric = 'pool_idle') AS pool_idle
FROM step
GROUP BY strategy, step
ORDER BY strategy, step;
