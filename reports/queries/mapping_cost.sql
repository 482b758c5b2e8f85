SELECT strategy, pte_share_mean, mapping_cost_pct_low, mapping_cost_pct_median, mapping_cost_pct_high, mapping_cost_basis,
       table_pages_direct_map, (table_pages_direct_map * page_size)::BIGINT AS table_bytes
FROM strategy_summary JOIN capture USING (capture_id)
WHERE capture.name = $capture AND strategy <> 'oracle'
ORDER BY strategy <> 'unprotected', strategy;
