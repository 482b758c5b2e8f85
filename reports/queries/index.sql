SELECT capture, strategy, ptp_allocs, ptp_live_peak, refills, splits_1g, splits_2m, pte_share_mean, pool_idle_pages_mean,
       ptp_nulls, split_starvations, oom_kills
FROM strategy_summary
ORDER BY capture, strategy <> 'unprotected', strategy;
