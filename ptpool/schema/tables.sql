-- The warehouse: what every stage reads and writes. Times are int64 nanoseconds on the capture's own clock.
-- A column without a comment means the same as the first column of its name and type: see ptpool/warehouse.py.

CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);
COMMENT ON TABLE meta IS 'Facts about this file itself';
COMMENT ON COLUMN meta.key IS 'Name of the fact: schema_version';
COMMENT ON COLUMN meta.value IS 'Its value';

CREATE TYPE event_kind AS ENUM ('alloc', 'free', 'alloc_failed', 'zone_locked', 'pcpu_drain', 'extfrag');
CREATE TYPE consumer AS ENUM ('other', 'pgtable_user', 'pgtable_kernel', 'direct_map_split', 'kvm', 'iommu', 'kstack', 'exec', 'secret');
CREATE TYPE table_level AS ENUM ('pte', 'pmd', 'pud', 'p4d', 'pgd');
CREATE TYPE table_role AS ENUM ('linked', 'deposited', 'preallocated');
CREATE TYPE migratetype AS ENUM ('Unmovable', 'Movable', 'Reclaimable', 'HighAtomic', 'CMA', 'Isolate');
CREATE TYPE moment AS ENUM ('before', 'after');
CREATE TYPE severity AS ENUM ('info', 'notice', 'error', 'data_loss');

-- ---------------------------------------------------------------------------------------------------- recordings

CREATE TABLE capture (
    capture_id VARCHAR NOT NULL, name VARCHAR NOT NULL, source VARCHAR NOT NULL, sha256 VARCHAR NOT NULL,
    format VARCHAR NOT NULL, kernel_release VARCHAR, arch VARCHAR, page_size INTEGER, max_order TINYINT,
    pageblock_order TINYINT, cpus INTEGER NOT NULL,
    total_pages BIGINT, clock VARCHAR, platform VARCHAR, timing VARCHAR NOT NULL, first_ns BIGINT NOT NULL, last_ns BIGINT NOT NULL,
    events BIGINT NOT NULL, lost_events BIGINT NOT NULL, has_stacks BOOLEAN NOT NULL,
    window_from_ns BIGINT, window_to_ns BIGINT, code_version VARCHAR NOT NULL
);
COMMENT ON TABLE capture IS 'One recording: a trace and its snapshots';
COMMENT ON COLUMN capture.capture_id IS 'Capture: hash of name, input bytes, time window and the code that read them';
COMMENT ON COLUMN capture.name IS 'Unique name, given on import';
COMMENT ON COLUMN capture.source IS 'File names that were read, without their folders';
COMMENT ON COLUMN capture.sha256 IS 'SHA-256 over names and bytes of the trace and its snapshots';
COMMENT ON COLUMN capture.format IS 'Trace format: see ptpool ingest formats';
COMMENT ON COLUMN capture.kernel_release IS 'uname -r of the recorded machine; NULL when unknown';
COMMENT ON COLUMN capture.arch IS 'uname -m of the recorded machine; NULL when unknown';
COMMENT ON COLUMN capture.page_size IS 'Bytes per base page; NULL when unknown';
COMMENT ON COLUMN capture.max_order IS 'MAX_PAGE_ORDER: the largest order that buddyinfo or pagetypeinfo has a column for; NULL when unknown';
COMMENT ON COLUMN capture.pageblock_order IS 'log2 of the base pages of a pageblock, from pagetypeinfo; NULL when unknown';
COMMENT ON COLUMN capture.cpus IS 'CPUs of the recorded machine: from snapshots, else the highest CPU seen in the trace plus one';
COMMENT ON COLUMN capture.total_pages IS 'Base pages present, from zoneinfo or MemTotal; NULL when unknown';
COMMENT ON COLUMN capture.clock IS 'Trace clock; NULL when unknown';
COMMENT ON COLUMN capture.platform IS 'What the kernel ran on: bare metal, virtual machine (on the host''s own CPUs, which the host may take away for a while) or emulator (software); NULL when unknown';
COMMENT ON COLUMN capture.timing IS 'real (bare metal, virtual machine), emulated (its rates and waits are not findings) or unknown';
COMMENT ON COLUMN capture.first_ns IS 'Time of the first event kept';
COMMENT ON COLUMN capture.last_ns IS 'Time of the last event kept';
COMMENT ON COLUMN capture.events IS 'Rows in page_event';
COMMENT ON COLUMN capture.lost_events IS 'Events that the recorder says it lost';
COMMENT ON COLUMN capture.has_stacks IS 'Whether any event carries a kernel stack';
COMMENT ON COLUMN capture.window_from_ns IS 'Start of the part that was kept (--from): page_flags before the recording are brought forward to this time, free_list is left out, other snapshots stay those of the start; NULL: start of the recording';
COMMENT ON COLUMN capture.window_to_ns IS 'End of the part that was kept (--to); snapshots after the recording are of a later time; NULL: end of the recording';
COMMENT ON COLUMN capture.code_version IS 'Version and source hash of the ptpool that imported it';

CREATE TABLE event (
    seq BIGINT NOT NULL, ts_ns BIGINT NOT NULL, cpu SMALLINT NOT NULL, pfn BIGINT, task_id INTEGER NOT NULL, call_id INTEGER NOT NULL
);
COMMENT ON TABLE event IS 'Page-allocation events as recorded, in the order of the trace, as numbers only; view page_event has them with everything about them';
COMMENT ON COLUMN event.seq IS 'Place in the trace, from 0 without gaps';
COMMENT ON COLUMN event.ts_ns IS 'Time on the capture''s clock';
COMMENT ON COLUMN event.cpu IS 'CPU that the event happened on';
COMMENT ON COLUMN event.pfn IS 'First page frame number; NULL for a failed allocation';
COMMENT ON COLUMN event.task_id IS 'Task, see task';
COMMENT ON COLUMN event.call_id IS 'What was asked for and whence, see call; the capture is that of the call';

