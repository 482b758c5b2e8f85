"""One run: sets the machine up, warms it up and replays, in any process."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptpool.vocabulary import CONSUMERS
from replay.contract.registry import strategies
from replay.contract.strategy import Strategy
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, FREE_EVENT, Program, with_events
from replay.kernel.buddy import build_free_lists
from replay.kernel.compaction import isolate_freepages_block
from replay.kernel.geometry import X86_64
from replay.kernel.gfp import GFP_KERNEL
from replay.kernel.leaves import PMD, PTE
from replay.kernel.mmzone import ZONE_NORMAL, page_allocator
from replay.machine.machine import Machine
from replay.machine.reclaim import NONE
from replay.machine.results import RunResult, result_of
from replay.machine.state import State
from replay.profiles.costs import Costs
from replay.runs.progress import Progress
from replay.runs.run import Run
from replay.runs.scene import Scene
from replay.start.recorded_machine import InitialState


class Timed(NamedTuple):
    """A result, when its run began, and how long it took."""

    result: RunResult
    started_at: datetime
    wall_s: float


def replay_one(
    machine: InitialState,
    demand: Demand,
    strategy: Strategy,
    reclaim: str = NONE,
    costs: Costs | None = None,
    *,
    metrics_only: bool = False,
    progress: Path | None = None,
) -> RunResult:
    """Replay one capture through one strategy. What is shared with other runs is only read."""
    state, run = State(machine, demand, strategy, reclaim, costs), None
    try:
        run = Machine(state)
        if progress is not None:
            run.watch = Progress(progress, state)
        run.replay()
    except Exception as error:
        error.add_note(run.whereabouts if run else "before the first event")
        raise
    result = result_of(run, metrics_only=metrics_only)
    vars(state).clear()  # it refers to itself: its arrays would stay until the collector of cycles comes by
    return result


def replay_timed(scene: Scene, run: Run, *, metrics_only: bool = False, folder: Path | None = None) -> Timed:
    """A unit of work: one run, with all its tables or only with metrics and orders; its progress goes into `folder`."""
    demand, machine = scene
    started_at, clock = datetime.now(UTC).replace(tzinfo=None), time.perf_counter()
    costs, progress = run.costs.of(machine.arch), folder and folder / run.run_id
    result = replay_one(
        machine, demand, run.strategy, run.settings.reclaim, costs, metrics_only=metrics_only, progress=progress
    )
    return Timed(result, started_at, time.perf_counter() - clock)


def compile_ahead(*, reclaim: bool = False) -> None:
    """Compile the loop (and reclaim), or load it from the cache, before any run is timed."""
    zones = np.array([[0, 1023, ZONE_NORMAL, 0]], np.int64)
    allocator = page_allocator(1024, zones, X86_64)
    free = np.ones(1024, np.bool_)
    build_free_lists(allocator, free)
    level = np.array([PTE, PMD], np.uint8)
    machine = InitialState("x86_64", 1, X86_64, allocator, free, level, np.empty(0, np.int64))
    table, secret, other = (CONSUMERS.index(name) for name in ("pgtable_user", "secret", "other"))
    events = [(ALLOC, 1, table), (ALLOC, 2, secret), (ALLOC, 3, other), (FREE_EVENT, 1, other), (FREE_EVENT, 2, other)]
    op, pfn, consumer = (np.array(column) for column in zip(*events, strict=True))
    types = (np.uint8, np.int64, np.int64, np.int8, np.uint8, np.uint16, np.uint8, np.int16, np.int32)
    empty, now = Program._make(np.zeros(0, dtype) for dtype in types), np.zeros(len(events), np.int64)
    program = with_events(empty, now, op=op, pfn=pfn, consumer=consumer, context=GFP_KERNEL)
    demand = Demand(program, 0, 1, 4, np.full(4, -1, np.int8), 1, {})
    for entry in strategies().values():
        with suppress(Exception):  # a strategy that fails says so in its own run
            replay_one(machine, demand, entry.factory())
    unprotected = strategies()["unprotected"].factory()
    allocator = State(machine, demand, unprotected).allocator
    isolate_freepages_block(allocator, 0, np.empty((1 << allocator.pageblock_order, 2), np.int64))
    if reclaim:
        model = State(machine, demand, unprotected, "optimistic").reclaim
        model.direct(0, GFP_KERNEL)
        model.compact(0, 1, 0, GFP_KERNEL, sync=True)
        model.balance()
