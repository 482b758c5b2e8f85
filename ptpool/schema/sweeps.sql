-- Runs compared: what a sweep's settings do, which strategies nothing beats, and on how many machines.

CREATE VIEW sweep_setting AS
WITH member AS (SELECT sweep, run.* FROM sweep JOIN run USING (run_id)), given AS (
    SELECT sweep, run_id, capture_id, strategy, is_parameter, setting, value FROM member JOIN run_setting USING (run_id)
)
SELECT * FROM given QUALIFY count(DISTINCT value) OVER (PARTITION BY sweep, strategy, setting) > 1;
COMMENT ON VIEW sweep_setting IS 'What differs between the runs of a sweep: a row for each run and setting that has more than one value';
COMMENT ON COLUMN sweep_setting.value IS 'Its value in this run';

CREATE VIEW sweep_effect AS
SELECT sweep, capture.name AS capture, strategy, setting, sweep_setting.value, metric, count(*) AS runs, avg(run_metric.value) AS mean,
       min(run_metric.value) AS lowest, max(run_metric.value) AS highest, var_pop(run_metric.value) AS variance
FROM sweep_setting JOIN run_metric USING (run_id) JOIN capture USING (capture_id)
WHERE run_metric.value IS NOT NULL GROUP BY ALL;
COMMENT ON VIEW sweep_effect IS 'Main effects: each metric by each value of a setting, whatever the other settings of the sweep were';
COMMENT ON COLUMN sweep_effect.value IS 'Its value';
COMMENT ON COLUMN sweep_effect.runs IS 'Runs with this value';
COMMENT ON COLUMN sweep_effect.mean IS 'Mean of the metric over them';
COMMENT ON COLUMN sweep_effect.lowest IS 'Smallest';
COMMENT ON COLUMN sweep_effect.highest IS 'Largest';
COMMENT ON COLUMN sweep_effect.variance IS 'Variance (of the whole population) within them';

CREATE VIEW sweep_sensitivity AS
WITH total AS (
    SELECT sweep, capture, strategy, setting, metric, sum(runs) AS runs, sum(runs * mean) / sum(runs) AS grand,
           arg_min(value, mean) AS lowest_at, min(mean) AS lowest, arg_max(value, mean) AS highest_at, max(mean) AS highest,
           sum(runs * variance) / sum(runs) AS within, sum(runs * mean * mean) / sum(runs) AS square
    FROM sweep_effect GROUP BY ALL
)
SELECT sweep, capture, strategy, setting, metric, runs, lowest_at, lowest, highest_at, highest,
       greatest(square - grand * grand, 0) / (within + greatest(square - grand * grand, 0)) AS share
FROM total WHERE highest > lowest;
COMMENT ON VIEW sweep_sensitivity IS 'How much each metric depends on each setting of a sweep; no row where it does not depend on it at all';
COMMENT ON COLUMN sweep_sensitivity.runs IS 'Runs';
COMMENT ON COLUMN sweep_sensitivity.lowest_at IS 'Value of the setting at which the metric is smallest on average';
COMMENT ON COLUMN sweep_sensitivity.lowest IS 'The metric there';
COMMENT ON COLUMN sweep_sensitivity.highest_at IS 'Value at which it is largest on average';
COMMENT ON COLUMN sweep_sensitivity.highest IS 'The metric there';
COMMENT ON COLUMN sweep_sensitivity.share IS 'Share of the metric''s variance that this setting explains by itself (correlation ratio; in a full grid the first-order Sobol index); of the seed: luck';

CREATE VIEW design_point AS
WITH compared AS (
    SELECT sweep, run_id FROM sweep UNION ALL SELECT 'replay run', run_id FROM run WHERE is_default
), measured AS (
    SELECT run_id, coalesce(max(value) FILTER (metric = 'pool_idle_pages_mean'), 0) + max(value) FILTER (metric = 'table_pages_direct_map') AS pages_held,
           coalesce(max(value) FILTER (metric = 'splits_1g') + max(value) FILTER (metric = 'splits_2m') + max(value) FILTER (metric = 'splits_warm_up'),
                    max(value) FILTER (metric = 'table_pages_direct_map')) AS splits,
           max(value) FILTER (metric = 'stalls') AS stalls, max(value) FILTER (metric = 'conversion_ns') AS conversion_ns,
           sum(value) FILTER (metric IN ('ptp_nulls', 'split_starvations', 'deadlocks', 'unkeyed_page_seconds')) AS failures
    FROM run_metric GROUP BY run_id
)
SELECT sweep, capture.name AS capture, /* settings */, /* settings in words */ AS replayed_on, strategy, params, count(*) AS runs, avg(pages_held) AS pages_held,
       avg(splits) AS splits, avg(stalls) AS stalls, avg(conversion_ns) AS conversion_ns, max(failures) = 0 AS protects
