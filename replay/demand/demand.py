"""What a recording asks for, without what the recorded kernel did because of its own state.

The replay drops the tables that split the recorded direct map and makes its own, for the permission changes that they
belong to (recorded, or guessed: replay.demand.others). It drops allocations that failed, because when they would have
been freed is unknown. What compaction migrated is a move that changes nothing (replay.demand.unseen). Frees by reclaim
are marked: a replay that models reclaim makes its own (replay.machine.reclaim).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import CONSUMERS, KPF_BUDDY, MOVABLE, UNMOVABLE
from replay.demand.events import Events, flagged, read_events
from replay.demand.others import GUESS, Asked, RecordedChanges, recorded_changes
from replay.demand.program import ALLOC, FREE_EVENT, MOVE, OUTSIDE_CHANGE, RECLAIMED, Program, first_seen, with_events
from replay.demand.table_frees import freed
from replay.demand.unseen import LEAVE_OUT, MOVED, SEEN_LATE, Resolved, gone_from_lists, resolve
from replay.kernel.geometry import recorded_geometry
from replay.kernel.gfp import GFP_KERNEL


@dataclass(frozen=True)
class Demand:
    """One capture's events as a program for the compiled loop."""

    program: Program
    first_ns: int
    last_ns: int
    pages: int
    """Recorded page frame numbers run from 0 to this, exclusive."""
    first_seen: NDArray[np.int8]
    """(pages,) 1: the first event on the page allocates it; 0: it frees it; -1: no event."""
    tasks: int
    """How many tasks the events belong to; the idle task of each CPU is one of its own."""
    dropped: dict[str, int]
    """What was left out, by description."""
    changed: dict[str, int] = field(default_factory=dict)
    """What is replayed otherwise than recorded."""
    moves: int = 0
    """Pages that compaction moved: they go by the names ``pages + 1`` and up."""
    changes: tuple[Asked, ...] = (GUESS,)
    """What permission changes by others ask for: OUTSIDE_CHANGE events refer to it by place."""
    notes: tuple[str, ...] = ()
    """What else has to be known about the recording to judge a replay of it."""


class Fate(IntEnum):
    """What becomes of a recorded event."""

    AS_RECORDED = 0
    FAILED = 1
    TOO_LARGE = 2
    SPLIT_TABLE = 3
    UNKNOWN_CHANGE = 4
    COLLAPSED = 5
    ISOLATED = 6
    MOVED = 7
    SEEN_LATE = 8


_LEFT_OUT = {
    Fate.SPLIT_TABLE: "tables that split the recorded direct map: the replay makes its own for the permission change "
    "that they belong to",
    Fate.UNKNOWN_CHANGE: "tables that split the recorded direct map, replayed as a one-page change where the last "
    "unmovable page was placed, because the trace does not say where",
    Fate.COLLAPSED: "tables that a recorded collapse of the direct map gave back",
    Fate.FAILED: "requests that failed on the recorded machine: when they would have been freed is unknown",
    Fate.TOO_LARGE: "allocations above MAX_PAGE_ORDER, which are not the page allocator's",
    Fate.ISOLATED: "frees of blocks that were free: compaction had isolated them and gave them back",
}
_CHANGED = {
    Fate.MOVED: "Moved: {} pages that compaction migrated stay where they are; the free of their source is no free.",
    Fate.SEEN_LATE: "Added: {} single-page allocations without an event (allocated in bulk, or as targets of "
    "compaction), each put halfway between the page's last event and its free.",
}
_CHANGES = (
    "Permission changes by others: {} recorded ones, each at its time, of the pages that it was about, wherever they "
    "are now; pages that the replay does not know by name lie at their recorded place."
)


