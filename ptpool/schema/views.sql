-- What users query. strategy_summary is written by ptpool/warehouse.py: one column per metric of metrics.csv.

CREATE MACRO page_bytes(page_size) AS coalesce(page_size, 4096);
COMMENT ON MACRO page_bytes IS 'Bytes of a base page; 4096 where the recording does not say it';

-- Grouped, a task is known to be one row: DuckDB leaves its join out of queries that want neither pid nor comm.
CREATE VIEW page_event AS
SELECT capture_id, seq, ts_ns, cpu, pid, comm, kind, pfn, page_order, migratetype, gfp_flags, gfp_text, stack_id, consumer, level, role
FROM event JOIN call USING (call_id)
LEFT JOIN (SELECT task_id, any_value(pid) AS pid, any_value(comm) AS comm FROM task GROUP BY task_id) USING (task_id);
COMMENT ON VIEW page_event IS 'Page-allocation events as recorded, in the order of the trace';

CREATE VIEW zone AS
SELECT capture_id, moment, regexp_extract(name, '^Node (\d+)', 1)::SMALLINT AS node,
       regexp_extract(name, 'zone (\w+)', 1) AS zone,
       max(value) FILTER (name LIKE '%, start_pfn') AS start_pfn,
       max(value) FILTER (name LIKE '%, spanned') AS spanned,
       max(value) FILTER (name LIKE '%, present') AS present,
       max(value) FILTER (name LIKE '%, managed') AS managed,
       max(value) FILTER (name LIKE '%, pages free') AS pages_free,
       max(value) FILTER (name LIKE '%, min') AS wmark_min,
       max(value) FILTER (name LIKE '%, low') AS wmark_low,
       max(value) FILTER (name LIKE '%, high') AS wmark_high,
       list(value ORDER BY name) FILTER (name LIKE '%, protection[%') AS protection
FROM snapshot_value WHERE source = 'zoneinfo'
GROUP BY ALL ORDER BY capture_id, moment, node, start_pfn;
COMMENT ON VIEW zone IS 'Zones with their watermarks, from /proc/zoneinfo';
COMMENT ON COLUMN zone.start_pfn IS 'First page of the zone';
COMMENT ON COLUMN zone.spanned IS 'Pages from first to last, holes included';
COMMENT ON COLUMN zone.present IS 'Pages that exist';
COMMENT ON COLUMN zone.managed IS 'Pages that the page allocator manages';
COMMENT ON COLUMN zone.pages_free IS 'NR_FREE_PAGES';
COMMENT ON COLUMN zone.wmark_min IS 'Min watermark in pages';
COMMENT ON COLUMN zone.wmark_low IS 'Low watermark in pages';
COMMENT ON COLUMN zone.wmark_high IS 'High watermark in pages';
COMMENT ON COLUMN zone.protection IS 'lowmem_reserve: pages kept from requests that could have used the i-th zone';

CREATE VIEW ptp_lifetime AS
WITH alive AS (
    SELECT capture_id, seq, ts_ns, kind, pfn, page_order, consumer, level, role, cpu, pid, comm, stack_id,
           lead(kind) OVER later AS next_kind, lead(ts_ns) OVER later AS next_ns, lead(seq) OVER later AS next_seq
    FROM page_event
    WHERE kind IN ('alloc', 'free') AND consumer IN ('pgtable_user', 'pgtable_kernel', 'direct_map_split', 'kvm', 'iommu')
    WINDOW later AS (PARTITION BY capture_id, pfn ORDER BY seq)
)
SELECT capture_id, seq, pfn, page_order, consumer, level, role, cpu, pid, comm, stack_id, ts_ns AS allocated_ns,
       CASE WHEN next_kind = 'free' THEN next_ns END AS freed_ns,
       CASE WHEN next_kind = 'free' THEN next_ns - ts_ns END AS lifetime_ns
FROM alive WHERE kind = 'alloc';
COMMENT ON VIEW ptp_lifetime IS 'Page tables allocated within the recording, with the time they were freed';
COMMENT ON COLUMN ptp_lifetime.seq IS 'Event that allocated it';
COMMENT ON COLUMN ptp_lifetime.pfn IS 'First page';
COMMENT ON COLUMN ptp_lifetime.consumer IS 'Kind of page table';
COMMENT ON COLUMN ptp_lifetime.allocated_ns IS 'When it was allocated';
COMMENT ON COLUMN ptp_lifetime.freed_ns IS 'When it was freed; NULL: still alive at the end, or its free was not recorded';
COMMENT ON COLUMN ptp_lifetime.lifetime_ns IS 'freed_ns - allocated_ns';

