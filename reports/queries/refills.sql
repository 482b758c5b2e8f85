SELECT strategy, page_order, refill_attempts, refill_attempts - refill_failures AS refills_served, refill_failures
FROM run_order JOIN strategy_summary USING (run_id)
WHERE capture = $capture AND refill_attempts > 0
ORDER BY strategy, page_order DESC;
