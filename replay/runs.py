"""Which runs are wanted, which of them are there already, and the making of the rest."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ptpool.provenance import code_version, identity
from ptpool.vocabulary import CONSUMERS
from ptpool.warehouse import delete_run, metrics, transaction
from replay.copies import scaled
from replay.costs import BUILT_IN, CostProfile, Costs, built_in
from replay.demand import Demand, load_demand
from replay.initial.state import InitialState, recorded_machine
from replay.kernel.buddy import build_free_lists
from replay.kernel.direct_map import PMD, PTE
from replay.kernel.geometry import X86_64
from replay.kernel.gfp import GFP_KERNEL
from replay.kernel.mmzone import ZONE_NORMAL, page_allocator
from replay.machine import Machine
from replay.other_machine import RECORDED, check_memory, other_machine, profile_of
from replay.placement_run import placement_result
from replay.reclaim import NONE
from replay.registry import Entry, Strategy, parameters, strategies
from replay.results import RunResult, result_of
from replay.stretch import ALLOC, FREE_EVENT, Program

POLICY, PLACEMENT = MODES = ("policy", "placement")
"""The simulated allocator places everything, or every event goes where it was recorded."""


@dataclass(frozen=True)
class Wanted:
    """One run: everything its identity is made of."""

    capture: dict[str, Any]
    entry: Entry
    strategy: Strategy
    seed: int
    machine: str = RECORDED
    """The recorded machine, or another: see `replay.other_machine`."""
    mode: str = POLICY
    reclaim: str = NONE
    """What reclaim and compaction can free: see `replay.reclaim`."""
    copies: int = 1
    """How many times over the recorded processes run: see `replay.copies`."""
    costs: CostProfile = field(default_factory=built_in)
    """What operations take."""

    @property
    def params(self) -> dict[str, Any]:
        """All parameters, defaults included."""
        return asdict(self.strategy)

    @property
    def is_default(self) -> bool:
        """Whether nothing was set."""
        chosen = (self.seed, self.machine, self.mode, self.reclaim, self.copies, self.costs.name)
        return self.strategy == self.entry.factory() and chosen == (0, RECORDED, POLICY, NONE, 1, BUILT_IN)

    @property
    def run_id(self) -> str:
        """Hash of everything that determines the result."""
        return identity(
            capture=self.capture["capture_id"],
            strategy=self.entry.name,
            params=self.params,
            machine=self.machine,
            mode=self.mode,
            reclaim=self.reclaim,
            copies=self.copies,
            costs=self.costs.name,
            seed=self.seed,
            code_version=code_version(),
        )


@dataclass(frozen=True)
class Done:
    """A finished run, for the table a user sees."""

    wanted: Wanted
    events: int
    wall_s: float
    incidents: int
    fresh: bool


@dataclass(frozen=True)
class Failed:
    """A run that its strategy (or we) broke off, and where."""

    wanted: Wanted
    reason: str


def replay_one(
    machine: InitialState, demand: Demand, strategy: Strategy, reclaim: str = NONE, costs: Costs | None = None
) -> RunResult:
    """Replay one capture through one strategy. Nothing is shared with other runs but what is only read."""
    run = Machine(machine, demand, strategy, reclaim, costs)
    run.warm_up()
    run.replay()
    return result_of(run)


def compile_ahead(*, reclaim: bool = False) -> None:
    """Compile the loop (and reclaim), or load it from the cache, so that no run's time holds the compiler's."""
    zones = np.array([[0, 1023, ZONE_NORMAL, 0]], np.int64)
    allocator = page_allocator(1024, zones, X86_64)
    free = np.ones(1024, np.bool_)
    build_free_lists(allocator, free)
    level = np.array([PTE, PMD], np.uint8)
    machine = InitialState("x86_64", 1, X86_64, allocator, free, level, np.empty(0, np.int64))
    table, secret, other = (CONSUMERS.index(name) for name in ("pgtable_user", "secret", "other"))
    events = [(ALLOC, 1, table), (ALLOC, 2, secret), (ALLOC, 3, other), (FREE_EVENT, 1, other), (FREE_EVENT, 2, other)]
    op, pfn, consumer = (np.array(column) for column in zip(*events, strict=True))
    nothing = np.zeros(len(events))
    columns = (op, nothing, pfn, nothing, nothing, nothing + GFP_KERNEL, consumer, nothing, nothing)
    types = (np.uint8, np.int64, np.int64, np.int8, np.uint8, np.uint16, np.uint8, np.int16, np.int32)
    program = Program(*(column.astype(dtype) for column, dtype in zip(columns, types, strict=True)))
    demand = Demand(program, 0, 1, 4, np.full(4, -1, np.int8), 1, {})
    for entry in strategies().values():
        with suppress(Exception):  # a strategy that fails says so in its own run
            replay_one(machine, demand, entry.factory())
    if reclaim:
        model = Machine(machine, demand, strategies()["unprotected"].factory(), "optimistic").reclaim
        model.direct(0, GFP_KERNEL)
        model.compact(0, 1, 0, GFP_KERNEL, sync=True)
        model.balance()


def replay_all(
    connection: duckdb.DuckDBPyConnection, wanted: Iterable[Wanted], jobs: int, on_done: Callable[[int], None]
) -> tuple[list[Done], list[Failed]]:
    """Replay what is not in the warehouse yet, a capture at a time, and write each run as it ends.

    Args:
        connection: a warehouse open for writing.
        wanted: the runs.
        jobs: threads (the compiled loop runs without the interpreter lock).
        on_done: told how many are settled, after each.

    Returns:
        Those that are there, in the order wanted, and those that failed; a failure leaves the others alone.
    """
    runs = list(wanted)
    _write_strategies(connection)
    _write_costs(connection, {run.costs.name: run.costs for run in runs})
    there = {run_id for (run_id,) in connection.execute("SELECT run_id FROM run").fetchall()}
    done: dict[str, Done] = {}
    failed: list[Failed] = []
    for run in runs:
        if run.run_id in there:
            done[run.run_id] = _kept(connection, run)
            on_done(len(done))
    if len(done) < len(runs):
        compile_ahead(reclaim=any(run.reclaim != NONE for run in runs))
    missing: dict[tuple[str, int, str, int], list[Wanted]] = {}
    for run in runs:
        if run.mode == PLACEMENT and run.run_id not in done:
            started, clock = datetime.now(UTC).replace(tzinfo=None), time.perf_counter()
            result = placement_result(connection, run.capture)
            wall_s = time.perf_counter() - clock
            _write(connection, run, result, started, wall_s)
            done[run.run_id] = Done(run, result.events, wall_s, 0, fresh=True)
            on_done(len(done))
        elif run.run_id not in done:
            missing.setdefault((run.capture["capture_id"], run.seed, run.machine, run.copies), []).append(run)
    for group in missing.values():
        capture = group[0].capture
        demand = load_demand(connection, capture)
        machine = recorded_machine(connection, capture, demand, group[0].seed)
        if (profile := profile_of(group[0].machine)) is not None:
            check_memory(profile, machine.geometry.page_shift, min(jobs, len(group)))
            machine = other_machine(profile, machine, demand, group[0].seed)
        demand = scaled(demand, group[0].copies, group[0].seed, len(machine.mapped))
        with _short_turns(), ThreadPoolExecutor(jobs) as threads:
            futures = {threads.submit(_timed, machine, demand, run): run for run in group}
            for future in as_completed(futures):
                run = futures[future]
                if (error := future.exception()) is not None:
                    failed.append(Failed(run, _where(error)))
                else:
                    result, started, wall_s = future.result()
                    _write(connection, run, result, started, wall_s)
                    done[run.run_id] = Done(run, result.events, wall_s, result.tables["incident"].num_rows, fresh=True)
                on_done(len(done) + len(failed))
    return [done[run.run_id] for run in runs if run.run_id in done], failed


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads take turns at the interpreter often: decisions are many short steps between compiled ones.

    With the default of 5 ms a thread that comes back from compiled code waits that long for one that does not leave it.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(50e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _where(error: BaseException) -> str:
    """An exception in a line, with the place it came from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"