CREATE VIEW kmem_page_stat AS
WITH met AS (
    SELECT capture_id, kind, (1::BIGINT << page_order) * page_size // 1024 AS kb,
           coalesce(lag(kind) OVER (PARTITION BY capture_id, pfn ORDER BY seq) = 'alloc', false) AS after_alloc
    FROM page_event JOIN capture USING (capture_id) WHERE kind IN ('alloc', 'free', 'alloc_failed')
), line AS (
    SELECT capture_id, unnest([
        {place: 1, what: 'allocation requests', n: kind <> 'free'},
        {place: 2, what: 'free requests', n: kind = 'free'},
        {place: 3, what: 'alloc+freed requests', n: kind = 'free' AND after_alloc},
        {place: 5, what: 'free-only requests', n: kind = 'free' AND NOT after_alloc},
        {place: 6, what: 'allocation failures', n: kind = 'alloc_failed'}
    ], recursive := true), kb FROM met
), total AS (
    SELECT capture_id, place, what, count(*) FILTER (n) AS requests, CASE WHEN count(kb) = count(*) THEN coalesce(sum(kb) FILTER (n), 0)::BIGINT END AS kb
    FROM line GROUP BY ALL
), alloc_only AS (
    SELECT capture_id, 4 AS place, 'alloc-only requests' AS what, sum(if(place = 1, requests, -requests)) AS requests,
           sum(if(place = 1, kb, -kb)) AS kb
    FROM total WHERE place IN (1, 3) GROUP BY capture_id
)
SELECT capture.name AS capture, what, requests::BIGINT AS requests, kb::BIGINT AS kb
FROM (FROM total UNION ALL FROM alloc_only) JOIN capture USING (capture_id) ORDER BY capture, place;
COMMENT ON VIEW kmem_page_stat IS 'The totals of perf kmem --page stat, counted as it counts (tools/perf/builtin-kmem.c): a free matches when the last event of its first page was an allocation, of whatever order. data_quality says more: a free of part of a block is frees_of_part there and free-only here, one of several blocks frees_of_several and matched here, one of a page table older than the recording frees_from_snapshot and free-only here';
COMMENT ON COLUMN kmem_page_stat.capture IS 'Name of the capture';
COMMENT ON COLUMN kmem_page_stat.what IS 'Line of perf''s summary';
COMMENT ON COLUMN kmem_page_stat.requests IS 'Events; allocations include those that failed';
COMMENT ON COLUMN kmem_page_stat.kb IS 'Their size in KiB; NULL where the page size is not known';

CREATE VIEW kmem_page_order AS
SELECT capture.name AS capture, page_order,
       ['Unmovable', 'Movable', 'Reclaimable', 'HighAtomic', 'CMA', 'Isolate'][migratetype + 1] AS migratetype,
       count(*) AS allocations
FROM page_event JOIN capture USING (capture_id) WHERE kind = 'alloc' GROUP BY ALL ORDER BY ALL;
COMMENT ON VIEW kmem_page_order IS 'The table of perf kmem --page stat: allocations by order and migratetype. perf names the columns after an older kernel''s numbers: Movable (1) stands under its Reclaimable, Reclaimable (2) under its Movable; here they have the names of include/linux/mmzone.h:enum migratetype';
COMMENT ON COLUMN kmem_page_order.migratetype IS 'Migratetype of the request';
COMMENT ON COLUMN kmem_page_order.allocations IS 'Allocations that succeeded';

CREATE VIEW data_quality AS
SELECT capture.name AS capture, severity, import_stat.name AS what, cpu, value,
       CASE WHEN value <= events AND what IN (
           'lost_events', 'allocs_without_stack', 'no_stacks', 'stacks_without_names', 'page_tables_unmarked', 'classified_by_flags', 'frees_exact', 'frees_from_snapshot',
           'frees_of_part', 'frees_of_several', 'frees_unknown', 'kernel_stacks_freed', 'frees_twice', 'allocs_over_live', 'failed_allocations',
           'events_back_in_time', 'events_without_cpu', 'events_without_time', 'events_without_task', 'events_beyond_memory',
           'migratetypes_unknown', 'migratetypes_doubtful'
       ) THEN round(100.0 * value / nullif(events, 0), 3) END AS pct_of_events, explanation
FROM import_stat JOIN capture USING (capture_id)
ORDER BY capture, severity DESC, what, cpu;
COMMENT ON VIEW data_quality IS 'What was lost, unusual or left out in each capture, worst first';
COMMENT ON COLUMN data_quality.what IS 'Name of the count';
COMMENT ON COLUMN data_quality.cpu IS 'CPU it concerns; NULL: all';
COMMENT ON COLUMN data_quality.pct_of_events IS 'The count as a percentage of the events kept; NULL where it counts something else, or more than there are events';