def load_demand(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> Demand:
    """What the allocations and frees of a capture (row of table capture) ask for, in the order of the trace."""
    recorded_geometry(capture)  # refuses an architecture without rules before anything is read
    events = read_events(connection, capture)
    recorded = recorded_changes(connection, capture["capture_id"])
    free = flagged(connection, capture["capture_id"], events.pages + 1, 1 << KPF_BUDDY)
    return demand_of(events, recorded, free, capture)


def demand_of(
    events: Events, recorded: RecordedChanges, free_at_start: NDArray[np.bool_], capture: dict[str, Any]
) -> Demand:
    """The same from what was read; `free_at_start` (pages + 1,): pages known to be free before the first event."""
    pages = events.pages
    unseen = resolve(
        events.is_free & ~events.failed,
        np.where(events.failed, pages, events.pfn),
        np.where(events.failed, 0, events.order).astype(np.int8),
        events.by_compaction,
        events.by_kworker,
        free_at_start,
    )
    fate = _fates(events, recorded, unseen, recorded_geometry(capture).max_order)
    who = (_who(events.cpu, events.pid), _who(recorded.cpu, recorded.pid))
    tasks, task = np.unique(np.concatenate(who), return_inverse=True)
    task_of_event, task_of_change = np.split(task.astype(np.int32), [len(who[0])])
    program = _program(events, unseen, fate, task_of_event)
    changes = {"cpu": recorded.cpu, "task": task_of_change, "pfn": recorded.first, "context": recorded.asked}
    program = with_events(program, recorded.ts, op=OUTSIDE_CHANGE, **changes)
    counts = {name: int((fate == name).sum()) for name in Fate}
    changed = {words: counts[name] for name, words in _CHANGED.items()} | {_CHANGES: len(recorded.ts)}
    return Demand(
        program,
        capture["first_ns"],
        capture["last_ns"],
        pages,
        first_seen(program, np.full(pages, -1, np.int8)),
        len(tasks),
        {words: counts[name] for name, words in _LEFT_OUT.items() if counts[name]},
        {words: count for words, count in changed.items() if count},
        counts[Fate.MOVED],
        recorded.changes,
        _notes(events, capture),
    )


def _fates(events: Events, recorded: RecordedChanges, unseen: Resolved, max_order: int) -> NDArray[np.uint8]:
    """(N,) what becomes of each event; the first that applies."""
    splits = events.consumer == CONSUMERS.index("direct_map_split")
    unknown = splits & ~events.is_free & ~events.self_inflicted & ~recorded.explains(events.ts, events.pid)
    conditions = {
        Fate.FAILED: events.failed,
        Fate.TOO_LARGE: ~events.is_free & (events.order > max_order),
        Fate.UNKNOWN_CHANGE: unknown,
        Fate.COLLAPSED: splits & events.is_free,
        Fate.SPLIT_TABLE: splits,
        Fate.ISOLATED: unseen.fate == LEAVE_OUT,
        Fate.MOVED: unseen.fate == MOVED,
        Fate.SEEN_LATE: unseen.fate == SEEN_LATE,
    }
    return np.select(list(conditions.values()), list(conditions), Fate.AS_RECORDED).astype(np.uint8)


def _program(events: Events, unseen: Resolved, fate: NDArray[np.uint8], task: NDArray[np.int32]) -> Program:
    """The events that are replayed, with an allocation put in for each page that was allocated unseen."""
    change, moved = fate == Fate.UNKNOWN_CHANGE, fate == Fate.MOVED
    op = np.where(events.is_free, np.where(events.by_reclaim, RECLAIMED, FREE_EVENT), ALLOC)
    program = Program(
        op=np.where(change, OUTSIDE_CHANGE, np.where(moved, MOVE, op)).astype(np.uint8),
        ts=events.ts,
        pfn=np.where(change, 0, np.where((unseen.name >= 0) & ~moved, unseen.name, events.pfn)),
        order=events.order,
        migratetype=events.migratetype,
        context=np.where(change, 0, events.context).astype(np.uint16),
        consumer=events.consumer,
        cpu=events.cpu,
        task=task,
    )
    left_out = [name for name in _LEFT_OUT if name != Fate.UNKNOWN_CHANGE]
    return _with_unseen(program, unseen, fate == Fate.SEEN_LATE, events, ~np.isin(fate, left_out))


def _notes(events: Events, capture: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if capture["timing"] == "emulated":
        notes.append(
            "Recorded under emulation: the order of events is real, the gaps between them are not. Rates, latencies "
            "and waiting for locks show what depends on what (sensitivity), and are no findings."
        )
    if tables := int(events.of_table.sum()):
        by = (events.has_stack, events.by_gather, events.after_grace, events.pid)
        at_once, after_grace = freed(events.of_table, *by)
        notes.append(
            f"Page tables below the PGD: of {tables:,} frees the recorded kernel made {at_once.sum():,} at once and "
            f"{after_grace.sum():,} in bursts, after an RCU grace period; who made the others is unknown."
        )
    return tuple(notes)


def _with_unseen(
    program: Program, unseen: Resolved, seen_late: NDArray[np.bool_], events: Events, keep: NDArray[np.bool_]
) -> Program:
    """The events that are kept, with an allocation put in for each page that was allocated unseen.

    Pages that a kworker frees are vmalloc's (delayed_vfree_work()) and UNMOVABLE, others are taken as MOVABLE.
    """
    late, by_kworker = np.flatnonzero(seen_late), events.by_kworker
    single = (events.order == 0) & (events.is_free | (events.migratetype == UNMOVABLE)) & ~events.failed
    listed = np.where(single, events.cpu, -1).astype(np.int64)
    since = np.where(by_kworker[late], unseen.since[late], -1)
    gone = gone_from_lists(events.is_free & ~events.failed, events.pfn, events.order, listed, since, late)
    at = np.where(gone >= 0, gone, (unseen.since[late] + late + 1) // 2)
    put_in = {name: np.zeros(len(late), column.dtype) for name, column in program._asdict().items()}
    put_in["op"][:] = ALLOC
    put_in["ts"][:] = program.ts[at]
    put_in["pfn"][:] = program.pfn[late]
    put_in["migratetype"][:] = np.where(by_kworker[late], UNMOVABLE, MOVABLE)
    put_in["context"][:] = GFP_KERNEL
    put_in["cpu"][:], put_in["task"][:] = np.where(gone >= 0, program.cpu[at], program.cpu[late]), program.task[late]
    kept = np.insert(keep, at, True)
    return Program(*(np.insert(column, at, put_in[name])[kept] for name, column in program._asdict().items()))


def _who(cpu: NDArray[Any], pid: NDArray[Any] | int) -> NDArray[np.int64]:
    """Tasks by number; the idle task of each CPU is one of its own."""
    return np.where(pid == 0, -1 - cpu, pid).astype(np.int64)