FROM compared JOIN run USING (run_id) JOIN capture USING (capture_id) JOIN measured USING (run_id)
WHERE pages_held IS NOT NULL GROUP BY ALL;
COMMENT ON VIEW design_point IS 'What a strategy with its parameters costs on a machine: the mean over seeds, by sweep; sweep ''replay run'' are the runs at default parameters';
COMMENT ON COLUMN design_point.sweep IS 'Sweep, or ''replay run''';
COMMENT ON COLUMN design_point.replayed_on IS 'The machine, and the settings that are not the default';
COMMENT ON COLUMN design_point.runs IS 'Runs, one for each seed';
COMMENT ON COLUMN design_point.pages_held IS 'Memory held: idle pages of the pool (mean over time) and tables of the direct map, pages';
COMMENT ON COLUMN design_point.splits IS 'Splits of the direct map, those of the warm-up included; of a map that has only small pages, as many as it has tables';
COMMENT ON COLUMN design_point.stalls IS 'Allocations that had to reclaim, compact or kill';
COMMENT ON COLUMN design_point.protects IS 'No page table was refused or left without its key, no split starved, nothing locked up';

CREATE VIEW pareto_front AS
SELECT * FROM design_point AS mine
WHERE protects AND NOT EXISTS (
    FROM design_point AS other
    WHERE other.protects AND (other.sweep, other.capture, /* other.settings */) = (mine.sweep, mine.capture, /* mine.settings */)
      AND other.pages_held <= mine.pages_held AND other.splits <= mine.splits AND other.stalls <= mine.stalls
      AND other.conversion_ns <= mine.conversion_ns
      AND (other.pages_held < mine.pages_held OR other.splits < mine.splits OR other.stalls < mine.stalls
           OR other.conversion_ns < mine.conversion_ns));
COMMENT ON VIEW pareto_front IS 'Points of design_point that protect and that no other of the same sweep, capture and machine beats: none is better in memory held, splits, stalls or conversion time without being worse in another';
COMMENT ON COLUMN pareto_front.sweep IS 'Sweep, or ''replay run''';
COMMENT ON COLUMN pareto_front.runs IS 'Runs, one for each seed';
COMMENT ON COLUMN pareto_front.splits IS 'Splits of the direct map';
COMMENT ON COLUMN pareto_front.protects IS 'Always true';

CREATE VIEW fleet_wins AS
WITH quantity AS (
    SELECT sweep, capture, /* settings */, strategy, unnest([
        {metric: 'pages_held', value: pages_held}, {metric: 'splits', value: splits}, {metric: 'stalls', value: stalls},
        {metric: 'conversion_ns', value: conversion_ns}], recursive := true)
    FROM design_point WHERE protects
), best AS (
    SELECT sweep, capture, /* settings */, strategy, metric, min(value) AS value FROM quantity GROUP BY ALL
), ranked AS (
    SELECT *, rank() OVER contest AS place, count(*) OVER (contest RANGE BETWEEN CURRENT ROW AND CURRENT ROW) AS ties
    FROM best WINDOW contest AS (PARTITION BY sweep, capture, /* settings */, metric ORDER BY value)
)
SELECT sweep, metric, strategy, count(*) FILTER (place = 1) AS wins, count(*) FILTER (place = 1 AND ties = 1) AS wins_alone,
       count(*) AS machines, avg(place) AS mean_place
FROM ranked GROUP BY ALL;
COMMENT ON VIEW fleet_wins IS 'On how many machines each strategy is best: a machine is a capture with what it was replayed on; of several parameter sets of a strategy its best counts';
COMMENT ON COLUMN fleet_wins.sweep IS 'Sweep, or ''replay run''';
COMMENT ON COLUMN fleet_wins.metric IS 'What is compared, the smaller the better: pages_held, splits, stalls, conversion_ns of design_point';
COMMENT ON COLUMN fleet_wins.wins IS 'Machines on which no other strategy that protects is better';
COMMENT ON COLUMN fleet_wins.wins_alone IS 'Of those, machines on which every other is worse';
COMMENT ON COLUMN fleet_wins.machines IS 'Machines on which this strategy protects';
COMMENT ON COLUMN fleet_wins.mean_place IS 'Its place among those that protect, 1 for the best, mean over these machines';

CREATE MACRO fleet(folder, a_metric) AS TABLE
WITH shard AS (
    SELECT * FROM read_parquet(folder || '/**/*.parquet', hive_partitioning = true, union_by_name = true)
), measured AS (
    SELECT capture_id, /* settings */, strategy, params,
           avg(list_filter(metrics, lambda m: m.metric = a_metric)[1].value) AS value
    FROM shard GROUP BY ALL
    HAVING sum(list_sum(list_transform(list_filter(metrics, lambda m: m.metric IN ('ptp_nulls', 'split_starvations', 'deadlocks', 'unkeyed_page_seconds')),
                                       lambda m: m.value))) = 0
), best AS (
    SELECT capture_id, /* settings */, strategy, min(value) AS value FROM measured WHERE value IS NOT NULL GROUP BY ALL
), ranked AS (
    SELECT strategy, value, rank() OVER (PARTITION BY capture_id, /* settings */ ORDER BY value) AS place FROM best
)
SELECT strategy, count(*) FILTER (place = 1) AS wins, count(*) AS machines, avg(place) AS mean_place, median(value) AS median_value
FROM ranked GROUP BY strategy ORDER BY wins DESC, mean_place, strategy;
COMMENT ON MACRO TABLE fleet IS 'Shards of many hosts (ptpool replay sweep --out) in one folder: on how many machines each strategy that protects has the smallest value of a metric; no capture of theirs has to be in this warehouse: strategy, wins, machines, mean_place, median_value';
