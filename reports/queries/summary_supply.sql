SELECT strategy, ptp_allocs, ptp_live_peak, refills, block_failures, pool_pages_peak, pool_idle_pages_mean,
       stranded_pages_mean, reserve_pages_min
FROM strategy_summary
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
