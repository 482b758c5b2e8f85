SELECT strategy, pte_share_mean, pool_idle_pages_mean, conversion_ns, receiver_ns, ptp_allocs,
       coalesce(ptp_nulls, 0) + coalesce(split_starvations, 0) + coalesce(deadlocks, 0) + coalesce(oom_kills, 0) AS failures
FROM strategy_summary
WHERE capture = $capture AND strategy <> 'oracle'
ORDER BY strategy <> 'unprotected', strategy;