CREATE TABLE task (capture_id VARCHAR NOT NULL, task_id INTEGER NOT NULL, pid INTEGER NOT NULL, comm VARCHAR);
COMMENT ON TABLE task IS 'Tasks that events happened in: thread id and name';
COMMENT ON COLUMN task.task_id IS 'Number of the task in this warehouse';
COMMENT ON COLUMN task.pid IS 'Thread id of the task (0: idle)';
COMMENT ON COLUMN task.comm IS 'Name of the task';

CREATE TABLE call (
    capture_id VARCHAR NOT NULL, call_id INTEGER NOT NULL, kind event_kind NOT NULL, page_order TINYINT NOT NULL, migratetype TINYINT,
    gfp_flags UINTEGER, gfp_text VARCHAR, stack_id INTEGER, consumer consumer, level table_level, role table_role
);
COMMENT ON TABLE call IS 'Calls of the page allocator: events that differ only in time, CPU, task and page are of one call';
COMMENT ON COLUMN call.call_id IS 'Number of the call in this warehouse';
COMMENT ON COLUMN call.kind IS 'alloc, free, alloc_failed (returned NULL), zone_locked (left the buddy lists), pcpu_drain (went back to them), extfrag (fallback to another migratetype)';
COMMENT ON COLUMN call.page_order IS 'log2 of the number of base pages';
COMMENT ON COLUMN call.migratetype IS 'Requested migratetype (0 Unmovable, 1 Movable, 2 Reclaimable); NULL for a free';
COMMENT ON COLUMN call.gfp_flags IS 'GFP bits as numbered by Linux 6.12; NULL where the event has none';
COMMENT ON COLUMN call.gfp_text IS 'GFP flags as printed in the trace';
COMMENT ON COLUMN call.stack_id IS 'Kernel stack, see stack; NULL when none was recorded';
COMMENT ON COLUMN call.consumer IS 'Consumer of the memory, by stack; a free inherits it from its page (that of a kernel stack never seen allocated has it by its own stack); NULL: never seen allocated';
COMMENT ON COLUMN call.level IS 'Level of the page table; NULL where the page is no table, or unknown';
COMMENT ON COLUMN call.role IS 'Whether the table was linked at once, deposited for a huge page or preallocated; NULL when unknown';

CREATE TABLE stack (
    capture_id VARCHAR NOT NULL, stack_id INTEGER NOT NULL, frames VARCHAR[] NOT NULL, consumer consumer NOT NULL,
    level table_level, role table_role
);
COMMENT ON TABLE stack IS 'Distinct kernel call stacks of a capture, and their class by ingest/rules.toml';
COMMENT ON COLUMN stack.stack_id IS 'Number within the capture, from 0 in order of first appearance';
COMMENT ON COLUMN stack.frames IS 'Function names, innermost first; unresolved addresses stay addresses';
COMMENT ON COLUMN stack.consumer IS 'Consumer by the first matching rule of ingest/rules.toml';
COMMENT ON COLUMN stack.level IS 'Level of the page table that such a stack allocates';
COMMENT ON COLUMN stack.role IS 'Role of the page table that such a stack allocates';

CREATE TABLE import_stat (
    capture_id VARCHAR NOT NULL, name VARCHAR NOT NULL, severity severity NOT NULL, cpu SMALLINT, value BIGINT NOT NULL,
    explanation VARCHAR NOT NULL
);
COMMENT ON TABLE import_stat IS 'Data quality of a capture: losses, oddities and what was left out, each with its meaning';
COMMENT ON COLUMN import_stat.name IS 'Name of the count';
COMMENT ON COLUMN import_stat.severity IS 'info, notice, error, or data_loss';
COMMENT ON COLUMN import_stat.cpu IS 'CPU it concerns; NULL: all';
COMMENT ON COLUMN import_stat.value IS 'The count';
COMMENT ON COLUMN import_stat.explanation IS 'What it means and what to do about it';

CREATE TABLE free_blocks (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, node SMALLINT NOT NULL, zone VARCHAR NOT NULL,
    migratetype migratetype, page_order TINYINT NOT NULL, blocks BIGINT NOT NULL
);
COMMENT ON TABLE free_blocks IS 'Free blocks per order from /proc/buddyinfo (migratetype NULL) and /proc/pagetypeinfo';
COMMENT ON COLUMN free_blocks.moment IS 'before or after the recording';
COMMENT ON COLUMN free_blocks.node IS 'NUMA node';
COMMENT ON COLUMN free_blocks.zone IS 'Zone name';
COMMENT ON COLUMN free_blocks.migratetype IS 'Type of the free list; NULL: all types together';
COMMENT ON COLUMN free_blocks.page_order IS 'log2 of the block size in base pages';
COMMENT ON COLUMN free_blocks.blocks IS 'Number of free blocks (pagetypeinfo stops counting at 100000)';

CREATE TABLE pageblocks (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, node SMALLINT NOT NULL, zone VARCHAR NOT NULL,
    migratetype migratetype NOT NULL, blocks BIGINT NOT NULL
);
COMMENT ON TABLE pageblocks IS 'Pageblocks by type from /proc/pagetypeinfo';
COMMENT ON COLUMN pageblocks.migratetype IS 'Type of the pageblock';
COMMENT ON COLUMN pageblocks.blocks IS 'Number of pageblocks, each of 2^capture.pageblock_order pages';

CREATE TABLE snapshot_value (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, source VARCHAR NOT NULL, name VARCHAR NOT NULL, value BIGINT NOT NULL
);
COMMENT ON TABLE snapshot_value IS 'Single values of /proc snapshots; zoneinfo''s per-CPU values are in pageset';
COMMENT ON COLUMN snapshot_value.source IS 'vmstat, meminfo (values in kB as printed), zoneinfo; cpuinfo (the MIDR of arm64 CPUs)';
COMMENT ON COLUMN snapshot_value.name IS 'Name as in the file; for zoneinfo: Node 0, zone DMA32, present';
COMMENT ON COLUMN snapshot_value.value IS 'The value';

