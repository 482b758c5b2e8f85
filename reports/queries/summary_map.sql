SELECT strategy, splits_1g, splits_2m, splits_warm_up, pte_share_start, pte_share_end, pte_share_mean,
       huge_blocks_free_delta_vs_unprotected
FROM strategy_summary
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
