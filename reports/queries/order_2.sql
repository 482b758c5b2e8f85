SELECT capture, unusable_index_2, table_share, holes, reclaim, times_order_0, times_low, times_high, times_least, times_most, times_or_more, draws
FROM risk_summary
WHERE refill_order = 2 AND times_order_0 IS NOT NULL
ORDER BY unusable_index_2, reclaim, capture, table_share, holes;