CREATE TABLE pageset (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, node SMALLINT NOT NULL, zone VARCHAR NOT NULL, cpu SMALLINT NOT NULL,
    name VARCHAR NOT NULL, value BIGINT NOT NULL
);
COMMENT ON TABLE pageset IS 'The per-CPU page lists of every zone, from /proc/zoneinfo';
COMMENT ON COLUMN pageset.cpu IS 'CPU';
COMMENT ON COLUMN pageset.name IS 'Name as in the file: count (pages on the lists), high, batch; high_min and high_max from Linux 6.7 on; vm stats threshold';
COMMENT ON COLUMN pageset.value IS 'The value';

CREATE TABLE page_flags (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, first_pfn BIGINT NOT NULL, last_pfn BIGINT NOT NULL, flags UBIGINT NOT NULL
);
COMMENT ON TABLE page_flags IS '/proc/kpageflags as runs of pages with equal flags';
COMMENT ON COLUMN page_flags.first_pfn IS 'First page of the range';
COMMENT ON COLUMN page_flags.last_pfn IS 'Last page of the range';
COMMENT ON COLUMN page_flags.flags IS 'Flag bits of include/uapi/linux/kernel-page-flags.h that the replay needs: LRU 5, SLAB 7, BUDDY 10, COMPOUND_HEAD 15, COMPOUND_TAIL 16, NOPAGE 20, OFFLINE 23, PGTABLE 26';

CREATE TABLE free_list (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, place INTEGER NOT NULL, node SMALLINT NOT NULL, zone VARCHAR NOT NULL,
    cpu SMALLINT, migratetype migratetype NOT NULL, page_order TINYINT NOT NULL, first_pfn BIGINT NOT NULL
);
COMMENT ON TABLE free_list IS 'Free blocks as the kernel''s own lists hold them, in the order of each list, from free_lists of the bundle; no rows where it has none, or where they contradict the other snapshots (import_stat)';
COMMENT ON COLUMN free_list.place IS 'Place in the file, from 0 without gaps: on each list the first is the one that is taken first';
COMMENT ON COLUMN free_list.cpu IS 'CPU whose list (struct per_cpu_pages) it is; NULL: the zone''s own (struct free_area)';
COMMENT ON COLUMN free_list.migratetype IS 'Type of the list; CPUs keep huge blocks on lists that are only Movable or not (Unmovable)';
COMMENT ON COLUMN free_list.page_order IS 'log2 of the block size in base pages';
COMMENT ON COLUMN free_list.first_pfn IS 'First page of the block';

CREATE TABLE pageblock_type (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, first_pfn BIGINT NOT NULL, last_pfn BIGINT NOT NULL, migratetype migratetype NOT NULL
);
COMMENT ON TABLE pageblock_type IS 'The type of every pageblock, as runs of pageblocks of one type, from free_lists of the bundle; holes have no row';
COMMENT ON COLUMN pageblock_type.migratetype IS 'Type of the pageblocks';

CREATE TABLE memory_range (
    capture_id VARCHAR NOT NULL, first_pfn BIGINT NOT NULL, last_pfn BIGINT NOT NULL, name VARCHAR NOT NULL
);
COMMENT ON TABLE memory_range IS 'Memory and the kernel image, from /proc/iomem, in whole pages. Memory is System RAM here, whatever driver added it';
COMMENT ON COLUMN memory_range.name IS 'System RAM, or a part of the kernel image as in /proc/iomem: Kernel code, ...';

CREATE TABLE permission_change (
    capture_id VARCHAR NOT NULL, ts_ns BIGINT NOT NULL, cpu SMALLINT NOT NULL, pid INTEGER NOT NULL, first_pfn BIGINT NOT NULL,
    pages BIGINT NOT NULL, set_bits UBIGINT NOT NULL, clear_bits UBIGINT NOT NULL, stack_id INTEGER
);
COMMENT ON TABLE permission_change IS 'Permission changes of the direct map, including those of aliases, that a kernel probe recorded (ptpool ingest capture, x86)';
COMMENT ON COLUMN permission_change.first_pfn IS 'First page';
COMMENT ON COLUMN permission_change.pages IS 'Number of pages of 4K';
COMMENT ON COLUMN permission_change.set_bits IS 'Bits of the page-table entry that are set (arch/x86/include/asm/pgtable_types.h): PRESENT 0, RW 1, NX 63, ...';
COMMENT ON COLUMN permission_change.clear_bits IS 'Bits of the page-table entry that are cleared';

CREATE TABLE direct_map_recorded (
    capture_id VARCHAR NOT NULL, moment moment NOT NULL, first_pfn BIGINT NOT NULL, last_pfn BIGINT NOT NULL, level table_level NOT NULL
);
COMMENT ON TABLE direct_map_recorded IS 'The direct map of the recorded machine, from the page tables in debugfs or a walk of them; holes have no row';
COMMENT ON COLUMN direct_map_recorded.level IS 'Level of the leaves that map it: pte, pmd, pud';

-- ------------------------------------------------------------------------------------------------------- replays

CREATE TABLE strategy (
    strategy VARCHAR NOT NULL, title VARCHAR NOT NULL, source VARCHAR NOT NULL, parameters JSON NOT NULL,
    family VARCHAR NOT NULL, colour VARCHAR NOT NULL, line VARCHAR NOT NULL, marker VARCHAR NOT NULL
);
COMMENT ON TABLE strategy IS 'Strategies known to the ptpool that last replayed into this file, and older ones with runs in it';
COMMENT ON COLUMN strategy.strategy IS 'Name of the strategy';
COMMENT ON COLUMN strategy.title IS 'One line on what it is';
COMMENT ON COLUMN strategy.source IS 'The posting or code that it follows';
COMMENT ON COLUMN strategy.parameters IS 'Parameters and their defaults';
COMMENT ON COLUMN strategy.family IS 'Kind: baseline (nothing is keyed), bound (no strategy, but what none can beat), per table (the key is set table by table), pool';
COMMENT ON COLUMN strategy.colour IS 'Colour in every figure, #rrggbb';
COMMENT ON COLUMN strategy.line IS 'Line style in figures: solid, dashed, dashdot, dotted';
COMMENT ON COLUMN strategy.marker IS 'Marker in figures, by its letter in matplotlib';

