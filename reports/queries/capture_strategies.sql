SELECT strategy, coalesce(family, 'pool') AS family, splits_1g + splits_2m AS splits, pte_share_mean AS share,
       (coalesce(pool_idle_pages_mean, 0) + greatest(table_pages_direct_map - coalesce(max(table_pages_direct_map) FILTER (strategy = 'unprotected') OVER (), 0), 0))
           * page_bytes(page_size) AS held_bytes,
       permission_changes AS changes, conversion_ns / nullif(ptp_allocs, 0) AS table_ns, ptp_alloc_p99_ns AS slow_ns,
       stalls - max(stalls) FILTER (strategy = 'unprotected') OVER () AS more_stalls,
       ptp_nulls + coalesce(split_starvations, 0) + coalesce(deadlocks, 0) AS not_supplied, coalesce(oom_kills, 0) AS kills, not_supplied + kills AS failures,
       unkeyed_page_seconds, unkeyed_split_tables, unkeyed_incidents
FROM strategy_summary JOIN capture USING (capture_id) LEFT JOIN strategy USING (strategy)
WHERE capture.name = $capture AND strategy <> 'oracle'
ORDER BY strategy <> 'unprotected', splits, held_bytes, strategy;
