-- One answer to each question that a command and the report both ask: commands print these views, reports word them.

CREATE MACRO median_rank(draws) AS list_reduce(
    -- Adds the binomial terms C(draws, k) / 2^draws from k = 0 on, and counts how many fit into 2.5 %.
    list_prepend({term: 0.5::DOUBLE ** draws, below: 0.0::DOUBLE, rank: -1}, list_transform(range(1, (draws // 2 + 1)::BIGINT),
        lambda k: {term: (draws - k + 1) / k, below: 0.0::DOUBLE, rank: 0})),
    lambda sum, next: {term: sum.term * next.term, below: sum.below + sum.term, rank: sum.rank + if(sum.below + sum.term <= 0.025, 1, 0)}).rank;
COMMENT ON MACRO median_rank IS 'Rank, from 0, of the draw at which the 95 % interval of a median begins (order statistics); it ends at the same rank from the largest draw. -1: fewer than 6 draws, too few for an interval. Also the sign test at 5 %, two-sided: of n pairs that differ, one side wins if the other has no more than median_rank(n). For up to 1,000 draws';

CREATE MACRO memory_in_words(machine, table_share, fragmentation, holes) AS
    fragmentation || if(holes = 'unmovable', '', ' between ' || holes || ' pages') || if(machine = 'recorded', '', ' on ' || machine)
    || printf(', page tables %.0f %% of demand', table_share * 100);
COMMENT ON MACRO memory_in_words IS 'What tables risk and risk_threshold were drawn with, in words';

CREATE VIEW strategy_label AS
WITH used AS (
    SELECT strategy, params FROM risk UNION SELECT strategy, params FROM risk_threshold
), changed AS (
    SELECT used.strategy, used.params, string_agg(given.key || '=' || translate(given.value, ',[]"', '+'), ' ' ORDER BY given.key) AS settings
    FROM used, json_each(used.params) AS given LEFT JOIN strategy ON strategy.strategy = used.strategy
    WHERE given.value::VARCHAR IS DISTINCT FROM json_extract(strategy.parameters, given.key)::VARCHAR GROUP BY ALL
), known AS (
    SELECT strategy, params, settings, CASE
               WHEN strategy = 'full-reserve' AND json_array_length(params -> 'refill_orders') = 1
               THEN (params -> 'refill_orders' ->> 0)::INTEGER END AS refill_order
    FROM used LEFT JOIN changed USING (strategy, params)
)
SELECT strategy, params, settings, refill_order, coalesce('refills of order ' || refill_order, concat_ws(' ', strategy, settings)) AS label FROM known;
COMMENT ON VIEW strategy_label IS 'What ptpool replay risk and the report call each strategy of tables risk and risk_threshold';
COMMENT ON COLUMN strategy_label.settings IS 'Parameters that differ from the defaults in table strategy; NULL: none does';
COMMENT ON COLUMN strategy_label.refill_order IS 'The order of all refills, where this is the one pool that ptpool replay risk runs with order 0, 2 and 9 and otherwise unchanged (full-reserve); NULL: any other strategy';
COMMENT ON COLUMN strategy_label.label IS 'The strategy and its settings, or "refills of order N"';

CREATE VIEW risk_summary AS
WITH draw AS (
    SELECT *, avg(unusable_index_2) OVER drawn AS at_2, avg(unusable_index_4) OVER drawn AS at_4, avg(unusable_index_9) OVER drawn AS at_9
    FROM risk_threshold JOIN strategy_label USING (strategy, params)
    WINDOW drawn AS (PARTITION BY capture_id, machine, table_share, fragmentation, holes)
), unprotected AS (
    SELECT capture_id, machine, table_share, fragmentation, holes, reclaim, seed, headroom AS unprotected FROM draw WHERE strategy = 'unprotected'
    QUALIFY row_number() OVER (PARTITION BY capture_id, machine, table_share, fragmentation, holes, reclaim, seed ORDER BY settings NULLS FIRST) = 1
), order_0 AS (
    SELECT capture_id, machine, table_share, fragmentation, holes, reclaim, seed, headroom AS order_0 FROM draw WHERE refill_order = 0 AND NOT censored
    QUALIFY row_number() OVER (PARTITION BY capture_id, machine, table_share, fragmentation, holes, reclaim, seed ORDER BY settings) = 1
), counted AS (
    SELECT capture_id, machine, table_share, fragmentation, holes, reclaim, strategy, params, refill_order, label, count(*) AS draws,
           any_value(at_2) AS unusable_index_2, any_value(at_4) AS unusable_index_4, any_value(at_9) AS unusable_index_9,
           list(headroom ORDER BY headroom) AS headrooms, min(headroom) FILTER (censored) AS least_censored, count_if(censored) AS never_enough,
           list(unprotected ORDER BY unprotected) FILTER (unprotected IS NOT NULL) AS bases,
           count_if(headroom > unprotected) AS sooner, count_if(headroom < unprotected) AS later,
           list(headroom / order_0 ORDER BY headroom / order_0) FILTER (refill_order > 0 AND order_0 IS NOT NULL) AS times,
           min(headroom / order_0) FILTER (censored) AS least_censored_times,
           mode(failure || coalesce(' order ' || page_order, '') ORDER BY failure, page_order) AS first_failure,
           avg(excess_stalls_per_million) AS excess_stalls_per_million, sum(checked)::BIGINT AS checked, sum(contradicted)::BIGINT AS contradicted
    FROM draw LEFT JOIN unprotected USING (capture_id, machine, table_share, fragmentation, holes, reclaim, seed)
    LEFT JOIN order_0 USING (capture_id, machine, table_share, fragmentation, holes, reclaim, seed)
    GROUP BY ALL
), judged AS (
    SELECT *, headrooms[(draws + 1) // 2] AS headroom, times[(len(times) + 1) // 2] AS times_order_0, median_rank(draws) AS edge,
           if(times IS NULL, -1, median_rank(len(times))) AS times_edge,
           CASE WHEN bases IS NULL THEN NULL WHEN least(sooner, later) > median_rank(sooner + later) THEN 'not seen'
                WHEN sooner > later THEN 'yes' ELSE 'later' END AS fails_sooner
    FROM counted
)
SELECT capture_id, capture.name AS capture, machine, table_share, fragmentation, holes, reclaim, unusable_index_2, unusable_index_4, unusable_index_9,
       strategy, params, refill_order, label, draws, headroom,
       coalesce(least_censored <= headroom, false) AS or_more, if(edge < 0, NULL, headrooms[edge + 1]) AS low, if(edge < 0, NULL, headrooms[draws - edge]) AS high,
       headrooms[1] AS least, headrooms[draws] AS most, never_enough, headroom / bases[(len(bases) + 1) // 2] AS times_unprotected, fails_sooner,
       CASE WHEN count(DISTINCT reclaim) OVER variants = 3 AND min(draws) OVER variants >= 6 THEN bool_and(coalesce(fails_sooner = 'yes', false)) OVER variants END AS fails_sooner_in_all,
       first_failure, excess_stalls_per_million, times_order_0, coalesce(least_censored_times <= times_order_0, false) AS times_or_more,
       if(times_edge < 0, NULL, times[times_edge + 1]) AS times_low, if(times_edge < 0, NULL, times[len(times) - times_edge]) AS times_high,
       times[1] AS times_least, times[len(times)] AS times_most, checked, contradicted
FROM judged JOIN capture USING (capture_id)
WINDOW variants AS (PARTITION BY capture_id, machine, fragmentation, strategy, params)
ORDER BY capture, machine, table_share, unusable_index_2, fragmentation, holes, reclaim, headroom DESC, label;
COMMENT ON VIEW risk_summary IS 'How much headroom each strategy needs, over the machines drawn (table risk_threshold): one row per capture, machine, share of page tables, fragmentation, kind of the holes, reclaim variant and strategy with its parameters. A strategy fails sooner than unprotected if on the same seeds it needs more headroom by the paired sign test, two-sided at 5 %, which takes at least 6 seeds that differ. It fails sooner in all if that holds in each of the three reclaim variants, for every kind of the holes and share of page tables that was run';
COMMENT ON COLUMN risk_summary.unusable_index_2 IS 'Unusable free space index at order 2 before the first event, mean over the machines drawn so, each at a threshold';
COMMENT ON COLUMN risk_summary.draws IS 'Machines drawn, one for each seed';
COMMENT ON COLUMN risk_summary.headroom IS 'The smallest headroom at which the strategy does not fail: lower median over the draws';
COMMENT ON COLUMN risk_summary.or_more IS 'The median is only a lower bound: in a draw at or below it the strategy still fails at the largest headroom tried';
COMMENT ON COLUMN risk_summary.low IS 'Lower end of the 95 % interval of the median, by order statistics; NULL: fewer than 6 draws';
COMMENT ON COLUMN risk_summary.high IS 'Upper end of the interval';
COMMENT ON COLUMN risk_summary.least IS 'The smallest of all draws';
COMMENT ON COLUMN risk_summary.most IS 'The largest of all draws';
COMMENT ON COLUMN risk_summary.never_enough IS 'Draws in which the strategy still fails at the largest headroom tried';
COMMENT ON COLUMN risk_summary.times_unprotected IS 'headroom over that of unprotected';
COMMENT ON COLUMN risk_summary.fails_sooner IS 'yes, later, or not seen: the sign test against unprotected; NULL: no seed in common';
COMMENT ON COLUMN risk_summary.fails_sooner_in_all IS 'Whether fails_sooner is yes in all three reclaim variants; NULL: not all three were run with at least 6 draws, so nothing can be said';
COMMENT ON COLUMN risk_summary.first_failure IS 'The most frequent failure one step below the smallest headroom, with the order of its request';
COMMENT ON COLUMN risk_summary.excess_stalls_per_million IS 'Stalls over the unprotected run, per million allocations: mean over the draws in which it is known';
COMMENT ON COLUMN risk_summary.times_order_0 IS 'Of the pool with refills of order 2 or 9: headroom over that of the same pool with refills of order 0 on the same machine, lower median';
COMMENT ON COLUMN risk_summary.times_or_more IS 'times_order_0 is only a lower bound, as in or_more';
COMMENT ON COLUMN risk_summary.times_low IS 'Lower end of the 95 % interval of that median, by order statistics; NULL: fewer than 6 draws';
COMMENT ON COLUMN risk_summary.times_high IS 'Upper end of the interval';
COMMENT ON COLUMN risk_summary.times_least IS 'The smallest ratio of all draws';
COMMENT ON COLUMN risk_summary.times_most IS 'The largest ratio of all draws';
COMMENT ON COLUMN risk_summary.checked IS 'Further runs that test whether more headroom never hurts';
COMMENT ON COLUMN risk_summary.contradicted IS 'Those in which it did';

CREATE VIEW contention_limit AS
WITH point AS (
    SELECT capture_id, strategy, params, free_order, cpus, change_ns, tables_per_s, held_pages_mean,
           strategy || CASE WHEN params ->> 'mutex' = 'false' THEN ', refills at once' WHEN params ->> 'magazine_order' = '9' THEN ', a block each'
                            WHEN params ->> 'magazine_order' IS NOT NULL THEN ', four pages each' ELSE '' END AS variant,
           bool_and(lock_wait_share > 0.05) OVER (PARTITION BY capture_id, strategy, params, free_order, change_ns ORDER BY cpus DESC) AS waits_from_here
    FROM contention
)
SELECT capture_id, capture.name AS capture, strategy, params, free_order, variant, if(free_order = 9, '2M blocks', 'four pages') AS refills_of,
       tables_per_s, min(point.cpus) FILTER (waits_from_here AND change_ns = 1000) AS cpus_at_1_us,
       min(point.cpus) FILTER (waits_from_here AND change_ns = 10000) AS cpus_at_10_us,
       min(point.cpus) FILTER (waits_from_here AND change_ns = 100000) AS cpus_at_100_us,
       max(held_pages_mean * page_bytes(page_size)) FILTER (point.cpus = 16 AND change_ns = 1000) AS held_by_16_bytes,
       max(held_pages_mean * page_bytes(page_size)) FILTER (point.cpus = 64 AND change_ns = 1000) AS held_by_64_bytes,
       max(held_pages_mean * page_bytes(page_size)) FILTER (point.cpus = 256 AND change_ns = 1000) AS held_by_256_bytes
FROM point JOIN capture USING (capture_id)
GROUP BY capture_id, capture.name, strategy, params, free_order, variant, tables_per_s
ORDER BY capture, free_order DESC, variant LIKE '%percpu%', variant;
COMMENT ON VIEW contention_limit IS 'From how many CPUs on waiting for locks takes more than 5 % of page-table allocation time (table contention): the smallest simulated number of CPUs that exceeds 5 %, as does every larger one. Nothing is interpolated: the next smaller number simulated, half as many, stays within 5 %, and what lies between was not simulated';
COMMENT ON COLUMN contention_limit.variant IS 'The strategy, with what distinguishes this variant of it';
COMMENT ON COLUMN contention_limit.refills_of IS 'free_order in words: 2M blocks or four pages';
COMMENT ON COLUMN contention_limit.cpus_at_1_us IS 'CPUs from which on waiting exceeds 5 %, for a key change of 1 µs; NULL: it does not with the most CPUs simulated';
COMMENT ON COLUMN contention_limit.cpus_at_10_us IS 'The same for a key change of 10 µs';
COMMENT ON COLUMN contention_limit.cpus_at_100_us IS 'The same for a key change of 100 µs';
COMMENT ON COLUMN contention_limit.held_by_16_bytes IS 'Memory held and unused by 16 CPUs at 1 µs, mean over time, bytes';
COMMENT ON COLUMN contention_limit.held_by_64_bytes IS 'The same for 64 CPUs';
COMMENT ON COLUMN contention_limit.held_by_256_bytes IS 'The same for 256 CPUs';

CREATE VIEW validation_verdict AS
SELECT capture_id, coalesce(capture.name, capture_id) AS capture, quantity, zone, page_order, recorded_before, recorded_after, predicted, predicted_low,
       predicted_high, null_error, model_error, allowed_error,
       CASE WHEN null_error > 0 OR model_error > 0 THEN model_error <= allowed_error END AS holds,
       CASE WHEN allowed_error IS NOT NULL AND null_error > 32 THEN model_error < null_error END AS better
FROM validation LEFT JOIN capture USING (capture_id)
WHERE validation.strategy IS NULL
ORDER BY capture, quantity, zone, page_order;
COMMENT ON VIEW validation_verdict IS 'Whether each prediction of ptpool replay validate holds (table validation). Only quantities that have a target, and that changed or were predicted to change, are judged';
COMMENT ON COLUMN validation_verdict.capture_id IS 'Capture, or the file of a recorded sequence';
COMMENT ON COLUMN validation_verdict.zone IS 'Zone; NULL: the whole machine';
COMMENT ON COLUMN validation_verdict.page_order IS 'Order; NULL: all orders';
COMMENT ON COLUMN validation_verdict.holds IS 'Whether model_error is within allowed_error; NULL: not judged';
COMMENT ON COLUMN validation_verdict.better IS 'Of a quantity that has a target and changed by more than 32: whether the model is closer than predicting that nothing changes; NULL: any other';

CREATE VIEW pool_validation AS
SELECT capture_id AS run, strategy, start, quantity, page_order, recorded_after AS kernel, recorded_low AS kernel_low, recorded_high AS kernel_high,
       predicted, predicted_low, predicted_high, model_error, allowed_error, model_error <= allowed_error AS holds
FROM validation WHERE strategy IS NOT NULL
ORDER BY model_error / greatest(allowed_error, 1) DESC NULLS LAST, run, start, quantity, page_order;
COMMENT ON VIEW pool_validation IS 'Strategies held against a kernel that ran them (ptpool replay validate --pools), worst first';
COMMENT ON COLUMN pool_validation.run IS 'Run of the lab: the folder''s name';
COMMENT ON COLUMN pool_validation.strategy IS 'Strategy that the kernel ran';
COMMENT ON COLUMN pool_validation.start IS 'What the replay started from: exact (the kernel''s free lists), ordinary (what any recording of that run tells), blind (a recording of another run, without a pool)';
COMMENT ON COLUMN pool_validation.page_order IS 'Order of the refills; NULL: all';
COMMENT ON COLUMN pool_validation.kernel IS 'As the kernel counted it in this run';
COMMENT ON COLUMN pool_validation.kernel_low IS 'Least over the kernel''s runs that the prediction is held against';
COMMENT ON COLUMN pool_validation.kernel_high IS 'Most over the kernel''s runs that the prediction is held against';
COMMENT ON COLUMN pool_validation.model_error IS 'How far the prediction (seed 0) lies outside what the kernel''s runs span';
COMMENT ON COLUMN pool_validation.allowed_error IS 'Largest error at which it holds; NULL: nothing is promised';
COMMENT ON COLUMN pool_validation.holds IS 'Whether model_error is within allowed_error; NULL: nothing is promised';

CREATE VIEW pool_validation_by_quantity AS
SELECT run, any_value(strategy) AS strategy, quantity, page_order, max(kernel) AS kernel,
       max(predicted) FILTER (start = 'exact') AS exact, max(allowed_error) FILTER (start = 'exact') AS exact_allowed,
       max(predicted) FILTER (start = 'ordinary') AS ordinary,
       max(predicted) FILTER (start = 'blind') AS blind, min(kernel_low) FILTER (start = 'blind') AS blind_kernel_low,
       max(kernel_high) FILTER (start = 'blind') AS blind_kernel_high, max(allowed_error) FILTER (start = 'blind') AS blind_allowed,
       bool_and(holds) FILTER (start = 'exact') AS exact_holds, bool_and(holds) FILTER (start = 'blind') AS blind_holds
FROM pool_validation GROUP BY run, quantity, page_order
ORDER BY max(model_error / greatest(allowed_error, 1)) DESC NULLS LAST, run, quantity, page_order;
COMMENT ON VIEW pool_validation_by_quantity IS 'View pool_validation with a row per run and quantity: the kernel beside the replay from each kind of start';
COMMENT ON COLUMN pool_validation_by_quantity.run IS 'Run of the lab: the folder''s name';
COMMENT ON COLUMN pool_validation_by_quantity.strategy IS 'Strategy that the kernel ran';
COMMENT ON COLUMN pool_validation_by_quantity.page_order IS 'Order of the refills; NULL: all';
COMMENT ON COLUMN pool_validation_by_quantity.kernel IS 'As the kernel counted it in this run';
COMMENT ON COLUMN pool_validation_by_quantity.exact IS 'Replay from the kernel''s own free lists';
COMMENT ON COLUMN pool_validation_by_quantity.exact_allowed IS 'Largest error at which exact holds; NULL: nothing is promised';
COMMENT ON COLUMN pool_validation_by_quantity.ordinary IS 'Replay from what any recording of this run tells, with seed 0';
COMMENT ON COLUMN pool_validation_by_quantity.blind IS 'Replay of another run, recorded without a pool, with seed 0';
COMMENT ON COLUMN pool_validation_by_quantity.blind_kernel_low IS 'Least over the kernel''s runs that blind is held against';
COMMENT ON COLUMN pool_validation_by_quantity.blind_kernel_high IS 'Most over the kernel''s runs that blind is held against';
COMMENT ON COLUMN pool_validation_by_quantity.blind_allowed IS 'How far blind may lie outside these; NULL: nothing is promised';
COMMENT ON COLUMN pool_validation_by_quantity.exact_holds IS 'Whether exact is within exact_allowed';
COMMENT ON COLUMN pool_validation_by_quantity.blind_holds IS 'Whether blind is within blind_allowed of the kernel''s runs';

CREATE VIEW strategy_validation AS
SELECT strategy, count(DISTINCT run) AS runs, count(holds) AS judged, count(*) FILTER (holds) AS holding
FROM pool_validation WHERE start = 'exact' GROUP BY strategy ORDER BY strategy;
COMMENT ON VIEW strategy_validation IS 'Which strategies a real kernel has run, and how many predictions from exact free lists hold; a strategy without a row is not validated';
COMMENT ON COLUMN strategy_validation.strategy IS 'Strategy';
COMMENT ON COLUMN strategy_validation.runs IS 'Runs in a real kernel';
COMMENT ON COLUMN strategy_validation.judged IS 'Predictions that have a tolerance';
COMMENT ON COLUMN strategy_validation.holding IS 'Those within it';

CREATE VIEW strategy_search AS
WITH searched AS (
    SELECT strategy, params, is_default, max(tasks) AS tasks, min(depth) FILTER (holds) AS depth, bool_and(holds) AS holds, bool_and(complete) AS complete,
           arg_min({kind: kind, tasks: tasks, others: outside_tables > 0, steps: steps},
                   (kind = 'unkeyed_table', outside_tables > 0, tasks, steps)) FILTER (NOT holds) AS broken
    FROM strategy_check GROUP BY strategy, params, is_default
)
SELECT strategy, params, is_default,
       (SELECT string_agg(mine.key || '=' || translate(mine.value, ',[]"', '+'), ' ' ORDER BY mine.key)
        FROM json_each(searched.params) AS mine JOIN searched AS usual ON usual.strategy = searched.strategy AND usual.is_default
        WHERE NOT searched.is_default AND mine.value::VARCHAR IS DISTINCT FROM json_extract(usual.params, mine.key)::VARCHAR) AS settings,
       tasks, depth, holds, complete, broken.kind AS kind, broken.tasks AS broken_tasks, broken.others AS broken_with_others, broken.steps AS steps
FROM searched
ORDER BY strategy, is_default DESC, settings;
COMMENT ON VIEW strategy_search IS 'What the exhaustive search of a small machine found (table strategy_check), over its scenarios: one row per strategy and parameters';
COMMENT ON COLUMN strategy_search.settings IS 'Parameters that were set with --set; NULL: none';
COMMENT ON COLUMN strategy_search.tasks IS 'Most tasks that were tried';
COMMENT ON COLUMN strategy_search.depth IS 'Fewest steps that were searched where it holds';
COMMENT ON COLUMN strategy_search.holds IS 'Whether it holds in every scenario';
COMMENT ON COLUMN strategy_search.kind IS 'What goes wrong in the simplest scenario that breaks it: first one without splits by others, with the fewest tasks and steps; a table without its key (unkeyed_table) only where nothing else does';
COMMENT ON COLUMN strategy_search.broken_tasks IS 'Tasks of that scenario';
COMMENT ON COLUMN strategy_search.broken_with_others IS 'Whether others split too in that scenario';
COMMENT ON COLUMN strategy_search.steps IS 'Steps of the shortest way to break it there';
