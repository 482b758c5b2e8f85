"""From a finished run to rows: metrics, orders, timelines, splits, the direct map at start and end, incidents."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ptpool.vocabulary import SLOW_PATH_STEPS, SPLIT_CAUSES
from replay.demand.program import RECLAIMED
from replay.kernel import direct_map as maps
from replay.machine.machine import Machine
from replay.machine.metrics import metrics_of, with_fast_paths
from replay.machine.tally import EVENTS, LOST_FREES, POOLED, SAMPLED, UNKNOWN_FREES


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
    values, bound = metrics_of(machine), machine.state.strategy.bound
    tables = {"run_metric": pa.table({"metric": list(values), "value": pa.array(list(values.values()), pa.float64())})}
    if not bound:
        tables["run_order"] = _orders(machine)
    if not metrics_only:
        tables["incident"] = _rows(machine.state.incidents, _INCIDENT)
    if not metrics_only and not bound:
        latencies = sorted(with_fast_paths(machine).counts.items())
        tables |= {
            "timeline": _timeline(machine),
            "split": _splits(machine),
            "direct_map": _direct_map(machine),
            "latency": _rows([(*key, count) for key, count in latencies], _LATENCY),
        }
    return RunResult(tables, _assumptions(machine), int(machine.state.tally.counts[EVENTS]))


_INCIDENT = pa.schema([("t_ns", pa.int64()), ("kind", pa.string()), ("page_order", pa.int8()), ("detail", pa.string())])
_LATENCY = pa.schema([("operation", pa.string()), ("bucket_ns", pa.int64()), ("count", pa.int64())])


def _rows(rows: Iterable[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def _orders(machine: Machine) -> pa.Table:
    state, used = machine.state, np.flatnonzero(machine.state.tally.attempts)
    columns = {
        "page_order": used.astype(np.int8),
        "attempts": state.tally.attempts[used],
        "failures": state.failures[used],
        "refill_attempts": state.refill_attempts[used, 0],
        "refill_failures": state.refill_attempts[used, 1],
    }
    return pa.table(
        columns | dict(zip(SLOW_PATH_STEPS, state.flags[used].T, strict=True)) | {"kswapd": state.kswapd_wakes()[used]}
    )


def _timeline(machine: Machine) -> pa.Table:
    """Samples as rows. Of a value that does not change for a while the first and the last sample are kept."""
    edges, samples = machine.state.tally.edges, machine.state.tally.samples
    parts = []
    for name, series in zip(SAMPLED, samples.T, strict=True):
        if machine.state.tally.fast[POOLED] or name not in ("pool_held", "pool_idle", "reserve_low"):
            keep = _corners(series)
            parts.append(pa.table({"t_ns": edges[keep], "metric": [name] * len(keep), "value": series[keep]}))
    return pa.concat_tables(parts)


def _corners(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the values that differ from a neighbour, and both ends."""
    differs = np.diff(values) != 0
    keep = np.ones(len(values), np.bool_)
    keep[1:-1] = differs[1:] | differs[:-1]
    return np.flatnonzero(keep)


def _splits(machine: Machine) -> pa.Table:
    log, name = maps.logged(machine.state.direct_map), machine.state.start.geometry.leaf_name
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
    moments = {"start": machine.baseline.leaf_runs, "end": maps.leaf_runs(machine.state.direct_map)}
    name = machine.state.start.geometry.leaf_name
    return pa.concat_tables(
        pa.table(
            {
                "moment": pa.array([moment] * len(runs), pa.string()),
                "first_pfn": runs[:, 0],
                "last_pfn": runs[:, 1],
                "leaf": pa.array([name(level) for level in runs[:, 2].tolist()], pa.string()),
                "keyed": pa.array(runs[:, 3].astype(np.bool_)),
            }
        )
        for moment, runs in moments.items()
    )


def _assumptions(machine: Machine) -> list[str]:
    """Everything that was assumed, left out or added, in sentences."""
    state, demand, count = machine.state, machine.state.demand, machine.state.tally.counts
    counted = (
        (count[UNKNOWN_FREES], "Left out: {} frees of pages that nothing had allocated in the simulated machine."),
        (count[LOST_FREES], "Added: {} frees, not recorded, of pages in use that the recording allocates."),
        (state.changes_left_out, "Left out: {} permission changes by others of pages absent here or in use as tables."),
        (state.boot_memory.pages, "Taken at boot: {} pages, before anything else was in use."),
        (state.boot_memory.moved, "Moved: {} pages in use that the start shows where that memory lies."),
        (machine.baseline.not_supplied, "Left out: {} page tables alive at the start that could not be supplied."),
    )
    return [
        *state.start.assumptions,
        *state.reclaim.assumptions(int((demand.program.op == RECLAIMED).sum())),
        *(f"Left out: {many:,} {what}." for what, many in demand.dropped.items()),
        *(what.format(f"{many:,}") for what, many in demand.changed.items()),
        *demand.notes,
        *(what.format(f"{int(many):,}") for many, what in counted if many),
    ]
