SELECT count(*) AS runs, count(DISTINCT run.strategy) AS strategies
FROM run JOIN capture USING (capture_id)
WHERE capture.name = $capture AND NOT is_default;
