SELECT count(*) AS runs, count(DISTINCT run.strategy) AS strategies
FROM run JOIN capture USING (capture_id)
WHERE capture.name = $capture AND mode = 'policy' AND NOT is_default;
