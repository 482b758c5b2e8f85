"""The metrics of a finished run: rows of table run_metric. What each means is in ptpool/schema/metrics.csv."""

import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import SPLIT_CAUSES, UNMOVABLE
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import EXTFRAG, HOLE
from replay.machine import pool as pools
from replay.machine import tally as accounts
from replay.machine.latency import Latencies
from replay.machine.machine import Machine

Metrics = dict[str, float | None]
"""Values by metric; None: not applicable on this machine or to this strategy."""

_KEPT_OF_BOUNDS = (
    "ptp_allocs", "ptp_frees", "ptp_live_start", "ptp_live_peak", "ptp_atomic", "ptp_nulls", "split_starvations",
    "deadlocks",
)  # fmt: skip


def metrics_of(machine: Machine) -> Metrics:
    """Every metric of a machine whose replay has ended."""
    state = machine.state
    splits = _splits(machine)
    values = _demand(machine) | _direct_map(machine, splits) | _pool(machine) | _failures(machine)
    values |= _costs(machine, len(splits))
    if state.strategy.bound:
        values = dict.fromkeys(values) | {name: values[name] for name in _KEPT_OF_BOUNDS} | _bounds(machine)
    return {name: None if value is None else float(value) for name, value in values.items()}


def with_fast_paths(machine: Machine) -> Latencies:
    """Latencies of decisions, and of the page tables that were served without one."""
    state, costs, fast = machine.state, machine.state.costs, machine.state.strategy.fast_path()
    latencies = Latencies()
    latencies.counts.update(state.latencies.counts)
    decided = sum(count for (operation, _), count in state.latencies.counts.items() if operation == "ptp_alloc")
    ns = costs.hit_ns if fast.pooled else costs.alloc_ns
    if fast.key_each and not fast.toggles:
        ns += costs.conversion_ns(1, 0, 1, 0, state.start.cpus)
    served = int(state.tally.counts[accounts.PTP_ALLOCS]) + sum(
        state.incident_counts.get(kind, 0) for kind in ("ptp_null", "ptp_refused")
    )
    latencies.add("ptp_alloc", ns, served - decided)
    latencies.add("outside", 0, int(state.tally.counts[accounts.OUTSIDE_AT_ONCE]))
    return latencies


def _duration(machine: Machine) -> int:
    demand = machine.state.demand
    return max(demand.last_ns + 1 - demand.first_ns, 1)


def _all_4k(machine: Machine) -> bool:
    return machine.state.strategy.boot_map_4k or bool((machine.state.start.level == maps.PTE).all())


def _demand(machine: Machine) -> Metrics:
    count, allocator = machine.state.tally.counts, machine.state.allocator
    huge = allocator.pageblock_order
    free = [int(allocator.nr_free[:, order].sum()) << order - huge for order in range(huge, allocator.max_order + 1)]
    first = np.minimum(np.arange(len(allocator.block_type)) << huge, len(allocator.kind) - 1)
    populated = allocator.kind[first] != HOLE
    return {
        "ptp_allocs": count[accounts.PTP_ALLOCS],
        "ptp_frees": count[accounts.PTP_FREES],
        "ptp_live_start": machine.baseline.page_tables if machine.state.start.page_tables_known else None,
        "ptp_live_peak": count[accounts.PTP_PEAK],
        "blocks_touched": machine.state.tally.touched.sum(),
        "extfrag_events": allocator.counts[EXTFRAG],
        "unmovable_pageblocks_end": ((allocator.block_type == UNMOVABLE) & populated).sum(),
        "huge_blocks_free_end": sum(free),
        "unplaced_allocations": count[accounts.UNPLACED],
    }


def _splits(machine: Machine) -> NDArray[np.int64]:
    """Levels of the leaves that were split after the warm-up."""
    log = maps.logged(machine.state.direct_map)
    levels: NDArray[np.int64] = log[(log[:, 4] == maps.SPLIT) & (log[:, 3] != SPLIT_CAUSES.index("warm_up")), 2]
    return levels


def _direct_map(machine: Machine, splits: NDArray[np.int64]) -> Metrics:
    d, count = machine.state.direct_map, machine.state.tally.counts
    mapped, action = float(d.in_piece.sum()), maps.logged(d)[:, 4]
    values: Metrics = {
        "splits_1g": (splits == maps.PUD).sum(),
        "splits_2m": (splits == maps.PMD).sum(),
        "splits_warm_up": (action == maps.SPLIT).sum() - len(splits),
        "collapses": (action == maps.COLLAPSE).sum(),
        "unkeyed_split_tables": machine.state.unkeyed_split_tables,
    }
    return (dict.fromkeys(values) if _all_4k(machine) else values) | {
        "leaf_rewrites": d.counts[maps.REWRITES],
        "contiguous_hints_cleared": d.counts[maps.HINTS] if d.arm64 else None,
        "pte_share_start": machine.baseline.pte_pages / mapped,
        "pte_share_end": d.counts[maps.PAGES + maps.PTE] / mapped,
        "pte_share_mean": round(machine.state.tally.integral[accounts.PTE_TIME] / _duration(machine) / mapped, 12),
        "pte_share_kernel_end": _kernel_memory(machine),
        "pte_share_activity": count[accounts.ALLOCS_PTE] / max(count[accounts.ALLOCS], 1),
        "table_pages_direct_map": d.counts[maps.TABLES],
    }