def _timed(machine: InitialState, demand: Demand, run: Wanted) -> tuple[RunResult, datetime, float]:
    started, clock = datetime.now(UTC).replace(tzinfo=None), time.perf_counter()
    result = replay_one(machine, demand, run.strategy, run.reclaim, run.costs.of(machine.arch))
    return result, started, time.perf_counter() - clock


def _kept(connection: duckdb.DuckDBPyConnection, run: Wanted) -> Done:
    row = connection.execute(
        """SELECT events_per_s * wall_s, wall_s,
                  (SELECT count(*) FROM incident WHERE incident.run_id = run_timing.run_id)
           FROM run_timing WHERE run_id = ?""",
        [run.run_id],
    ).fetchone()
    events, wall_s, incidents = row or (0, 0.0, 0)
    return Done(run, round(events), wall_s, incidents, fresh=False)


def _write_strategies(connection: duckdb.DuckDBPyConnection) -> None:
    with transaction(connection):
        connection.execute("DELETE FROM strategy")
        for entry in strategies().values():
            defaults = json.dumps({parameter["name"]: parameter["default"] for parameter in parameters(entry)})
            connection.execute(
                "INSERT INTO strategy VALUES (?, ?, ?, ?)", [entry.name, entry.title, entry.source, defaults]
            )


