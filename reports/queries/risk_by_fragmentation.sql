SELECT 'machine' AS what, how AS kind, machine AS name, NULL::INTEGER AS refill_order, unusable_index_2, unusable_index_4, unusable_index_9,
       NULL::VARCHAR AS reclaim, NULL::DOUBLE AS times, NULL::DOUBLE AS times_low, NULL::DOUBLE AS times_high, false AS or_more, NULL::BIGINT AS draws
FROM measured_fragmentation
UNION ALL
SELECT 'pool', printf('page tables %.0f %% of demand, holes between %s pages', table_share * 100, holes), machine, refill_order,
       unusable_index_2, unusable_index_4, unusable_index_9, reclaim, times_order_0, times_low, times_high, times_or_more, draws
FROM risk_summary
WHERE capture = $capture AND times_order_0 IS NOT NULL
ORDER BY ALL;
