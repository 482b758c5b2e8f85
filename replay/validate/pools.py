"""Strategies held against a kernel that ran them: the runs of the lab, replayed from three kinds of start.

exact: from the kernel's own free lists. ordinary: from what any recording of that very run tells. blind: from a
recording of another run, with the same workload and no pool, which is what a user has.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from ptpool.errors import UsageError
from ptpool.run_settings import RunSettings
from ptpool.warehouse import capture_row, open_warehouse, transaction
from replay.contract.registry import configure, find, strategies
from replay.demand.demand import Demand
from replay.machine.results import RunResult
from replay.profiles.costs import built_in
from replay.runs.one_run import replay_one
from replay.runs.run import Run
from replay.runs.scene import Scenes
from replay.start.free_list_order import WORN
from replay.start.recorded_machine import InitialState
from replay.validate.pool_run import PoolRun, Quantity

EXACT, ORDINARY, BLIND = "exact", "ordinary", "blind"
RECLAIM = "moderate"

Values = Mapping[Quantity, float]


class PoolComparison(NamedTuple):
    """A quantity of a run: as the kernel counted it, and as replayed."""

    run: str
    strategy: str
    start: str
    """EXACT, ORDINARY or BLIND."""
    quantity: str
    page_order: int | None
    recorded: float
    """As this run of the kernel counted it."""
    recorded_low: float
    recorded_high: float
    """Range over the kernel's runs that it is held against: blind, all of this strategy and workload."""
    predicted: float
    """With seed 0."""
    predicted_low: float
    predicted_high: float
    allowed_error: float | None

    @property
    def model_error(self) -> float:
        """How far the prediction lies outside what the kernel's runs span."""
        return max(self.recorded_low - self.predicted, self.predicted - self.recorded_high, 0.0)


def compare_runs(runs: list[PoolRun], seeds: int) -> Iterator[list[PoolComparison]]:
    """Replay each run, and those without a pool also through the strategies of the others with the same workload.

    A run without its trace only shows how far the kernel's own runs differ. The others are imported by `ptpool ingest
    trace` into a warehouse that is deleted again.

    Raises:
        UsageError: a run cannot be imported.
    """
    whole = [run for run in runs if run.has_trace]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pools.duckdb"
        _import(whole, path)
        with open_warehouse(path) as connection:
            for run in whole:
                alike = [other for other in runs if other.cell == run.cell and other.strategy != run.strategy]
                others = alike if run.strategy == "unprotected" else []
                yield compare_with(connection, capture_row(connection, run.name), run, others, seeds)