def _write_costs(connection: duckdb.DuckDBPyConnection, profiles: dict[str, CostProfile]) -> None:
    rows = [
        (name, arch, constant, value.low, value.typical, value.high, value.source)
        for name, profile in profiles.items()
        for arch, constants in profile.constants.items()
        for constant, value in constants.items()
    ]
    with transaction(connection):
        connection.execute("DELETE FROM cost_constant WHERE list_contains(?, costs)", [list(profiles)])
        connection.executemany("INSERT INTO cost_constant VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _write(
    connection: duckdb.DuckDBPyConnection, run: Wanted, result: RunResult, started: datetime, wall_s: float
) -> None:
    """Write one run whole; a run of an older version with the same settings goes."""
    params = json.dumps(run.params, sort_keys=True)
    with transaction(connection):
        superseded = connection.execute(
            """SELECT run_id FROM run WHERE capture_id = ? AND strategy = ? AND params = ?::JSON AND machine = ?
               AND mode = ? AND reclaim = ? AND costs = ? AND copies = ? AND seed = ?""",
            [
                run.capture["capture_id"],
                run.entry.name,
                params,
                run.machine,
                run.mode,
                run.reclaim,
                run.costs.name,
                run.copies,
                run.seed,
            ],
        ).fetchall()
        for (run_id,) in superseded:
            delete_run(connection, run_id)
        connection.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                run.run_id,
                run.capture["capture_id"],
                run.entry.name,
                params,
                run.is_default,
                run.machine,
                run.mode,
                run.reclaim,
                run.costs.name,
                run.copies,
                run.seed,
                code_version(),
                result.assumptions,
            ],
        )
        units = dict(metrics(connection))
        for name, rows in result.tables.items():
            table = rows.append_column("run_id", pa.array([run.run_id] * rows.num_rows, pa.string()))
            if name == "run_metric":
                table = table.append_column("unit", pa.array([units[m] for m in rows.column("metric").to_pylist()]))
            connection.register("rows_of_run", table)
            connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM rows_of_run")
            connection.unregister("rows_of_run")
        connection.execute(
            "INSERT INTO run_timing VALUES (?, ?, ?, ?)",
            [run.run_id, started, wall_s, result.events / max(wall_s, 1e-9)],
        )