CREATE VIEW provenance AS
SELECT run_id, capture.name AS capture, capture.source, capture.sha256, kernel_release, arch, timing, strategy, params,
       is_default, /* settings */, seed, run.code_version AS replayed_by, capture.code_version AS imported_by,
       assumptions
FROM run JOIN capture USING (capture_id);
COMMENT ON VIEW provenance IS 'Everything needed to make a run again';
COMMENT ON COLUMN provenance.replayed_by IS 'ptpool that replayed it';
COMMENT ON COLUMN provenance.imported_by IS 'ptpool that imported the capture';

CREATE VIEW run_setting AS
SELECT run_id, true AS is_parameter, key AS setting, value ->> '$' AS value, json_extract_string(parameters, key) AS default_value
FROM run LEFT JOIN strategy USING (strategy), json_each(params)
UNION ALL BY NAME
SELECT run_id, false AS is_parameter, unnest([/* values of the settings */], recursive := true) FROM run;
COMMENT ON VIEW run_setting IS 'What each run was made with: one row per parameter of its strategy and per setting (machine, seed and so on)';
COMMENT ON COLUMN run_setting.is_parameter IS 'Whether it is a parameter of the strategy';
COMMENT ON COLUMN run_setting.setting IS 'A parameter of the strategy, or a setting of the run';
COMMENT ON COLUMN run_setting.value IS 'Its value in this run';
COMMENT ON COLUMN run_setting.default_value IS 'Its default; NULL where the strategy is not known any more';

CREATE VIEW conversion_price AS
WITH price AS (
    SELECT costs, arch, any_value({low: low, typical: typical, high: high}) FILTER (name = 'change_ns') AS change,
           any_value({low: low, typical: typical, high: high}) FILTER (name = 'split_ns') AS split,
           any_value({low: low, typical: typical, high: high}) FILTER (name = 'flush_base_ns') AS base,
           any_value({low: low, typical: typical, high: high}) FILTER (name = 'flush_per_cpu_ns') AS per_cpu,
           any_value({low: low, typical: typical, high: high}) FILTER (name = 'flush_all_ns') AS everything,
           any_value({low: low, typical: typical, high: high}) FILTER (name = 'receiver_ns') AS receiver
    FROM cost_constant GROUP BY ALL
)
SELECT capture_id, costs, change.low AS change_ns_low, change.typical AS change_ns, change.high AS change_ns_high,
       split.low AS split_ns_low, split.typical AS split_ns, split.high AS split_ns_high, base.low + per_cpu.low * (cpus - 1) AS flush_ns_low,
       base.typical + per_cpu.typical * (cpus - 1) AS flush_ns, base.high + per_cpu.high * (cpus - 1) AS flush_ns_high,
       everything.low AS full_ns_low, everything.typical AS full_ns, everything.high AS full_ns_high,
       receiver.low AS receiver_ns_low, receiver.typical AS receiver_ns, receiver.high AS receiver_ns_high
FROM capture JOIN price ON price.arch = if(capture.arch = 'aarch64', 'aarch64', 'x86_64');
COMMENT ON VIEW conversion_price IS 'What a permission change takes on each recorded machine by each cost profile: the change, each leaf that it splits, each flush on all CPUs';
COMMENT ON COLUMN conversion_price.change_ns_low IS 'The least that a change may take, ns';
COMMENT ON COLUMN conversion_price.change_ns IS 'What a replay uses';
COMMENT ON COLUMN conversion_price.change_ns_high IS 'The most that it may take';
COMMENT ON COLUMN conversion_price.split_ns_low IS 'The least that a split may take, ns';
COMMENT ON COLUMN conversion_price.split_ns IS 'What a replay uses';
COMMENT ON COLUMN conversion_price.split_ns_high IS 'The most that it may take';
COMMENT ON COLUMN conversion_price.flush_ns_low IS 'The least that a flush on all CPUs may take, ns';
COMMENT ON COLUMN conversion_price.flush_ns IS 'What a replay uses';
COMMENT ON COLUMN conversion_price.flush_ns_high IS 'The most that it may take';
COMMENT ON COLUMN conversion_price.full_ns_low IS 'The least that a flush of everything may take longer than that of a page, ns';
COMMENT ON COLUMN conversion_price.full_ns IS 'What a replay uses';
COMMENT ON COLUMN conversion_price.full_ns_high IS 'The most that it may take longer';
COMMENT ON COLUMN conversion_price.receiver_ns_low IS 'The least that each CPU may spend that a flush interrupts, ns';
COMMENT ON COLUMN conversion_price.receiver_ns IS 'What a replay uses';
COMMENT ON COLUMN conversion_price.receiver_ns_high IS 'The most that it may spend';

