WITH default_run AS (
    SELECT run.* FROM run JOIN strategy_summary USING (run_id) WHERE strategy_summary.capture = $capture),
other AS (
    -- Runs of this warehouse in which one thing differs from the default run of the same strategy, and which.
    SELECT strategy, base.run_id AS base_id, run.run_id, list_filter([
               CASE WHEN run.seed <> base.seed THEN 'seed' END,
               CASE WHEN run.reclaim <> base.reclaim THEN 'reclaim' END,
               CASE WHEN run.machine <> base.machine THEN 'machine' END,
               CASE WHEN run.costs <> base.costs THEN 'cost profile' END,
               CASE WHEN run.copies <> base.copies THEN 'copies' END,
               CASE WHEN run.inject <> base.inject THEN 'injected changes' END,
               CASE WHEN run.params <> base.params THEN 'parameters' END], lambda what: what IS NOT NULL) AS changed
    FROM run JOIN default_run base USING (capture_id, strategy)
    WHERE run.run_id <> base.run_id),
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
