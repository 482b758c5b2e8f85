WITH step AS (
    -- At most 240 points a series: the last value of each step of the recording, and the lowest value for reserve_low.
    SELECT strategy, metric, t_ns, value, (last_ns - first_ns) / 240e9 AS width_s,
           least(239, floor(240 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER AS step
    FROM timeline JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND t_ns >= first_ns AND refills IS NOT NULL
      AND metric IN ('ptp_live', 'pool_held', 'pool_idle', 'reserve_low')),
level AS (
    SELECT strategy, step, round((step + 1) * any_value(width_s), 6) AS t_s,
           arg_max(value, t_ns) FILTER (metric = 'ptp_live') AS ptp_live,
           arg_max(value, t_ns) FILTER (metric = 'pool_held') AS pool_held,
           arg_max(value, t_ns) FILTER (metric = 'pool_idle') AS pool_idle,
           min(value) FILTER (metric = 'reserve_low') AS lowest,
           arg_max(value, t_ns) FILTER (metric = 'reserve_low') AS low_after
    FROM step GROUP BY strategy, step)
SELECT strategy, t_s, ptp_live, pool_held, pool_idle,
       -- The time line has a value only where it changed: a step without one is as the last one ended.
       coalesce(lowest, last_value(low_after IGNORE NULLS) OVER (PARTITION BY strategy ORDER BY step)) AS reserve_low
FROM level
ORDER BY strategy, step;
