SELECT memory_in_words(machine, table_share, fragmentation, holes) AS fragmentation, reclaim, label AS strategy, refill_order, headroom, or_more,
       low, high, least, most, never_enough, draws, times_unprotected, fails_sooner, fails_sooner_in_all, first_failure, excess_stalls_per_million,
       checked, contradicted
FROM risk_summary
WHERE capture = $capture
ORDER BY table_share, unusable_index_2, fragmentation, reclaim, headroom DESC, strategy;
