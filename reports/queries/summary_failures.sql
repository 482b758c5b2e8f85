SELECT strategy, ptp_nulls, oom_kills_by_refill, split_starvations, deadlocks, unkeyed_page_seconds, stalls, oom_kills,
       permission_changes, tlb_flushes
FROM strategy_summary
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
