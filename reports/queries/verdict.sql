WITH run_out AS (
    -- The most headroom at which it failed at least once while the paired unprotected run did not; 0: never.
    SELECT capture_id, strategy, coalesce(max(headroom) FILTER (failures > 0), 0) AS fails_at_headroom
    FROM risk SEMI JOIN (FROM run WHERE is_default) AS run USING (capture_id, strategy, params)
    WHERE machine = 'recorded' GROUP BY ALL
), fact AS (
    SELECT strategy, splits_1g, splits_2m, pte_share_mean, mapping_cost_pct_median, conversion_ns, ptp_alloc_p99_ns,
           (coalesce(pool_idle_pages_mean, 0) + table_pages_direct_map - coalesce(min(table_pages_direct_map) FILTER (strategy = 'unprotected')
               OVER (), 0)) * page_bytes(page_size) AS held_bytes,
           fails_at_headroom, unkeyed_page_seconds, unkeyed_split_tables, unkeyed_incidents,
           coalesce(ptp_nulls, 0) + coalesce(split_starvations, 0) + coalesce(deadlocks, 0) AS failures
    FROM strategy_summary JOIN capture USING (capture_id) LEFT JOIN run_out USING (capture_id, strategy)
    WHERE capture.name = $capture AND strategy <> 'oracle'
), weighed AS (
    -- Two digits: these are estimates, and smaller differences mean nothing. A cost that was not measured for both is not compared.
    SELECT strategy, failures, list_transform([splits_1g + splits_2m, held_bytes, pte_share_mean, conversion_ns, ptp_alloc_p99_ns, fails_at_headroom,
               unkeyed_page_seconds, unkeyed_split_tables, unkeyed_incidents], lambda x: printf('%.2g', x)::DOUBLE) AS costs
    FROM fact WHERE strategy <> 'unprotected'
), beaten AS (
    SELECT one.strategy, string_agg(other.strategy, ', ' ORDER BY other.strategy) AS beaten_by
    FROM weighed one JOIN weighed other ON other.strategy <> one.strategy AND other.failures = 0
    WHERE list_bool_and(list_transform(list_zip(other.costs, one.costs), lambda x: coalesce(x[1] <= x[2], true)))
      AND list_bool_or(list_transform(list_zip(other.costs, one.costs), lambda x: coalesce(x[1] < x[2], false)))
    GROUP BY one.strategy
)
SELECT strategy, CASE WHEN strategy = 'unprotected' THEN 'no key: today''s kernel' WHEN failures > 0 THEN 'did not supply everything'
                      WHEN beaten_by IS NULL THEN 'none beats it' ELSE 'beaten' END AS standing,
       splits_1g, splits_2m, held_bytes, pte_share_mean, mapping_cost_pct_median, conversion_ns, ptp_alloc_p99_ns,
       fails_at_headroom, unkeyed_page_seconds, unkeyed_split_tables, unkeyed_incidents, beaten_by,
       CASE WHEN runs IS NULL THEN 'not validated' ELSE holding || ' of ' || judged || ' hold' END AS in_a_real_kernel
FROM fact LEFT JOIN beaten USING (strategy) LEFT JOIN strategy_validation USING (strategy)
ORDER BY strategy <> 'unprotected', failures > 0, beaten_by IS NOT NULL, conversion_ns, strategy;
