"""From a finished run to rows: metrics, orders, timelines, splits, the direct map at start and end, incidents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ptpool.vocabulary import MOVABLE, SLOW_PATH_STEPS, SPLIT_CAUSES, UNMOVABLE
from replay.demand.program import RECLAIMED
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import EXTFRAG, HOLE, USED
from replay.machine import pool as pools
from replay.machine.latency import Latencies
from replay.machine.machine import Machine
from replay.machine.tally import (
    ALLOCS,
    ALLOCS_PTE,
    BLOCK_TIME,
    CHANGES,
    EVENTS,
    FLUSHES,
    IDLE_TIME,
    LIVE_TIME,
    LOST_FREES,
    PAGES_CHANGED,
    POOLED,
    PTE_TIME,
    PTP_ALLOCS,
    PTP_FREES,
    PTP_PEAK,
    SAMPLE,
    SAMPLED,
    STRANDED_TIME,
    UNKEYED_TIME,
    UNKNOWN_FREES,
    UNPLACED,
)

_NS = 1e9


@dataclass(frozen=True)
class RunResult:
    """Tables of one run, without its run_id, ready for the warehouse; and how many events it replayed."""

    tables: dict[str, pa.Table]
    assumptions: list[str]
    events: int


def result_of(machine: Machine, *, metrics_only: bool = False) -> RunResult:
    """Read everything off a machine whose replay has ended; of a bound there are metrics only.

    Args:
        machine: whose replay has ended.
        metrics_only: metrics and orders, without what takes space and time: timelines, splits, the direct map.
    """
    tables = {"run_metric": _metrics(machine)}
    if not machine.state.strategy.bound:
        tables["run_order"] = _orders(machine)
    if not metrics_only:
        tables["incident"] = _incidents(machine)
    if not metrics_only and not machine.state.strategy.bound:
        tables |= {
            "timeline": _timeline(machine),
            "split": _splits(machine),
            "direct_map": _direct_map(machine),
            "latency": _latencies(machine),
        }
    return RunResult(
        tables=tables,
        assumptions=_assumptions(machine),
        events=int(machine.state.tally.counts[EVENTS]),
    )


def _metrics(machine: Machine) -> pa.Table:
    count, integral = machine.state.tally.counts, machine.state.tally.integral
    d, pool, allocator = machine.state.direct_map, machine.state.pool, machine.state.allocator
    duration = max(machine.state.demand.last_ns + 1 - machine.state.demand.first_ns, 1)
    log = maps.logged(d)
    collapses = int((log[:, 4] == maps.COLLAPSE).sum())
    log = log[log[:, 4] == maps.SPLIT]
    at_run_time = log[log[:, 3] != SPLIT_CAUSES.index("warm_up")]
    mapped = float(d.mapped.sum())
    pooled = bool(machine.state.tally.fast[POOLED])
    all_4k = bool((machine.state.start.level == maps.PTE).all()) or machine.state.strategy.boot_map_4k
    kernel = _kernel_memory(machine)
    costs, latencies = machine.state.costs, _with_fast_paths(machine)
    flushes = int(count[FLUSHES])
    huge = allocator.pageblock_order
    blocks_free = sum(
        int(allocator.nr_free[:, order].sum()) << order - huge for order in range(huge, allocator.max_order + 1)
    )
    first_blocks = np.arange(len(allocator.block_type)) << huge
    populated = allocator.kind[np.minimum(first_blocks, len(allocator.kind) - 1)] != HOLE
    values: dict[str, float | None] = {
        "ptp_allocs": count[PTP_ALLOCS],
        "ptp_frees": count[PTP_FREES],
        "ptp_live_start": machine.baseline.page_tables if machine.state.start.page_tables_known else None,
        "ptp_live_peak": count[PTP_PEAK],
        "splits_1g": None if all_4k else (at_run_time[:, 2] == maps.PUD).sum(),
        "splits_2m": None if all_4k else (at_run_time[:, 2] == maps.PMD).sum(),
        "splits_warm_up": None if all_4k else len(log) - len(at_run_time),
        "collapses": None if all_4k else collapses,
        "leaf_rewrites": d.counts[maps.REWRITES],
        "contiguous_hints_cleared": d.counts[maps.HINTS] if d.arm64 else None,
        "pte_share_start": machine.baseline.pte_pages / mapped,
        "pte_share_end": d.counts[maps.PAGES + maps.PTE] / mapped,
        "pte_share_mean": round(integral[PTE_TIME] / duration / mapped, 12),
        "pte_share_kernel_end": kernel,
        "pte_share_activity": count[ALLOCS_PTE] / max(count[ALLOCS], 1),
        "blocks_touched": machine.state.tally.touched.sum(),
        "pool_blocks_end": ((pool.idle + pool.used) > 0).sum() if pooled else None,
        "refills": machine.state.refills if pooled else None,
        "pool_pages_peak": pool.counts[pools.HELD_PEAK] if pooled else None,
        "pool_idle_pages_mean": integral[IDLE_TIME] / duration if pooled else None,
        "stranded_pages_mean": integral[STRANDED_TIME] / duration if pooled else None,
        "pool_lock_acquisitions": pool.counts[pools.LOCKED] if pooled else None,
        "reserve_pages_min": _reserve_min(machine) if pooled else None,
        "table_pages_direct_map": d.counts[maps.TABLES],
        "ptp_nulls": machine.state.incident_counts.get("ptp_null", 0),
        "split_starvations": machine.state.incident_counts.get("split_starvation", 0),
        "deadlocks": machine.state.incident_counts.get("deadlock", 0),
        "unkeyed_page_seconds": integral[UNKEYED_TIME] / _NS,
        "unkeyed_split_tables": None if all_4k else machine.state.unkeyed_split_tables,
        "stalls": machine.state.stalls,
        "oom_kills": machine.state.incident_counts.get("oom_kill", 0),
        "permission_changes": count[CHANGES],
        "pages_permission_changed": count[PAGES_CHANGED],
        "tlb_flushes": flushes,
        "tlb_ipis": flushes * (machine.state.start.cpus - 1) if costs.ipis else None,
        "conversion_ns": costs.conversion_ns(int(count[CHANGES]), len(at_run_time), flushes, machine.state.start.cpus),
        "lock_wait_ns": machine.schedule.lock_wait_ns,
        "decisions_at_once": machine.schedule.most_at_once,
        "ptp_alloc_p50_ns": latencies.quantile("ptp_alloc", 0.5),
        "ptp_alloc_p99_ns": latencies.quantile("ptp_alloc", 0.99),
        "ptp_alloc_p999_ns": latencies.quantile("ptp_alloc", 0.999),
        "shrunk_pages": machine.state.shrunk if pooled else None,
        "extfrag_events": allocator.counts[EXTFRAG],
        "unmovable_pageblocks_end": ((allocator.block_type == UNMOVABLE) & populated).sum(),
        "huge_blocks_free_end": blocks_free,
        "unplaced_allocations": count[UNPLACED],
    }
    if machine.state.strategy.bound:
        values = _bounds(machine, values, all_4k=all_4k)
    return pa.table(
        {
            "metric": list(values),
            "value": pa.array([None if v is None else float(v) for v in values.values()], pa.float64()),
        }
    )


def _bounds(machine: Machine, values: dict[str, float | None], *, all_4k: bool) -> dict[str, float | None]:
    """What is left of the metrics for a bound: demand, and the least memory and splits that can serve it."""
    duration = max(machine.state.demand.last_ns + 1 - machine.state.demand.first_ns, 1)
    size = 1 << machine.state.allocator.pageblock_order
    blocks = -(-int(machine.state.tally.counts[PTP_PEAK]) // size)
    has_pud = bool((machine.state.start.level == maps.PUD).any())
    live_mean = float(machine.state.tally.integral[LIVE_TIME]) / duration
    kept = ("ptp_allocs", "ptp_frees", "ptp_live_start", "ptp_live_peak", "ptp_nulls", "split_starvations", "deadlocks")
    bounds: dict[str, float | None] = dict.fromkeys(values)
    bounds |= {name: values[name] for name in kept}
    return bounds | {
        "splits_1g": None if all_4k else -(-blocks * size // machine.state.start.geometry.pud_pages) if has_pud else 0,
        "splits_2m": None if all_4k else 0,
        "blocks_touched": blocks,
        "pool_pages_peak": blocks * size,
        "pool_idle_pages_mean": machine.state.tally.integral[BLOCK_TIME] / duration * size - live_mean,
        "permission_changes": blocks,
        "pages_permission_changed": blocks * size,
        "unkeyed_page_seconds": 0,
    }


def _reserve_min(machine: Machine) -> float:
    sampled = machine.state.tally.samples[: machine.state.tally.counts[SAMPLE], SAMPLED.index("reserve_low")]
    return float(min(sampled.min(initial=np.inf), machine.state.pool.counts[pools.LOW]))


def _kernel_memory(machine: Machine) -> float:
    """Share of allocated memory that is not movable (the kernel's own) mapped at 4K after the last event."""
    kind = machine.state.allocator.kind
    kernel = (kind >= USED) & (kind != USED + MOVABLE)
    kernel[: len(machine.state.direct_map.mapped)] &= machine.state.direct_map.mapped
    level = np.repeat(machine.state.direct_map.level, 1 << machine.state.direct_map.table_shift)[: len(kind)]
    return float((kernel & (level == maps.PTE)).sum()) / max(float(kernel.sum()), 1.0)


def _orders(machine: Machine) -> pa.Table:
    attempts = machine.state.tally.attempts
    used = np.flatnonzero(attempts)
    columns: dict[str, Any] = {
        "page_order": used.astype(np.int8),
        "attempts": attempts[used],
        "failures": machine.state.failures[used],
        "refill_attempts": machine.state.refill_attempts[used, 0],
        "refill_failures": machine.state.refill_attempts[used, 1],
    }
    for place, flag in enumerate(SLOW_PATH_STEPS):
        columns[flag] = machine.state.kswapd_wakes()[used] if flag == "kswapd" else machine.state.flags[used, place]
    return pa.table(columns)


def _timeline(machine: Machine) -> pa.Table:
    """Samples as rows; a series that never moves keeps its two ends, and unchanged stretches their edges."""
    edges, samples = machine.state.tally.edges, machine.state.tally.samples
    pooled = bool(machine.state.tally.fast[POOLED])
    parts = []
    for column, name in enumerate(SAMPLED):
        if name in ("pool_held", "pool_idle", "reserve_low") and not pooled:
            continue
        keep = _corners(samples[:, column])
        parts.append(
            pa.table({"t_ns": edges[keep], "metric": pa.array([name] * len(keep)), "value": samples[keep, column]})
        )
    return pa.concat_tables(parts)


def _corners(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the values that differ from a neighbour, and both ends."""
    differs = np.diff(values) != 0
    keep = np.ones(len(values), np.bool_)
    keep[1:-1] = differs[1:] | differs[:-1]
    return np.flatnonzero(keep)


def _splits(machine: Machine) -> pa.Table:
    d, name = machine.state.direct_map, machine.state.start.geometry.leaf_name
    log = maps.logged(d)
    return pa.table(
        {
            "t_ns": log[:, 0],
            "pfn": log[:, 1],
            "leaf": pa.array([name(int(level)) for level in log[:, 2]], pa.string()),
            "action": pa.array([("split", "collapse")[int(action)] for action in log[:, 4]], pa.string()),
            "cause": pa.array([SPLIT_CAUSES[int(cause)] for cause in log[:, 3]], pa.string()),
        }
    )


def _direct_map(machine: Machine) -> pa.Table:
    moments = {"start": machine.baseline.direct_map, "end": machine.state.direct_map}
    return pa.concat_tables([_runs(machine, d, moment) for moment, d in moments.items()])


def _runs(machine: Machine, d: maps.DirectMap, moment: str) -> pa.Table:
    """Runs of mapped pages with equal leaf size and key."""
    per_page = np.repeat(d.level, 1 << d.table_shift)[: len(d.mapped)]
    code = np.where(d.mapped, per_page * 2 + maps.keyed(d), 0)
    first = np.flatnonzero(np.diff(code, prepend=-1))
    last = np.append(first[1:], len(code)) - 1
    first, last = first[code[first] > 0], last[code[first] > 0]
    name = machine.state.start.geometry.leaf_name
    return pa.table(
        {
            "moment": pa.array([moment] * len(first), pa.string()),
            "first_pfn": first,
            "last_pfn": last,
            "leaf": pa.array([name(int(value)) for value in code[first] // 2], pa.string()),
            "keyed": pa.array((code[first] % 2).astype(np.bool_)),
        }
    )


def _with_fast_paths(machine: Machine) -> Latencies:
    """Latencies of decisions, and of the page tables that were served without one."""
    latencies, costs = Latencies(), machine.state.costs
    latencies.counts.update(machine.state.latencies.counts)
    slow = sum(count for (operation, _), count in machine.state.latencies.counts.items() if operation == "ptp_alloc")
    fast = machine.state.strategy.fast_path()
    ns = costs.hit_ns if fast.pooled else costs.alloc_ns
    if fast.key_each:
        ns += costs.conversion_ns(1, 0, 1, machine.state.start.cpus)
    served = int(machine.state.tally.counts[PTP_ALLOCS]) + machine.state.incident_counts.get("ptp_null", 0)
    latencies.add("ptp_alloc", ns, served - slow)
    return latencies


def _latencies(machine: Machine) -> pa.Table:
    rows = sorted(_with_fast_paths(machine).counts.items())
    return pa.table(
        {
            "operation": pa.array([operation for (operation, _), _ in rows], pa.string()),
            "bucket_ns": pa.array([ns for (_, ns), _ in rows], pa.int64()),
            "count": pa.array([count for _, count in rows], pa.int64()),
        }
    )


def _incidents(machine: Machine) -> pa.Table:
    times, kinds, orders, details = ([row[i] for row in machine.state.incidents] for i in range(4))
    return pa.table(
        {
            "t_ns": pa.array(times, pa.int64()),
            "kind": pa.array(kinds, pa.string()),
            "page_order": pa.array(orders, pa.int8()),
            "detail": pa.array(details, pa.string()),
        }
    )


def _assumptions(machine: Machine) -> list[str]:
    count = machine.state.tally.counts
    dropped = [f"Left out: {n:,} {what}." for what, n in machine.state.demand.dropped.items()]
    dropped += [what.format(f"{n:,}") for what, n in machine.state.demand.changed.items()]
    dropped += machine.state.demand.notes
    if n := int(count[UNKNOWN_FREES]):
        dropped.append(f"Left out: {n:,} frees of pages that nothing had allocated in the simulated machine.")
    if n := int(count[LOST_FREES]):
        dropped.append(f"Added: {n:,} frees of pages in use that the recording allocates: their free was not recorded.")
    if n := machine.state.changes_left_out:
        dropped.append(
            f"Left out: {n:,} permission changes by others of pages that this machine lacks or uses as page tables."
        )
    if n := machine.baseline.not_supplied:
        dropped.append(f"Left out: {n:,} pages of page tables alive at the start that the strategy could not supply.")
    return (
        machine.state.start.assumptions
        + machine.state.reclaim.assumptions(int((machine.state.demand.program.op == RECLAIMED).sum()))
        + dropped
    )
