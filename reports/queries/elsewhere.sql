WITH given AS (
    -- Runs at default parameters in which a setting is not the default; sweeps have tables of their own.
    SELECT run_id, string_agg(concat(setting, ' ', value), ', ' ORDER BY setting) FILTER (NOT is_parameter) AS settings
    FROM run_setting ANTI JOIN sweep USING (run_id) WHERE value IS DISTINCT FROM default_value
    GROUP BY run_id HAVING NOT bool_or(is_parameter)
), fact AS (
    SELECT run_id, settings, strategy, count(*) OVER (PARTITION BY settings) AS strategies
    FROM given JOIN run USING (run_id) JOIN capture USING (capture_id) WHERE capture.name = $capture AND strategy <> 'oracle'
), counted AS (
    SELECT run_id, map_from_entries(list((metric, value))) AS m FROM run_metric SEMI JOIN fact USING (run_id) GROUP BY run_id
)
SELECT settings, strategy, m['splits_warm_up'] AS splits_warm_up, m['splits_1g'] + m['splits_2m'] AS splits, m['pte_share_mean'] AS pte_share_mean, m['refills'] AS refills,
       m['pool_idle_pages_mean'] AS pool_idle_pages_mean, m['permission_changes'] AS permission_changes, m['conversion_ns'] / nullif(m['ptp_allocs'], 0) AS table_ns,
       m['stalls'] AS stalls, m['ptp_nulls'] + coalesce(m['split_starvations'], 0) + coalesce(m['deadlocks'], 0) AS not_supplied,
       m['oom_kills'] AS oom_kills
FROM fact JOIN counted USING (run_id)
QUALIFY dense_rank() OVER (ORDER BY strategies DESC, settings) <= 4
ORDER BY strategies DESC, settings, strategy <> 'unprotected', splits_warm_up + splits, pool_idle_pages_mean, strategy;
