WITH default_run AS (
    SELECT run.* FROM run JOIN strategy_summary USING (run_id) WHERE strategy_summary.capture = $capture),
other AS (
    -- Runs of this warehouse in which one thing differs from the default run of the same strategy, and which.
    SELECT run.strategy, base.run_id AS base_id, run.run_id, list(DISTINCT if(is_parameter, 'parameters', setting)) AS changed
    FROM run JOIN default_run base USING (capture_id, strategy) JOIN run_setting ON run_setting.run_id = run.run_id
    WHERE run_setting.value IS DISTINCT FROM default_value GROUP BY ALL),
compared AS (
    SELECT strategy, changed[1] AS changed, run_metric.metric, base.value AS by_default, run_metric.value
    FROM other JOIN run_metric USING (run_id) JOIN run_metric base ON base.run_id = base_id AND base.metric = run_metric.metric
    WHERE len(changed) = 1 AND run_metric.metric IN (
        'splits_1g', 'splits_2m', 'pte_share_mean', 'refills', 'pool_idle_pages_mean', 'reserve_pages_min', 'permission_changes',
        'ptp_nulls', 'split_starvations', 'deadlocks', 'oom_kills', 'stalls')),
spread AS (
    SELECT changed, strategy, metric, count(*) AS runs, any_value(by_default) AS by_default, min(value) AS lowest, max(value) AS highest
    FROM compared GROUP BY changed, strategy, metric)
SELECT changed, strategy, metric, runs, by_default, lowest, highest
FROM spread
WHERE lowest IS DISTINCT FROM by_default OR highest IS DISTINCT FROM by_default
ORDER BY changed, greatest(abs(highest - by_default), abs(lowest - by_default)) / greatest(abs(by_default), 0.01) DESC, strategy, metric
LIMIT 40;