CREATE TABLE run (
    run_id VARCHAR NOT NULL, capture_id VARCHAR NOT NULL, strategy VARCHAR NOT NULL, params JSON NOT NULL, is_default BOOLEAN NOT NULL,
    /* columns of the settings */, code_version VARCHAR NOT NULL, assumptions VARCHAR[] NOT NULL, metrics_only BOOLEAN NOT NULL DEFAULT false
);
COMMENT ON TABLE run IS 'One replay of one capture through one strategy';
COMMENT ON COLUMN run.run_id IS 'Run: hash of capture, strategy, parameters, settings and code version';
COMMENT ON COLUMN run.params IS 'All parameters, defaults included';
COMMENT ON COLUMN run.is_default IS 'Whether every parameter and every setting has its default value, and all tables of the run were kept';
COMMENT ON COLUMN run.code_version IS 'Version and source hash of the ptpool that ran it';
COMMENT ON COLUMN run.assumptions IS 'What had to be assumed about this capture: initial state, direct map, placement of outside changes';
COMMENT ON COLUMN run.metrics_only IS 'Whether only metrics and orders were kept (a sweep): no timeline, splits, direct map, incidents, latencies';

CREATE TABLE sweep (sweep VARCHAR NOT NULL, run_id VARCHAR NOT NULL);
COMMENT ON TABLE sweep IS 'Which runs a sweep consists of (ptpool replay sweep); views sweep_setting, sweep_effect and sweep_sensitivity compare them';
COMMENT ON COLUMN sweep.sweep IS 'Sweep, by the name of its specification';
COMMENT ON COLUMN sweep.run_id IS 'Run; one run can belong to several sweeps';

CREATE TABLE cost_constant (
    costs VARCHAR NOT NULL, arch VARCHAR NOT NULL, name VARCHAR NOT NULL, low DOUBLE NOT NULL, typical DOUBLE NOT NULL, high DOUBLE NOT NULL,
    source VARCHAR NOT NULL
);
COMMENT ON TABLE cost_constant IS 'Constants of every cost profile that a replay was asked to use, ns';
COMMENT ON COLUMN cost_constant.costs IS 'Cost profile: built-in, or the stem of a file and a hash of its constants';
COMMENT ON COLUMN cost_constant.arch IS 'Architecture as uname -m names it; others get those of x86_64';
COMMENT ON COLUMN cost_constant.name IS 'What takes the time: see replay/profiles/costs.toml';
COMMENT ON COLUMN cost_constant.low IS 'The least that it may be';
COMMENT ON COLUMN cost_constant.typical IS 'What a replay uses';
COMMENT ON COLUMN cost_constant.high IS 'The most that it may be';
COMMENT ON COLUMN cost_constant.source IS 'Where the figure comes from, or that it is an assumption';

CREATE TABLE run_timing (run_id VARCHAR NOT NULL, started_at TIMESTAMP NOT NULL, wall_s DOUBLE NOT NULL, events_per_s DOUBLE NOT NULL);
COMMENT ON TABLE run_timing IS 'How long a replay took: the only result that differs between two equal runs';
COMMENT ON COLUMN run_timing.started_at IS 'Wall-clock start, UTC';
COMMENT ON COLUMN run_timing.wall_s IS 'Seconds';
COMMENT ON COLUMN run_timing.events_per_s IS 'Allocation and free events replayed per second';

CREATE TABLE run_metric (run_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, value DOUBLE, unit VARCHAR NOT NULL);
COMMENT ON TABLE run_metric IS 'Results of a replay, one row per metric; see metric_glossary';
COMMENT ON COLUMN run_metric.metric IS 'Metric: see metric_glossary';
COMMENT ON COLUMN run_metric.value IS 'Value; NULL: not applicable on this machine or to this strategy';
COMMENT ON COLUMN run_metric.unit IS 'Unit of the value';

CREATE TABLE metric_glossary (metric VARCHAR NOT NULL, unit VARCHAR NOT NULL, meaning VARCHAR NOT NULL);
COMMENT ON TABLE metric_glossary IS 'What each metric of run_metric means';
COMMENT ON COLUMN metric_glossary.metric IS 'Name';
COMMENT ON COLUMN metric_glossary.meaning IS 'Definition';

CREATE TABLE run_order (
    run_id VARCHAR NOT NULL, page_order TINYINT NOT NULL, attempts BIGINT NOT NULL, failures BIGINT NOT NULL, refill_attempts BIGINT NOT NULL,
    refill_failures BIGINT NOT NULL, kswapd BIGINT NOT NULL, compact_async BIGINT NOT NULL, reclaim BIGINT NOT NULL, compact_sync BIGINT NOT NULL,
    oom_kill BIGINT NOT NULL, "null" BIGINT NOT NULL
);
COMMENT ON TABLE run_order IS 'What allocations of each order went through in a replay, the strategy''s own included';
COMMENT ON COLUMN run_order.page_order IS 'log2 of the number of base pages asked for';
COMMENT ON COLUMN run_order.attempts IS 'Allocations asked for';
COMMENT ON COLUMN run_order.failures IS 'Those that got nothing';
COMMENT ON COLUMN run_order.refill_attempts IS 'Of the attempts, those by the strategy itself for its pool';
COMMENT ON COLUMN run_order.refill_failures IS 'Of those, the ones that got nothing';
COMMENT ON COLUMN run_order.kswapd IS 'Attempts that woke kswapd (no zone above its low watermark)';
COMMENT ON COLUMN run_order.compact_async IS 'Attempts that entered asynchronous direct compaction';
COMMENT ON COLUMN run_order.reclaim IS 'Attempts that entered direct reclaim';
COMMENT ON COLUMN run_order.compact_sync IS 'Attempts that entered synchronous direct compaction';
COMMENT ON COLUMN run_order.oom_kill IS 'Attempts that would have called the OOM killer';
COMMENT ON COLUMN run_order."null" IS 'Attempts that returned NULL';

