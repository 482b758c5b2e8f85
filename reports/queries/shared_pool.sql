SELECT CASE strategy WHEN 'generic' THEN 'one pool for all' ELSE 'a pool for each' END AS pools, pool_pages_peak,
       pool_blocks_end, pool_idle_pages_mean, splits_1g, splits_2m, permission_changes, tlb_flushes, pte_share_end
FROM strategy_summary
WHERE capture = $capture AND strategy IN ('generic', 'generic-separate')
ORDER BY strategy;
