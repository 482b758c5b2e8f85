SELECT memory_in_words(machine, table_share, fragmentation, holes) AS fragmentation, reclaim, refill_order, draws,
       times_order_0, times_or_more, times_low, times_high, times_least, times_most
FROM risk_summary
WHERE capture = $capture AND times_order_0 IS NOT NULL
ORDER BY table_share, unusable_index_2, fragmentation, reclaim, refill_order;