CREATE TABLE timeline (run_id VARCHAR NOT NULL, t_ns BIGINT NOT NULL, metric VARCHAR NOT NULL, value DOUBLE NOT NULL);
COMMENT ON TABLE timeline IS 'State over time, sampled at most a few thousand times per series';
COMMENT ON COLUMN timeline.t_ns IS 'Time on the capture''s clock';
COMMENT ON COLUMN timeline.metric IS 'ptp_live, pool_idle, pool_held (pages), reserve_low (fewest pages since the last sample on the list that splits take tables from: see metric reserve_pages_min), pte_pages, pmd_pages, pud_pages (pages of the direct map by the level of their leaf: 4K, 2M, 1G), free_pages';
COMMENT ON COLUMN timeline.value IS 'Value at that time (reserve_low: minimum since the sample before)';

CREATE TABLE split (run_id VARCHAR NOT NULL, t_ns BIGINT NOT NULL, pfn BIGINT NOT NULL, leaf VARCHAR NOT NULL, action VARCHAR NOT NULL, cause VARCHAR NOT NULL);
COMMENT ON TABLE split IS 'Every split of the direct map in a replay, also those of the warm-up before the first event';
COMMENT ON COLUMN split.pfn IS 'First page of the leaf that was split';
COMMENT ON COLUMN split.leaf IS 'Size of the leaf that went: 1G or 2M';
COMMENT ON COLUMN split.action IS 'split or collapse';
COMMENT ON COLUMN split.cause IS 'refill, ptp (a table keyed on its own), shrink, outside (secret memory, modules, BPF), warm_up (before the first event)';

CREATE TABLE direct_map (run_id VARCHAR NOT NULL, moment VARCHAR NOT NULL, first_pfn BIGINT NOT NULL, last_pfn BIGINT NOT NULL, leaf VARCHAR NOT NULL, keyed BOOLEAN NOT NULL);
COMMENT ON TABLE direct_map IS 'The direct map of a replay as runs of pages with equal leaf size and key';
COMMENT ON COLUMN direct_map.moment IS 'start (after the warm-up, before the first event) or end';
COMMENT ON COLUMN direct_map.leaf IS 'Size of the leaves: 4K, 2M, 1G';
COMMENT ON COLUMN direct_map.keyed IS 'Whether these pages carry the page-table key';

CREATE TABLE incident (run_id VARCHAR NOT NULL, t_ns BIGINT NOT NULL, cpu SMALLINT, kind VARCHAR NOT NULL, page_order TINYINT, detail VARCHAR NOT NULL);
COMMENT ON TABLE incident IS 'What went wrong in a replay, each by its own kind (at most 1000 rows a kind; the metrics count all)';
COMMENT ON COLUMN incident.kind IS 'ptp_null, ptp_refused (a page table asked for where nobody may sleep, of an empty pool), split_starvation, unkeyed_table, deadlock, warn (a WARN_ON() of the posted code), oom_kill, livelock (a request that may reclaim but not enter file systems, GFP_NOFS or GFP_NOIO, looped until the recording ended)';
COMMENT ON COLUMN incident.page_order IS 'Order of the request';
COMMENT ON COLUMN incident.detail IS 'What happened';

CREATE TABLE latency (run_id VARCHAR NOT NULL, operation VARCHAR NOT NULL, bucket_ns BIGINT NOT NULL, count BIGINT NOT NULL);
COMMENT ON TABLE latency IS 'Histogram of modelled latencies: service by the cost profile plus waiting for locks and for one''s own earlier requests';
COMMENT ON COLUMN latency.operation IS 'ptp_alloc: a page table asked for until it is there; outside: a permission change by others; alloc: another allocation that had to reclaim';
COMMENT ON COLUMN latency.bucket_ns IS 'Lower edge of the bucket';
COMMENT ON COLUMN latency.count IS 'Samples in the bucket';

CREATE TABLE measured_fragmentation (
    machine VARCHAR NOT NULL, how VARCHAR NOT NULL, free_pages BIGINT NOT NULL, unusable_index_2 DOUBLE NOT NULL, unusable_index_4 DOUBLE NOT NULL, unusable_index_9 DOUBLE NOT NULL
);
COMMENT ON TABLE measured_fragmentation IS 'How free memory lay on real kernels, by their /proc/buddyinfo: machines that were recorded, and guests after wear; comes with ptpool (tests/support/measured_fragmentation.py)';
COMMENT ON COLUMN measured_fragmentation.machine IS 'Recording, run of a pool, or guest and moment';
COMMENT ON COLUMN measured_fragmentation.how IS 'recorded (before a recording), worn (after and during use by ordinary objects), or fragmented on purpose';
COMMENT ON COLUMN measured_fragmentation.free_pages IS 'Free pages of the zones that UNMOVABLE may use';
COMMENT ON COLUMN measured_fragmentation.unusable_index_2 IS 'Unusable free space index at order 2: share of them in blocks too small for it (unusable_free_index(), mm/vmstat.c, here over these zones)';
COMMENT ON COLUMN measured_fragmentation.unusable_index_4 IS 'Unusable free space index at order 4';
COMMENT ON COLUMN measured_fragmentation.unusable_index_9 IS 'Unusable free space index at order 9';

