WITH started AS (
    -- How free memory lay before the first event: the share in blocks smaller than a large page.
    SELECT capture_id, coalesce(sum(blocks << page_order) FILTER (2 ** page_order < page_size // 8), 0) / sum(blocks << page_order) AS outside
    FROM free_blocks JOIN capture USING (capture_id) WHERE moment = 'before' AND migratetype IS NULL GROUP BY capture_id
), ended AS (
    -- On another machine than the recorded one, as it ends under today's kernel.
    SELECT capture_id, machine, 1 - least(1, max(run_metric.value) FILTER (metric = 'huge_blocks_free_end') * any_value(page_bytes(page_size) // 8) / max(free)) AS outside
    FROM run JOIN capture USING (capture_id) JOIN run_metric USING (run_id)
    JOIN (SELECT run_id, arg_max(value, t_ns) AS free FROM timeline WHERE metric = 'free_pages' GROUP BY run_id) AS last USING (run_id)
    WHERE strategy = 'unprotected' GROUP BY ALL
), fact AS (
    SELECT capture_id, name, machine, strategy, sum(value) FILTER (metric IN ('splits_1g', 'splits_2m')) AS splits,
           sum(value) FILTER (metric IN ('ptp_nulls', 'split_starvations', 'deadlocks')) AS failures, max(value) FILTER (metric = 'ptp_allocs') AS allocs
    FROM run JOIN capture USING (capture_id) JOIN run_metric USING (run_id)
    SEMI JOIN (FROM run WHERE is_default) AS usual USING (strategy, params)
    ANTI JOIN (FROM run_setting WHERE NOT is_parameter AND setting <> 'machine' AND value IS DISTINCT FROM default_value) AS other USING (run_id)
    GROUP BY ALL
), run_at AS (
    SELECT strategy, concat_ws(' on ', name, nullif(machine, 'recorded')) AS place, name = $capture AS own,
           if(machine = 'recorded', started.outside, ended.outside) AS x, splits, failures, allocs
    FROM fact LEFT JOIN started USING (capture_id) LEFT JOIN ended USING (capture_id, machine) JOIN strategy USING (strategy)
    WHERE family = 'pool' AND allocs > 0 AND x IS NOT NULL
), mine AS (
    -- With default parameters, or the one pool that is run with refills of 1, 4 and 512 pages.
    SELECT * REPLACE (if(refill_order IS NULL, strategy, label) AS strategy)
    FROM risk_summary LEFT JOIN (SELECT DISTINCT strategy, params, true AS usual FROM run WHERE is_default) USING (strategy, params)
    WHERE capture = $capture AND (usual OR refill_order IS NOT NULL)
)
SELECT 'splits for 1,000 page tables' AS what, strategy, place, own, x, 1000 * splits / allocs AS y, NULL AS low, NULL AS high
FROM run_at WHERE splits IS NOT NULL AND failures = 0
UNION ALL
SELECT 'tables and splits that failed, %', strategy, place, own, x, least(100, 100 * failures / allocs), NULL, NULL FROM run_at
UNION ALL
SELECT 'memory wanted (today''s kernel: 1)', strategy, concat_ws(' ', fragmentation, holes), true, unusable_index_2, median(times_unprotected),
       min(times_unprotected), max(times_unprotected)
FROM mine WHERE strategy <> 'unprotected' AND times_unprotected IS NOT NULL GROUP BY strategy, machine, table_share, fragmentation, holes, unusable_index_2
UNION ALL
SELECT 'more stalls for a million allocations', strategy, concat_ws(' ', fragmentation, holes), true, unusable_index_2, median(excess_stalls_per_million),
       min(excess_stalls_per_million), max(excess_stalls_per_million)
FROM mine WHERE strategy <> 'unprotected' AND excess_stalls_per_million IS NOT NULL GROUP BY strategy, machine, table_share, fragmentation, holes, unusable_index_2
UNION ALL
SELECT 'machine', how, machine, false, unusable_index_9, unusable_index_2, NULL, NULL FROM measured_fragmentation
ORDER BY ALL;