CREATE VIEW conversion_cost AS
WITH counted AS (
    SELECT run_id, max(value) FILTER (metric = 'permission_changes') AS changes, max(value) FILTER (metric = 'tlb_flushes') AS flushes,
           coalesce(max(value) FILTER (metric = 'tlb_full_flushes'), 0) AS full_flushes, max(value) FILTER (metric = 'tlb_ipis') AS interrupts,
           coalesce(max(value) FILTER (metric = 'splits_1g'), 0) + coalesce(max(value) FILTER (metric = 'splits_2m'), 0) AS splits
    FROM run_metric GROUP BY run_id
)
SELECT run_id, costs, changes, splits, flushes, full_flushes, interrupts,
       changes * change_ns_low + splits * split_ns_low + flushes * flush_ns_low + full_flushes * full_ns_low AS conversion_ns_low,
       changes * change_ns + splits * split_ns + flushes * flush_ns + full_flushes * full_ns AS conversion_ns,
       changes * change_ns_high + splits * split_ns_high + flushes * flush_ns_high + full_flushes * full_ns_high AS conversion_ns_high,
       changes * change_ns + splits * split_ns + (flushes * flush_ns + full_flushes * full_ns) / 10 AS conversion_ns_flush_tenth,
       changes * change_ns + splits * split_ns + (flushes * flush_ns + full_flushes * full_ns) * 10 AS conversion_ns_flush_tenfold,
       interrupts * receiver_ns_low AS receiver_ns_low, interrupts * receiver_ns AS receiver_ns, interrupts * receiver_ns_high AS receiver_ns_high
FROM counted JOIN (SELECT run_id, capture_id FROM run) USING (run_id) JOIN conversion_price USING (capture_id);
COMMENT ON VIEW conversion_cost IS 'What the permission changes of each run take by each cost profile, from stored counts: linear in the constants, so no run has to be made again. Those that others ask for are in it, as they are in unprotected';
COMMENT ON COLUMN conversion_cost.costs IS 'Cost profile: see cost_constant; not only the one the run was made with';
COMMENT ON COLUMN conversion_cost.changes IS 'Permission changes';
COMMENT ON COLUMN conversion_cost.splits IS 'Leaves split at run time';
COMMENT ON COLUMN conversion_cost.flushes IS 'TLB flushes; NULL for a bound';
COMMENT ON COLUMN conversion_cost.full_flushes IS 'Of these, flushes of everything';
COMMENT ON COLUMN conversion_cost.interrupts IS 'CPUs interrupted by the flushes; NULL where the hardware broadcasts';
COMMENT ON COLUMN conversion_cost.conversion_ns_low IS 'Time that permission changes take with every constant at its least, ns';
COMMENT ON COLUMN conversion_cost.conversion_ns IS 'Time that permission changes take with typical constants, ns';
COMMENT ON COLUMN conversion_cost.conversion_ns_high IS 'Time that permission changes take with every constant at its most, ns';
COMMENT ON COLUMN conversion_cost.conversion_ns_flush_tenth IS 'As conversion_ns, a flush at a tenth of its price';
COMMENT ON COLUMN conversion_cost.conversion_ns_flush_tenfold IS 'As conversion_ns, a flush at ten times its price';
COMMENT ON COLUMN conversion_cost.receiver_ns_low IS 'Time that interrupted CPUs spend with the constant at its least, ns; not in conversion_ns; NULL where the hardware broadcasts';
COMMENT ON COLUMN conversion_cost.receiver_ns IS 'The same with the typical constant';
COMMENT ON COLUMN conversion_cost.receiver_ns_high IS 'The same with the constant at its most';

CREATE VIEW mapping_scale AS
WITH gain AS (
    SELECT *, if(better_when = 'higher', delta_pct, -delta_pct) AS gain_pct FROM published_measurement
    WHERE topic = 'mapping' AND workload_class = 'macro' AND certainty = 'measured' AND delta_pct IS NOT NULL)
SELECT arch, metric, count(*) AS measurements, min(gain_pct) AS low_pct, median(gain_pct) AS median_pct,
       max(gain_pct) AS high_pct, string_agg(DISTINCT platform, '; ' ORDER BY platform) AS platforms