CREATE TABLE risk (
    capture_id VARCHAR NOT NULL, strategy VARCHAR NOT NULL, params JSON NOT NULL, machine VARCHAR NOT NULL, table_share DOUBLE NOT NULL,
    fragmentation VARCHAR NOT NULL, holes VARCHAR NOT NULL, reclaim VARCHAR NOT NULL, headroom DOUBLE NOT NULL, unusable_index_2 DOUBLE, unusable_index_4 DOUBLE, unusable_index_9 DOUBLE, seeds INTEGER NOT NULL, failures INTEGER NOT NULL,
    failures_unprotected INTEGER NOT NULL, p_low DOUBLE, p_high DOUBLE, excess_stalls_per_million DOUBLE
);
COMMENT ON TABLE risk IS 'OOM risk under pressure (ptpool replay risk): how often a strategy fails where the paired unprotected run does not, by headroom; from the thresholds in risk_threshold, assuming that more headroom never hurts';
COMMENT ON COLUMN risk.machine IS 'Machine: recorded, a size such as 8G, or the name of an aged one; its memory is filled before the first event';
COMMENT ON COLUMN risk.reclaim IS 'Reclaim variant: optimistic, moderate, none';
COMMENT ON COLUMN risk.table_share IS 'Share of page tables in the pages that are allocated: as recorded, or as asked for with --table-share';
COMMENT ON COLUMN risk.fragmentation IS 'How the free memory lies: a name in replay/profiles/pressure.toml, or the unusable index at order 2 that was asked for';
COMMENT ON COLUMN risk.holes IS 'Of what kind the pages are that free memory lies between: unmovable, or movable (compaction can move them)';
COMMENT ON COLUMN risk.headroom IS 'Usable memory for UNMOVABLE above the min watermark (free and reclaimable, without CMA and ZONE_MOVABLE) over the trace''s own peak net demand';
COMMENT ON COLUMN risk.unusable_index_2 IS 'Unusable free space index at order 2 before the first event, mean over the machines that were built';
COMMENT ON COLUMN risk.seeds IS 'Paired runs: machines drawn by seed';
COMMENT ON COLUMN risk.failures IS 'Runs with a failure where the paired unprotected run has none: what it takes at boot does not fit, an OOM kill, a page table that is not supplied or has no key although the strategy promises it, or NULL to another request that may reclaim, is not costly and has neither __GFP_NORETRY nor __GFP_RETRY_MAYFAIL';
COMMENT ON COLUMN risk.failures_unprotected IS 'Unprotected runs with a failure';
COMMENT ON COLUMN risk.p_low IS 'Lower end of the 95 % Wilson interval of failures / seeds';
COMMENT ON COLUMN risk.p_high IS 'Upper end of the 95 % Wilson interval of failures / seeds';
COMMENT ON COLUMN risk.excess_stalls_per_million IS 'Stalls over the paired unprotected run, per million allocations: mean over the pairs that were run at this headroom and in which neither fails; NULL where there is none';

CREATE TABLE risk_threshold (
    capture_id VARCHAR NOT NULL, strategy VARCHAR NOT NULL, params JSON NOT NULL, machine VARCHAR NOT NULL, table_share DOUBLE NOT NULL,
    fragmentation VARCHAR NOT NULL, holes VARCHAR NOT NULL, reclaim VARCHAR NOT NULL, seed BIGINT NOT NULL, headroom DOUBLE NOT NULL,
    censored BOOLEAN NOT NULL, unusable_index_2 DOUBLE, unusable_index_4 DOUBLE, unusable_index_9 DOUBLE, failure VARCHAR, page_order TINYINT, excess_stalls_per_million DOUBLE,
    runs INTEGER NOT NULL, checked INTEGER NOT NULL, contradicted INTEGER NOT NULL
);
COMMENT ON TABLE risk_threshold IS 'Where failures begin, one machine drawn by seed at a time: the pairs behind table risk';
COMMENT ON COLUMN risk_threshold.seed IS 'Seed of everything drawn: the same machine for all strategies';
COMMENT ON COLUMN risk_threshold.headroom IS 'The smallest headroom (see table risk) at which the strategy does not fail, in steps of 6 %; where censored, one step above the largest tried';
COMMENT ON COLUMN risk_threshold.censored IS 'It still fails at the largest headroom that was tried';
COMMENT ON COLUMN risk_threshold.unusable_index_2 IS 'Unusable free space index at order 2 of that machine before the first event';
COMMENT ON COLUMN risk_threshold.failure IS 'What fails one step below: boot (what the strategy takes at boot does not fit the machine), oom_kill, ptp_null, livelock, unkeyed_table (a table without the key, of a strategy that promises it), null';
COMMENT ON COLUMN risk_threshold.page_order IS 'Order of the request that fails there';
COMMENT ON COLUMN risk_threshold.excess_stalls_per_million IS 'Stalls over the unprotected run at this headroom, per million allocations; NULL where one of the two fails';
COMMENT ON COLUMN risk_threshold.runs IS 'Runs that the search took';
COMMENT ON COLUMN risk_threshold.checked IS 'Further runs that test whether more headroom never hurts';
COMMENT ON COLUMN risk_threshold.contradicted IS 'Those in which it did: a failure above the threshold, or none below';

CREATE TABLE strategy_check (
    strategy VARCHAR NOT NULL, params JSON NOT NULL, is_default BOOLEAN NOT NULL, tasks INTEGER NOT NULL, outside_tables INTEGER NOT NULL,
    depth INTEGER NOT NULL, holds BOOLEAN NOT NULL, complete BOOLEAN NOT NULL, kind VARCHAR, steps INTEGER, way VARCHAR[] NOT NULL,
    states BIGINT NOT NULL, code_version VARCHAR NOT NULL
);
COMMENT ON TABLE strategy_check IS 'What the exhaustive search of a small machine found (ptpool replay check --db): one row per strategy with its parameters there, and scenario';
COMMENT ON COLUMN strategy_check.params IS 'Parameters, as they fit the small machine';
COMMENT ON COLUMN strategy_check.is_default IS 'Whether none was set with --set';
COMMENT ON COLUMN strategy_check.tasks IS 'Tasks that ask for page tables';
COMMENT ON COLUMN strategy_check.outside_tables IS 'Most tables that a permission change by others takes; 0: others change nothing';
COMMENT ON COLUMN strategy_check.depth IS 'Steps searched exhaustively';
COMMENT ON COLUMN strategy_check.holds IS 'Whether no sequence of that many steps breaks it';
COMMENT ON COLUMN strategy_check.complete IS 'Whether there was nothing more to search, so that it holds for any number of steps';
COMMENT ON COLUMN strategy_check.kind IS 'What goes wrong: split_starvation, unkeyed_table, deadlock, lost_page; NULL: it holds';
COMMENT ON COLUMN strategy_check.steps IS 'Steps of the shortest way to break it; NULL: it holds';
COMMENT ON COLUMN strategy_check.way IS 'Those steps in words, and what goes wrong';
COMMENT ON COLUMN strategy_check.states IS 'States of the machine that the search met';