def _import(runs: list[PoolRun], path: Path) -> None:
    """Import runs, as a command of its own: this stage does not know the other."""
    folders = [str(run.folder) for run in runs]
    command = [sys.executable, "-m", "ptpool", "ingest", "trace", *folders, "--db", str(path), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(done.stderr.strip().removeprefix("ptpool: "), "see make record-pools")


def compare_with(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    recorded: PoolRun,
    others: Iterable[PoolRun],
    seeds: int,
) -> list[PoolComparison]:
    """Replay the capture of a run through its own strategy and, where it had no pool, through those of others.

    Args:
        connection: the warehouse of the capture.
        capture: its row of table capture.
        recorded: the run that was recorded.
        others: runs of other strategies with the same workload; several of one strategy are its spread.
        seeds: replays from starts that have to be drawn; 0: from exact lists only.
    """
    scenes, entry = Scenes(connection, 1), strategies()["unprotected"]
    settings = [RunSettings(), *(RunSettings(free_list_order=WORN, seed=seed) for seed in range(seeds))]
    as_recorded, *to_draw = (Run(capture, entry, entry.factory(), each) for each in settings)
    demand, machine = scenes.recorded(as_recorded)
    found = []
    if machine.exact:
        found += _compared(EXACT, [recorded], [_replayed(recorded, demand, machine.state)])
    starts = [scenes.of([run])[1] for run in to_draw]
    if not starts:
        return found
    found += _compared(ORDINARY, [recorded], [_replayed(recorded, demand, start) for start in starts])
    of_strategy: dict[tuple[str, ...], list[PoolRun]] = {}
    for run in others:
        of_strategy.setdefault((run.strategy, *map("=".join, sorted(run.parameters.items()))), []).append(run)
    for runs in of_strategy.values():
        found += _compared(BLIND, runs, [_replayed(runs[0], demand, start) for start in starts])
    return found


def _replayed(run: PoolRun, demand: Demand, start: InitialState) -> Values:
    """What a run's strategy does from this start on, where a refill takes as long as it took in that guest.

    The kernel reclaims and compacts, so the replay does (moderately: replay/profiles/reclaim.toml).
    """
    (entry,) = find([run.strategy])
    known = entry.factory.__dataclass_fields__
    as_recorded = {name: value for name, value in run.parameters.items() if name in known}
    strategy = configure(entry, _AS_IN_THE_MODULE.get(run.strategy, {}) | as_recorded)
    costs = built_in().of(start.arch)
    if run.refill_ns is not None:
        costs = replace(costs, refill_ns=run.refill_ns)
    return _quantities(replay_one(replace(start, switched_on=True), demand, strategy, RECLAIM, costs))


_AS_IN_THE_MODULE = {"pte-cache": {"toggles": "false"}, "unmapped-alloc": {"page_by_page": "false", "secrets": "false"}}
"""Parameters of variants that the lab's module has, where they differ from the posting's rules."""

_METRICS = (
    "splits_2m", "splits_1g", "split_starvations", "pool_pages_peak", "reserve_pages_min", "shrunk_pages",
    "ptp_nulls", "oom_kills",
)  # fmt: skip


def _quantities(result: RunResult) -> Values:
    """The quantities of `PoolRun.counted`, of a replay."""
    metrics = {row["metric"]: row["value"] for row in result.tables["run_metric"].to_pylist()}
    found: dict[Quantity, float] = {(name, None): metrics[name] or 0.0 for name in _METRICS}
    found["deadlocks", None] = min(metrics["deadlocks"] or 0.0, 1.0)
    for row in result.tables["run_order"].to_pylist():
        if row["refill_attempts"]:
            found["refills_tried", row["page_order"]] = float(row["refill_attempts"])
            found["refills_got", row["page_order"]] = float(row["refill_attempts"] - row["refill_failures"])
    splits = result.tables["split"].to_pylist()
    found["splits_by_others", None] = float(sum(s["action"] == "split" and s["cause"] == "outside" for s in splits))
    return found


def _compared(start: str, runs: list[PoolRun], predicted: list[Values]) -> list[PoolComparison]:
    """Every quantity that the kernel or the replay has."""
    quantities = dict.fromkeys(key for values in (*(run.counted for run in runs), *predicted) for key in values)
    rows = []
    for key in quantities:
        kernel = [run.counted.get(key, 0.0) for run in runs]
        model = [values.get(key, 0.0) for values in predicted]
        if (any(kernel) or any(model)) and key[0] not in _NOT_KEPT.get(runs[0].strategy, ()):
            allowed = _allowed(start, runs[0], key[0], max(kernel))
            spans = (kernel[0], min(kernel), max(kernel), model[0], min(model), max(model))
            rows.append(PoolComparison(runs[0].name, runs[0].strategy, start, *key, *spans, allowed))
    return rows


_NOT_KEPT = {
    "unprotected": ("split_starvations",),
    "pte-mapped": ("split_starvations", "refills_tried", "refills_got"),
    "ctor-naive": ("split_starvations", "refills_tried", "refills_got", "splits_2m", "splits_by_others"),
    "pte-cache": ("split_starvations",),
    "unmapped-alloc": ("split_starvations",),
}
"""Quantities that mean nothing: a split takes an ordinary table by rule, a key for each table is no refill, and what
`ctor-naive` does once it would have deadlocked is the guard's of the module, or ours."""


def _allowed(start: str, run: PoolRun, quantity: str, kernel: float) -> float | None:
    """The largest error at which a prediction holds; None: nothing is promised."""
    refilled = (order for (name, order), got in run.counted.items() if name == "refills_got" and got and order)
    if quantity.startswith("refills_") and start in _REFILLS:
        return max(_REFILLS[start] * kernel, 1)
    if quantity.startswith("splits_") and start in _SPLITS:
        return max(_SPLITS[start] * kernel, 3)
    if quantity in ("pool_pages_peak", "shrunk_pages") and start != ORDINARY:
        return 1 << max(refilled, default=0)
    return 0.0 if start == EXACT else None


_REFILLS, _SPLITS = {EXACT: 0.02, BLIND: 0.03}, {EXACT: 0.10, BLIND: 0.20}
"""Share of what the kernel counted by which a prediction may be off, or by 1 and 3."""


def keep(connection: duckdb.DuckDBPyConnection, comparisons: list[PoolComparison]) -> None:
    """Write comparisons into table validation, replacing those of the same runs."""
    with transaction(connection):
        for run in {item.run for item in comparisons}:
            connection.execute("DELETE FROM validation WHERE capture_id = ? AND strategy IS NOT NULL", [run])
        connection.executemany(
            """INSERT INTO validation (capture_id, strategy, start, quantity, page_order, recorded_after, recorded_low,
                   recorded_high, predicted, predicted_low, predicted_high, allowed_error, model_error)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            [(*item, item.model_error) for item in comparisons],
        )
