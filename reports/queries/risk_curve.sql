SELECT memory_in_words(machine, table_share, fragmentation, holes) AS fragmentation, reclaim, strategy, label, headroom, seeds,
       failures / seeds AS p, p_low, p_high, failures_unprotected / seeds AS p_unprotected, unusable_index_2, unusable_index_4, unusable_index_9
FROM risk JOIN strategy_label USING (strategy, params) JOIN capture USING (capture_id)
WHERE capture.name = $capture
ORDER BY fragmentation, reclaim, label, headroom;