CREATE TABLE contention (
    capture_id VARCHAR NOT NULL, strategy VARCHAR NOT NULL, params JSON NOT NULL, free_order TINYINT NOT NULL, cpus INTEGER NOT NULL,
    change_ns DOUBLE NOT NULL, tables_per_s DOUBLE NOT NULL, basis VARCHAR NOT NULL, costs VARCHAR NOT NULL, tables BIGINT NOT NULL,
    alloc_ns DOUBLE NOT NULL, lock_wait_ns DOUBLE NOT NULL, lock_wait_share DOUBLE NOT NULL, held_pages_mean DOUBLE NOT NULL,
    held_pages_peak BIGINT NOT NULL, refills BIGINT NOT NULL
);
COMMENT ON TABLE contention IS 'Simulated CPUs that fill their page tables from one pool, every table staying in use: ptpool replay contention';
COMMENT ON COLUMN contention.capture_id IS 'Capture whose demand and architecture it is';
COMMENT ON COLUMN contention.free_order IS 'Largest order that the page allocator has for refills: 9 (2M blocks) or 2 (four pages)';
COMMENT ON COLUMN contention.cpus IS 'CPUs, each with one task';
COMMENT ON COLUMN contention.change_ns IS 'What one key change takes, with all that it splits and flushes';
COMMENT ON COLUMN contention.tables_per_s IS 'Page tables per second that a CPU would ask for if each took no time';
COMMENT ON COLUMN contention.basis IS 'Where that rate comes from';
COMMENT ON COLUMN contention.costs IS 'Cost profile of everything else: see cost_constant';
COMMENT ON COLUMN contention.tables IS 'Page tables counted';
COMMENT ON COLUMN contention.alloc_ns IS 'Mean time of a page-table allocation, waiting included, without zeroing';
COMMENT ON COLUMN contention.lock_wait_ns IS 'Mean of it spent waiting for the lock of the list and those that the strategy names';
COMMENT ON COLUMN contention.lock_wait_share IS 'lock_wait_ns over alloc_ns';
COMMENT ON COLUMN contention.held_pages_mean IS 'Pages held and unused: on all lists and in refills under way, averaged over time';
COMMENT ON COLUMN contention.held_pages_peak IS 'The most at once';
COMMENT ON COLUMN contention.refills IS 'Refills';

CREATE TABLE validation (
    capture_id VARCHAR NOT NULL, quantity VARCHAR NOT NULL, zone VARCHAR, page_order TINYINT, recorded_before DOUBLE, recorded_after DOUBLE, predicted DOUBLE,
    predicted_low DOUBLE, predicted_high DOUBLE, null_error DOUBLE, model_error DOUBLE, allowed_error DOUBLE,
    strategy VARCHAR, start VARCHAR, recorded_low DOUBLE, recorded_high DOUBLE
);
COMMENT ON TABLE validation IS 'The model against real machines: what ptpool replay validate compared';
COMMENT ON COLUMN validation.capture_id IS 'Capture, the file of a recorded sequence, or the run of a pool in a real kernel';
COMMENT ON COLUMN validation.strategy IS 'Of a run of a pool in a real kernel: the strategy that it ran; NULL: a capture or a sequence';
COMMENT ON COLUMN validation.start IS 'Of a run of a pool: what the replay started from: exact (the kernel''s free lists), ordinary (what any recording of that run tells), blind (a recording of another run, without a pool)';
COMMENT ON COLUMN validation.recorded_low IS 'Of a run of a pool: the least over the kernel''s runs that the prediction is held against';
COMMENT ON COLUMN validation.recorded_high IS 'Of a run of a pool: the most over the kernel''s runs that the prediction is held against';
COMMENT ON COLUMN validation.quantity IS 'What is compared: free_blocks (by order), free_pages, huge_blocks_free (memory free in blocks of the huge order or larger, in such blocks), unmovable_pageblocks and the other types, pcp_pages (on per-CPU lists), free_and_pcp_pages (both together), page_table_pages, splits_2m, splits_1g, oom_kills; of a recorded sequence the kernel''s own counters; of a run of a pool refills_tried and refills_got (by order), splits_by_others, and metrics of a run';
COMMENT ON COLUMN validation.zone IS 'Zone; NULL: the whole machine';
COMMENT ON COLUMN validation.page_order IS 'Order; NULL: all orders';
COMMENT ON COLUMN validation.recorded_before IS 'Value in the before snapshot';
COMMENT ON COLUMN validation.recorded_after IS 'Value in the after snapshot';
COMMENT ON COLUMN validation.predicted IS 'Value the model predicts for after, with seed 0';
COMMENT ON COLUMN validation.predicted_low IS 'Smallest prediction of all seeds tried';
COMMENT ON COLUMN validation.predicted_high IS 'Largest prediction of all seeds tried';
COMMENT ON COLUMN validation.null_error IS 'Error of predicting that nothing changes';
COMMENT ON COLUMN validation.model_error IS 'Error of the model';
COMMENT ON COLUMN validation.allowed_error IS 'Largest error at which the prediction holds: a quarter of the recorded change, or 32; NULL: the quantity has no target';

CREATE TABLE contradiction (
    capture_id VARCHAR NOT NULL, what VARCHAR NOT NULL, cause VARCHAR NOT NULL, pages BIGINT NOT NULL, explained BOOLEAN NOT NULL, explanation VARCHAR NOT NULL
);
COMMENT ON TABLE contradiction IS 'Placement replay: where a recording contradicts itself or its snapshots when every event is put at its recorded place';
COMMENT ON COLUMN contradiction.what IS 'What cannot be: an allocation of a page in use, a free of a free page, a state afterwards that no event made';
COMMENT ON COLUMN contradiction.cause IS 'Why, by name: bulk_allocation, compaction, per_cpu_lists, ...; unexplained';
COMMENT ON COLUMN contradiction.pages IS 'Pages (a page counts each time)';
COMMENT ON COLUMN contradiction.explained IS 'Whether a cause is known';
COMMENT ON COLUMN contradiction.explanation IS 'The cause in words, with its place in the kernel';

