SELECT capture, strategy, splits_1g + splits_2m AS splits, pte_share_mean, pool_idle_pages_mean, permission_changes,
       coalesce(ptp_nulls, 0) + coalesce(split_starvations, 0) + coalesce(deadlocks, 0) + coalesce(oom_kills, 0) AS failures
FROM strategy_summary
WHERE strategy <> 'oracle'
ORDER BY capture, strategy <> 'unprotected', strategy;
