-- Questions that are asked again and again, as table macros: FROM name('server-16g'). They work in every DuckDB client.

CREATE MACRO summary_of(a_capture) AS TABLE
SELECT * EXCLUDE (capture_id, capture) FROM strategy_summary WHERE capture = a_capture ORDER BY strategy;
COMMENT ON MACRO TABLE summary_of IS 'strategy_summary of one capture';

CREATE MACRO metric_of(a_metric) AS TABLE
SELECT capture.name AS capture, strategy, value, unit
FROM run_metric JOIN run USING (run_id) JOIN capture USING (capture_id)
WHERE is_default AND metric = a_metric ORDER BY capture, strategy;
COMMENT ON MACRO TABLE metric_of IS 'One metric of every strategy on every capture, at default parameters: capture, strategy, value, unit';

CREATE MACRO runs_of(a_capture) AS TABLE
SELECT strategy, run_id, is_default, /* settings */, seed, params
FROM run JOIN capture USING (capture_id) WHERE capture.name = a_capture ORDER BY strategy, is_default DESC, run_id;
COMMENT ON MACRO TABLE runs_of IS 'Every run of a capture, those with other parameters, machines and seeds included';

CREATE MACRO timeline_of(a_capture, a_strategy, a_metric) AS TABLE
SELECT (t_ns - first_ns) / 1e9 AS t_s, value
FROM timeline JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
WHERE capture.name = a_capture AND strategy = a_strategy AND metric = a_metric ORDER BY t_s;
COMMENT ON MACRO TABLE timeline_of IS 'One series over time, in seconds from the first event: t_s, value';

CREATE MACRO splits_of(a_capture, a_strategy) AS TABLE
SELECT (t_ns - first_ns) / 1e9 AS t_s, format('{:#x}', pfn * page_bytes(page_size)) AS address, leaf, action, cause
FROM split JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
WHERE capture.name = a_capture AND strategy = a_strategy ORDER BY t_ns, pfn;
COMMENT ON MACRO TABLE splits_of IS 'Every split of the direct map of one strategy: t_s (below 0: the warm-up), physical address, leaf, action, cause';

CREATE MACRO page_tables_alive(a_capture, steps := 100) AS TABLE
WITH event AS (
    SELECT ts_ns, first_ns, last_ns, CASE kind WHEN 'alloc' THEN 1 ELSE -1 END * (1 << page_order) AS pages
    FROM page_event JOIN capture USING (capture_id)
    WHERE capture.name = a_capture AND kind IN ('alloc', 'free') AND consumer IN ('pgtable_user', 'pgtable_kernel')),
step AS (
    SELECT least(steps - 1, floor(steps * (ts_ns - first_ns) / greatest(last_ns - first_ns, 1)))::INTEGER AS step,
           sum(pages) AS pages, any_value(last_ns - first_ns) / 1e9 AS length_s
    FROM event GROUP BY step)
SELECT (step + 1) * length_s / steps AS t_s, sum(pages) OVER (ORDER BY step)::BIGINT AS pages FROM step ORDER BY step;
COMMENT ON MACRO TABLE page_tables_alive IS 'Pages of page tables as recorded, less those alive at the start, in steps of the recording: t_s, pages';

CREATE MACRO stacks_of(a_capture, a_consumer, most := 10) AS TABLE
SELECT count(*) AS allocations, any_value(stack.level) AS level, array_to_string(frames, ' < ') AS stack
FROM page_event JOIN stack USING (capture_id, stack_id) JOIN capture USING (capture_id)
WHERE capture.name = a_capture AND kind = 'alloc' AND page_event.consumer = a_consumer
GROUP BY frames ORDER BY allocations DESC, stack LIMIT most;
COMMENT ON MACRO TABLE stacks_of IS 'The kernel stacks behind a consumer''s allocations, most frequent first: allocations, level, stack';

CREATE MACRO compare_strategies(a_capture, a_strategy, another) AS TABLE
SELECT metric, one, other, other - one AS difference, unit
FROM (
    SELECT metric, any_value(unit) AS unit, max(value) FILTER (strategy = a_strategy) AS one,
           max(value) FILTER (strategy = another) AS other
    FROM run_metric JOIN run USING (run_id) JOIN capture USING (capture_id)
    WHERE capture.name = a_capture AND is_default GROUP BY metric)
WHERE one IS DISTINCT FROM other ORDER BY metric;
COMMENT ON MACRO TABLE compare_strategies IS 'The metrics in which two strategies differ on a capture: metric, one, other, difference, unit';
