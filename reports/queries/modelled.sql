SELECT strategy, metric
FROM run_metric JOIN strategy_summary USING (run_id)
WHERE capture = $capture
ORDER BY strategy, metric;