CREATE TABLE published_source (
    source VARCHAR PRIMARY KEY, posted VARCHAR, message_id VARCHAR, read_in VARCHAR NOT NULL
);
COMMENT ON TABLE published_source IS 'Where published figures come from';
COMMENT ON COLUMN published_source.source IS 'Who published it, what and when: as published_measurement.source says it';
COMMENT ON COLUMN published_source.posted IS 'Date as far as it is known; NULL: it has none (sources of a kernel)';
COMMENT ON COLUMN published_source.message_id IS 'Message-ID, where it is known: the mailing-list archives find a mail by it';
COMMENT ON COLUMN published_source.read_in IS 'In what the figure was read';

CREATE TABLE published_measurement (
    topic VARCHAR NOT NULL, arch VARCHAR NOT NULL, platform VARCHAR NOT NULL, kernel VARCHAR, workload_class VARCHAR NOT NULL,
    benchmark VARCHAR NOT NULL, metric VARCHAR NOT NULL, delta_pct DOUBLE, value DOUBLE, unit VARCHAR, better_when VARCHAR NOT NULL,
    certainty VARCHAR NOT NULL, source VARCHAR NOT NULL REFERENCES published_source (source), note VARCHAR
);
COMMENT ON TABLE published_measurement IS 'Published figures on what the granularity of the direct map and changes of its permissions cost, as posted';
COMMENT ON COLUMN published_measurement.topic IS 'mapping (large pages against an all-4K map), fragmentation (a partly split map), conversion (a key change per table), memory (spent on tables of the direct map), flush (TLB invalidation), walk (of page tables)';
COMMENT ON COLUMN published_measurement.arch IS 'Architecture as uname -m names it';
COMMENT ON COLUMN published_measurement.platform IS 'Machine';
COMMENT ON COLUMN published_measurement.kernel IS 'Kernel; NULL: not said';
COMMENT ON COLUMN published_measurement.workload_class IS 'macro (whole workload), micro (one kernel path), primitive (one operation), io (devices and page cache), memory (bytes), survey (shares of many tests), field (counted on a machine in use)';
COMMENT ON COLUMN published_measurement.benchmark IS 'What was run';
COMMENT ON COLUMN published_measurement.metric IS 'What was measured';
COMMENT ON COLUMN published_measurement.delta_pct IS 'Change in per cent as published (mapping: large pages relative to all-4K; conversion: with key changes relative to without keys); NULL: none was published';
COMMENT ON COLUMN published_measurement.value IS 'The figure itself, in unit, where it is not a change in per cent; NULL: none was published';
COMMENT ON COLUMN published_measurement.better_when IS 'Which direction is better: lower or higher (fastest page size: the larger or the smaller page)';
COMMENT ON COLUMN published_measurement.certainty IS 'measured (a number that was measured and posted), approximate (the same in round words), derived (our arithmetic on posted numbers or sources), direction (better or worse and no figure), opinion (a reading or an assumption of its author), weak (no measurement behind it is known)';
COMMENT ON COLUMN published_measurement.source IS 'Who published it, what and when: published_source says more';
COMMENT ON COLUMN published_measurement.note IS 'What to mind; NULL: nothing to add';

CREATE TABLE calibration (
    calibration_id VARCHAR PRIMARY KEY, cpu VARCHAR NOT NULL, cpus INTEGER NOT NULL, arch VARCHAR NOT NULL, kernel VARCHAR NOT NULL,
    virtual VARCHAR, made_at TIMESTAMP NOT NULL, facts JSON NOT NULL
);
COMMENT ON TABLE calibration IS 'Machines that ptpool replay calibrate measured: the latest of each machine and kernel';
COMMENT ON COLUMN calibration.calibration_id IS 'Hash of CPU, number of CPUs, memory and kernel';
COMMENT ON COLUMN calibration.cpu IS 'CPU model';
COMMENT ON COLUMN calibration.cpus IS 'CPUs';
COMMENT ON COLUMN calibration.arch IS 'Architecture as uname -m names it';
COMMENT ON COLUMN calibration.kernel IS 'Kernel release';
COMMENT ON COLUMN calibration.virtual IS 'What says that it is a virtual machine, where memory is translated twice; NULL: nothing does';
COMMENT ON COLUMN calibration.made_at IS 'When it was measured, UTC';
COMMENT ON COLUMN calibration.facts IS 'The rest of what is known: command, version, settings, load, remarks';

CREATE TABLE calibration_value (
    calibration_id VARCHAR NOT NULL, quantity VARCHAR NOT NULL, unit VARCHAR NOT NULL, low DOUBLE NOT NULL, median DOUBLE NOT NULL,
    high DOUBLE NOT NULL, page_bytes BIGINT, working_set_bytes BIGINT, busy_cpus INTEGER
);
COMMENT ON TABLE calibration_value IS 'What was measured on them: medians with 95 % intervals by order statistics';
COMMENT ON COLUMN calibration_value.calibration_id IS 'Machine';
COMMENT ON COLUMN calibration_value.quantity IS 'load (a random dependent load), penalty (how much longer it takes in small pages than in these), secret_fault and plain_fault (a page fault of memfd_secret and of memfd memory), permission_change (the difference of those two)';
COMMENT ON COLUMN calibration_value.unit IS 'ns or %';
COMMENT ON COLUMN calibration_value.low IS 'Lower end of the interval';
COMMENT ON COLUMN calibration_value.median IS 'The number';
COMMENT ON COLUMN calibration_value.high IS 'Upper end of the interval';
COMMENT ON COLUMN calibration_value.page_bytes IS 'Size of the pages that memory was mapped in; NULL: does not matter';
COMMENT ON COLUMN calibration_value.working_set_bytes IS 'Memory that the loads went over; NULL: no loads';
COMMENT ON COLUMN calibration_value.busy_cpus IS 'Other CPUs that were busy; NULL: not counted';
