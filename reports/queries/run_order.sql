SELECT strategy, page_order, attempts, failures, refill_attempts, refill_failures, kswapd, compact_async, reclaim,
       compact_sync, oom_kill, "null"
FROM run_order JOIN strategy_summary USING (run_id)
WHERE capture = $capture AND (failures > 0 OR refill_attempts > 0 OR kswapd > 0 OR reclaim > 0 OR oom_kill > 0 OR "null" > 0)
ORDER BY strategy <> 'unprotected', strategy, page_order;
