SELECT strategy, pte_share_mean, pte_share_kernel_end, pte_share_activity, mapping_cost_pct_median AS mapping_cost_pct_by_bytes,
       CASE WHEN pte_share_kernel_end >= 0.01 THEN pte_share_kernel_end * basis.median_pct END AS mapping_cost_pct_by_kernel_memory,
       CASE WHEN pte_share_activity >= 0.01 THEN pte_share_activity * basis.median_pct END AS mapping_cost_pct_by_activity
-- The same scale under three readings of "share at 4K": of the bytes, of the kernel's own memory, of allocations.
FROM strategy_summary JOIN mapping_basis basis USING (capture_id)
WHERE capture = $capture AND strategy <> 'oracle'
ORDER BY strategy <> 'unprotected', strategy;