FROM gain GROUP BY ALL ORDER BY arch, metric;
COMMENT ON VIEW mapping_scale IS 'What large pages were measured to gain over an all-4K direct map in whole workloads, per architecture and metric: negative where 4K pages were better';
COMMENT ON COLUMN mapping_scale.arch IS 'Architecture';
COMMENT ON COLUMN mapping_scale.metric IS 'Metric: figures of different metrics are never mixed';
COMMENT ON COLUMN mapping_scale.measurements IS 'Number of published figures';
COMMENT ON COLUMN mapping_scale.low_pct IS 'Smallest';
COMMENT ON COLUMN mapping_scale.median_pct IS 'Median';
COMMENT ON COLUMN mapping_scale.high_pct IS 'Largest';
COMMENT ON COLUMN mapping_scale.platforms IS 'Where they were measured';

CREATE VIEW mapping_basis AS
WITH scale AS (SELECT * FROM mapping_scale WHERE metric = 'time')
SELECT capture_id, coalesce(own.arch, other.arch) AS arch, coalesce(own.low_pct, other.low_pct) AS low_pct,
       coalesce(own.median_pct, other.median_pct) AS median_pct, coalesce(own.high_pct, other.high_pct) AS high_pct
FROM capture LEFT JOIN scale own ON own.arch = capture.arch
CROSS JOIN (SELECT * FROM scale ORDER BY measurements DESC, arch LIMIT 1) other;
COMMENT ON VIEW mapping_basis IS 'The scale in time that a capture is put against: of its own architecture if anything was published for it';
COMMENT ON COLUMN mapping_basis.arch IS 'Whose scale it is';
COMMENT ON COLUMN mapping_basis.low_pct IS 'What an all-4K map costs in time, least';
COMMENT ON COLUMN mapping_basis.median_pct IS 'The same, median';
COMMENT ON COLUMN mapping_basis.high_pct IS 'The same, most';

CREATE VIEW break_even AS
WITH priced AS (
    SELECT run_id, costs, unnest([
        {prices: 'typical', ns: conversion_ns}, {prices: 'low', ns: conversion_ns_low}, {prices: 'high', ns: conversion_ns_high},
        {prices: 'flush a tenth', ns: conversion_ns_flush_tenth}, {prices: 'flush tenfold', ns: conversion_ns_flush_tenfold}
    ], recursive := true) FROM conversion_cost
), spent AS (
    SELECT capture_id, strategy, priced.costs, prices, share.value AS pte_share, low_pct, median_pct, high_pct,
           ns / nullif((last_ns - first_ns) * cpus, 0) AS spent
    FROM priced JOIN run USING (run_id) JOIN capture USING (capture_id) JOIN mapping_basis USING (capture_id)
    JOIN run_metric share ON share.run_id = run.run_id AND metric = 'pte_share_mean'
    WHERE is_default
), against AS (
    SELECT own.*, other.pte_share AS pte_mapped_share, other.spent AS pte_mapped_spent, 100 * (other.spent - own.spent) AS saved_pct
    FROM spent own JOIN spent other USING (capture_id, costs, prices)
    WHERE other.strategy = 'pte-mapped' AND own.strategy NOT IN ('pte-mapped', 'unprotected')
)
SELECT capture_id, strategy, costs, any_value(pte_share) AS pte_share, max(spent) FILTER (prices = 'typical') AS conversion_share,
       max(pte_mapped_spent) FILTER (prices = 'typical') AS pte_mapped_conversion_share,
       max(pte_mapped_share + saved_pct / median_pct) FILTER (prices = 'typical') AS break_even_share,
       min(pte_mapped_share + saved_pct / if(saved_pct < 0, low_pct, high_pct)) AS break_even_share_least
FROM against WHERE saved_pct IS NOT NULL GROUP BY ALL;
COMMENT ON VIEW break_even IS 'At which share at 4K each strategy would stop being better than pte-mapped, at default parameters: where its mapping cost and its conversions (both as a share of the recorded time of all CPUs, as if all had been busy) come to what those of pte-mapped come to';
COMMENT ON COLUMN break_even.strategy IS 'Strategy that is put against pte-mapped';
COMMENT ON COLUMN break_even.pte_share IS 'Share of the direct map at 4K (time mean)';
COMMENT ON COLUMN break_even.conversion_share IS 'Share of the recorded time of all CPUs that its conversions take, at typical prices';
COMMENT ON COLUMN break_even.pte_mapped_conversion_share IS 'The same of pte-mapped';
COMMENT ON COLUMN break_even.break_even_share IS 'Share at 4K from which pte-mapped would be better, with the median published cost and typical prices; above 1: it never is';
COMMENT ON COLUMN break_even.break_even_share_least IS 'The least of it over the published costs (low to high), low and high prices, and a flush at a tenth and at ten times its price';
