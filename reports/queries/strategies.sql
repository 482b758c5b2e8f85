WITH counted AS (
    SELECT run_id, map_from_entries(list((metric, value))) AS m FROM run_metric GROUP BY run_id
), served AS (
    -- Requests of refills for a whole block, and those that got one.
    SELECT run_id, sum(refill_attempts) AS asked, sum(refill_attempts - refill_failures) AS got
    FROM run_order JOIN run USING (run_id) JOIN capture USING (capture_id)
    WHERE page_order >= log2(page_bytes(page_size) // 8) GROUP BY run_id
), fact AS (
    -- Every run in which nothing but the machine differs from the defaults.
    SELECT name AS capture, machine, strategy, m, coalesce(m['ptp_nulls'], 0) + coalesce(m['split_starvations'], 0) + coalesce(m['deadlocks'], 0) AS failures, asked, got, page_bytes(page_size) AS page_size,
           m['table_pages_direct_map'] - max(m['table_pages_direct_map']) FILTER (strategy = 'unprotected') OVER (PARTITION BY capture_id, machine) AS more_tables
    FROM run JOIN capture USING (capture_id) JOIN counted USING (run_id) LEFT JOIN served USING (run_id)
    SEMI JOIN (FROM run WHERE is_default) AS usual USING (strategy, params)
    ANTI JOIN (FROM run_setting WHERE NOT is_parameter AND setting <> 'machine' AND value IS DISTINCT FROM default_value) AS other USING (run_id)
), place AS (
    -- How worn a machine is: the share of requests for a whole free block that found one. A map that is all 4K has nothing to split.
    SELECT capture, machine, coalesce(sum(got) / nullif(sum(asked), 0), 1) AS whole_share, max(m['ptp_allocs']) AS allocs
    FROM fact GROUP BY ALL HAVING count(m['splits_2m']) > 0 AND min(m['pte_share_start']) < 0.995
), chosen AS (
    SELECT arg_max(place, (whole_share >= 0.5, allocs)) AS easy, arg_max(place, (whole_share < 0.5, allocs)) AS worn FROM place
), price AS (
    SELECT strategy, min(m['permission_changes'] / nullif(m['ptp_allocs'], 0)) AS changes_least, max(m['permission_changes'] / nullif(m['ptp_allocs'], 0)) AS changes_most,
           min(m['conversion_ns'] / nullif(m['ptp_allocs'], 0)) AS table_ns_least, max(m['conversion_ns'] / nullif(m['ptp_allocs'], 0)) AS table_ns_most,
           max(m['unkeyed_page_seconds']) AS unkeyed_page_seconds, max(m['unkeyed_split_tables']) AS unkeyed_split_tables,
           max(m['unkeyed_incidents']) AS unkeyed_incidents, sum(failures) AS failures
    FROM fact GROUP BY strategy
), pressed AS (
    -- The memory for which most strategies were drawn, and of those the most fragmented; over the variants of reclaim.
    SELECT strategy, capture, unusable_index_2, draws, median(times_unprotected) AS times,
           min(coalesce(low, least) * times_unprotected / headroom) AS times_low, max(coalesce(high, most) * times_unprotected / headroom) AS times_high, bool_or(or_more) AS or_more
    FROM (SELECT *, count(DISTINCT strategy) OVER drawn AS strategies FROM risk_summary SEMI JOIN (FROM run WHERE is_default) AS usual USING (strategy, params)
          WINDOW drawn AS (PARTITION BY capture, machine, table_share, fragmentation, holes))
    GROUP BY strategy, capture, machine, table_share, fragmentation, holes, unusable_index_2, draws, strategies
    QUALIFY dense_rank() OVER (ORDER BY strategies DESC, unusable_index_2 DESC, capture, machine, table_share, holes) = 1
), shared AS (
    SELECT strategy, min(coalesce(cpus_at_1_us, 512)) FILTER (free_order = 9) AS cpus_blocks, min(coalesce(cpus_at_1_us, 512)) FILTER (free_order = 2) AS cpus_pages
    FROM contention_limit GROUP BY strategy
)
SELECT strategy.strategy, family, holds, complete, depth, kind, broken_tasks, broken_with_others, steps,
       times, times_low, times_high, or_more, draws, pressed.capture AS pressed_capture, pressed.unusable_index_2 AS pressed_index_2,
       e.capture AS easy_capture, e.machine AS easy_machine, easy.whole_share AS easy_whole_share,
       w.capture AS worn_capture, w.machine AS worn_machine, worn.whole_share AS worn_whole_share,
       e.m['splits_1g'] + e.m['splits_2m'] AS easy_splits, w.m['splits_1g'] + w.m['splits_2m'] AS worn_splits,
       e.failures AS easy_failures, w.failures AS worn_failures, e.m['pte_share_mean'] AS easy_share, w.m['pte_share_mean'] AS worn_share,
       (coalesce(e.m['pool_idle_pages_mean'], 0) + greatest(e.more_tables, 0)) * e.page_size AS easy_held_bytes,
       (coalesce(w.m['pool_idle_pages_mean'], 0) + greatest(w.more_tables, 0)) * w.page_size AS worn_held_bytes,
       price.* EXCLUDE (strategy), cpus_blocks, cpus_pages, runs, judged, holding
FROM strategy JOIN price USING (strategy) LEFT JOIN chosen ON true
LEFT JOIN fact e ON e.strategy = strategy.strategy AND e.capture = easy.capture AND e.machine = easy.machine
LEFT JOIN fact w ON w.strategy = strategy.strategy AND w.capture = worn.capture AND w.machine = worn.machine
LEFT JOIN strategy_search searched ON searched.strategy = strategy.strategy AND searched.is_default LEFT JOIN pressed ON pressed.strategy = strategy.strategy
LEFT JOIN shared ON shared.strategy = strategy.strategy LEFT JOIN strategy_validation ON strategy_validation.strategy = strategy.strategy
WHERE family <> 'bound'
ORDER BY family <> 'baseline', worn_failures > 0, worn_splits, easy_splits, worn_held_bytes, strategy;