def _kernel_memory(machine: Machine) -> float:
    """Share of allocated memory that is not movable (the kernel's own) mapped at 4K after the last event."""
    kernel, in_pages = accounts.count_kernel_memory(machine.state.allocator.kind, machine.state.direct_map)
    return float(in_pages) / max(float(kernel), 1.0)


def _pool(machine: Machine) -> Metrics:
    state, pool, tally = machine.state, machine.state.pool, machine.state.tally
    reserve = tally.samples[: tally.counts[accounts.SAMPLE], accounts.SAMPLED.index("reserve_low")]
    values: Metrics = {
        "pool_blocks_end": ((pool.idle + pool.used) > 0).sum(),
        "refills": state.refills,
        "pool_pages_peak": pool.counts[pools.HELD_PEAK],
        "pool_idle_pages_mean": tally.integral[accounts.IDLE_TIME] / _duration(machine),
        "stranded_pages_mean": tally.integral[accounts.STRANDED_TIME] / _duration(machine),
        "pool_lock_acquisitions": pool.counts[pools.LOCKED],
        "reserve_pages_min": min(reserve.min(initial=np.inf), pool.counts[pools.LOW]),
        "shrunk_pages": state.shrunk,
        "pool_pages_walked": state.walked,
        "pool_lock_held_max_ns": state.list_held_ns,
        "isolated_movable_pages": state.isolated_movable,
        "oom_kills_by_refill": state.kills_by_refill,
    }
    return values if tally.fast[accounts.POOLED] else dict.fromkeys(values)


def _failures(machine: Machine) -> Metrics:
    state = machine.state
    kinds = ("ptp_null", "split_starvation", "deadlock", "warn", "oom_kill")
    return (
        {
            "ptp_atomic": state.tally.counts[accounts.PTP_ATOMIC],
            "ptp_refused_context": state.incident_counts.get("ptp_refused", 0),
        }
        | {f"{kind}s": state.incident_counts.get(kind, 0) for kind in kinds}
        | {
            "ptp_unkeyed": state.tally.counts[accounts.PTP_UNKEYED],
            "unkeyed_page_seconds": state.tally.integral[accounts.UNKEYED_TIME] / 1e9,
            "unkeyed_incidents": state.incident_counts.get("unkeyed_table", 0),
            "stalls": state.stalls,
        }
    )


def _costs(machine: Machine, splits: int) -> Metrics:
    state, costs, latencies = machine.state, machine.state.costs, with_fast_paths(machine)
    count = state.tally.counts
    changes, flushes, full = (int(count[p]) for p in (accounts.CHANGES, accounts.FLUSHES, accounts.FULL_FLUSHES))
    interrupts = flushes * (state.start.cpus - 1) if costs.ipis else None
    values: Metrics = {
        "permission_changes": changes,
        "pages_permission_changed": state.tally.counts[accounts.PAGES_CHANGED],
        "conversion_ns": costs.conversion_ns(changes, splits, flushes, full, state.start.cpus),
    }
    if (fast := state.strategy.fast_path()).toggles:  # a change of another kind, at another price
        toggling = int(count[accounts.PTP_ALLOCS]) * fast.pte_writes * costs.toggle_ns
        known = None if not fast.pte_writes else float(values["conversion_ns"] or 0) + toggling
        values = {"permission_changes": None, "pages_permission_changed": None, "conversion_ns": known}
    return values | {
        "tlb_flushes": flushes,
        "tlb_full_flushes": full,
        "tlb_ipis": interrupts,
        "receiver_ns": None if interrupts is None else interrupts * costs.receiver_ns,
        "lock_wait_ns": machine.schedule.lock_wait_ns + int(count[accounts.LIST_WAIT]),
        "decisions_at_once": max(machine.schedule.most_at_once, min(int(count[accounts.OUTSIDE_AT_ONCE]), 1)),
        "ptp_alloc_p50_ns": latencies.quantile("ptp_alloc", 0.5),
        "ptp_alloc_p99_ns": latencies.quantile("ptp_alloc", 0.99),
        "ptp_alloc_p999_ns": latencies.quantile("ptp_alloc", 0.999),
    }


def _bounds(machine: Machine) -> Metrics:
    """The least memory and splits that can serve the demand."""
    tally, start, size = machine.state.tally, machine.state.start, 1 << machine.state.allocator.pageblock_order
    blocks = -(-int(tally.counts[accounts.PTP_PEAK]) // size)
    all_4k, has_pud = _all_4k(machine), bool((start.level == maps.PUD).any())
    block_time, live_time = (float(tally.integral[i]) for i in (accounts.BLOCK_TIME, accounts.LIVE_TIME))
    return {
        "splits_1g": None if all_4k else -(-blocks * size // start.geometry.pud_pages) if has_pud else 0,
        "splits_2m": None if all_4k else 0,
        "blocks_touched": blocks,
        "pool_pages_peak": blocks * size,
        "pool_idle_pages_mean": block_time / _duration(machine) * size - live_time / _duration(machine),
        "permission_changes": blocks,
        "pages_permission_changed": blocks * size,
        "ptp_unkeyed": 0,
        "unkeyed_page_seconds": 0,
    }
