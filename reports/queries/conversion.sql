SELECT strategy, permission_changes, pages_permission_changed, splits_1g, splits_2m, tlb_flushes, tlb_full_flushes, tlb_ipis, receiver_ns
FROM strategy_summary
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
