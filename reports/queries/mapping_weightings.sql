WITH share AS (
    -- The same scale under three readings of "share at 4K"; a share that no run_metric row gives is NULL.
    SELECT strategy, capture.arch, weighting, value AS share
    FROM strategy_summary JOIN capture USING (capture_id)
    CROSS JOIN (VALUES (1, 'all memory', 'pte_share_mean'), (2, 'allocated kernel memory', 'pte_share_kernel_end'),
                       (3, 'allocation activity', 'pte_share_activity')) AS w (place, weighting, metric)
    LEFT JOIN run_metric ON run_metric.run_id = strategy_summary.run_id AND run_metric.metric = w.metric
    WHERE capture.name = $capture),
scale AS (
    SELECT * FROM mapping_scale
    WHERE arch || ', ' || metric = (SELECT any_value(mapping_cost_basis) FROM strategy_summary WHERE capture = $capture))
SELECT strategy, weighting, share, CASE WHEN share >= 0.01 THEN share * low_pct END AS low_pct,
       CASE WHEN share >= 0.01 THEN share * median_pct END AS median_pct,
       CASE WHEN share >= 0.01 THEN share * high_pct END AS high_pct
FROM share CROSS JOIN scale
ORDER BY strategy <> 'unprotected', strategy, weighting <> 'all memory', weighting;
