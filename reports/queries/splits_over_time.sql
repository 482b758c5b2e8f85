WITH taken AS (
    -- Splits after the first event, by steps of 1/120 of the recording.
    SELECT strategy, least(119, floor(120 * (t_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER + 1 AS step, count(*) AS splits
    FROM split JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND action = 'split' AND cause <> 'warm_up' AND t_ns >= first_ns GROUP BY ALL)
SELECT strategy, step, sum(splits) OVER (PARTITION BY strategy ORDER BY step)::BIGINT AS value
FROM taken
ORDER BY strategy <> 'unprotected', strategy, step;
