SELECT strategy, permission_changes, pages_permission_changed, tlb_flushes, tlb_ipis, conversion_ns
FROM strategy_summary
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
