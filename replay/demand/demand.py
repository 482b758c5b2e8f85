"""What a recording asks for, without what the recorded kernel did because of its own state.

Dropped and made anew by the replay: tables that split the direct map, by the permission change that they belong to (as
recorded, or guessed: replay.demand.others). Dropped because nobody knows when they would have been freed: allocations
that failed. Moves that change nothing: what compaction migrated (replay.demand.unseen). Marked: the frees of
reclaim, which a replay makes anew where reclaim is modelled (replay.machine.reclaim).
"""

from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import CONSUMERS, KPF_BUDDY, MOVABLE, UNMOVABLE
from replay.demand.events import Events, flagged, read_events
from replay.demand.others import GUESS, Asked, Recorded, recorded_changes, with_changes
from replay.demand.program import ALLOC, FREE_EVENT, MOVE, OUTSIDE_CHANGE, RECLAIMED, Program, first_seen, with_events
from replay.demand.rcu import DELAYED, GRACE_NS, RECORDED, ends_of_grace, freed
from replay.demand.unseen import LEAVE_OUT, MOVED, PUT_OFF, SEEN_LATE, Resolved, resolve
from replay.kernel.geometry import X86_64
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
    """Pages that compaction moved, and tables whose free is put off: they go by the names ``pages + 1`` and up."""
    changes: tuple[Asked, ...] = (GUESS,)
    """What permission changes by others ask for: OUTSIDE_CHANGE events refer to it by place."""
    notes: tuple[str, ...] = ()
    """What else has to be known about the recording to judge a replay of it."""


def load_demand(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], rcu: str = RECORDED) -> Demand:
    """What a capture's allocations and frees ask for, in the order of the trace.

    Args:
        connection: the warehouse.
        capture: row of table capture.
        rcu: when page tables are freed: as recorded, or all after a grace period (`replay.demand.rcu`).
    """
    events = read_events(connection, capture)
    recorded = recorded_changes(connection, capture["capture_id"])
    free = flagged(connection, capture["capture_id"], events.pages + 1, 1 << KPF_BUDDY)
    return demand_of(events, recorded, free, capture, rcu)


def demand_of(
    events: Events, recorded: Recorded, free_at_start: NDArray[np.bool_], capture: dict[str, Any], rcu: str
) -> Demand:
    """The same of what was read.

    Args:
        events: allocations and frees.
        recorded: permission changes by others.
        free_at_start: (pages + 1,) pages known to have been free before the first event.
        capture: its `first_ns`, `last_ns` and `timing`.
        rcu: when page tables are freed.
    """
    is_free, failed, pages = events.is_free, events.failed, events.pages
    splits = events.consumer == CONSUMERS.index("direct_map_split")
    outside = splits & ~is_free & ~events.self_inflicted & ~recorded.explains(events.ts, events.pid)
    too_large = ~is_free & (events.order > X86_64.max_order)
    at_once, after_grace = freed(events.of_table, events.has_stack, events.by_gather, events.after_grace, events.pid)
    unseen = resolve(
        is_free & ~failed,
        np.where(failed, pages, events.pfn),
        np.where(failed, 0, events.order).astype(np.int8),
        events.by_compaction,
        free_at_start,
        at_once if rcu == DELAYED else np.zeros_like(at_once),
    )
    isolated, moved, seen_late = ((unseen.fate == fate) & ~splits for fate in (LEAVE_OUT, MOVED, SEEN_LATE))
    put_off = unseen.fate == PUT_OFF
    dropped = {
        "tables that split the recorded direct map, made anew by the permission change that they belong to": splits
        & ~is_free
        & ~outside,
        "tables that split the recorded direct map, replayed as a one-page change where the last unmovable page was "
        "placed, because the trace does not say where": outside,
        "tables that a recorded collapse of the direct map gave back": splits & is_free,
        "requests that failed on the recorded machine: nobody knows when they would have been freed": failed,
        "allocations above MAX_PAGE_ORDER, which are not the page allocator's": too_large,
        "frees of blocks that were free: compaction had isolated them and gave them back": isolated,
    }
    changed = {
        "Moved: {} pages that compaction migrated stay where they are; their source's free is no free.": moved,
        "Added: {} single-page allocations without an event (allocated in bulk, or as targets of compaction), each put "
        "halfway between the page's last event and its free.": seen_late,
        "Permission changes by others: {} recorded ones, each at its time, of the pages that it was about, wherever "
        "they are now; pages that go by no name here lie at their recorded place.": np.ones(len(recorded.ts), np.bool_),
    }
    who = (_who(events.cpu, events.pid), _who(recorded.cpu, recorded.pid), _who(events.cpu[put_off], 0))
    tasks, task = np.unique(np.concatenate(who), return_inverse=True)
    ends = np.cumsum([len(part) for part in who])
    task_of_event, task_of_change, task_of_free = np.split(task.astype(np.int32), ends[:2])
    op = np.where(events.by_reclaim, RECLAIMED, FREE_EVENT)
    op = np.where(outside, OUTSIDE_CHANGE, np.where(moved | put_off, MOVE, np.where(is_free, op, ALLOC)))
    goes_by = (unseen.name >= 0) & ~moved & ~put_off
    program = Program(
        op=op.astype(np.uint8),
        ts=events.ts,
        pfn=np.where(outside, 0, np.where(goes_by, unseen.name, events.pfn)),
        order=events.order,
        migratetype=events.migratetype,
        context=np.where(outside, 0, events.context).astype(np.uint16),
        consumer=events.consumer,
        cpu=events.cpu,
        task=task_of_event,
    )
    keep = ~failed & ~too_large & (~splits | outside) & ~isolated
    program = _with_unseen(program, unseen, seen_late, events.by_kworker, keep)
    program = with_changes(program, recorded.ts, recorded.cpu, task_of_change, recorded.first, recorded.asked)
    due = ends_of_grace(np.maximum.accumulate(events.ts)[put_off])
    late = due > capture["last_ns"]
    frees = {"cpu": events.cpu[put_off], "task": task_of_free, "pfn": unseen.name[put_off]}
    program = with_events(program, due[~late], op=FREE_EVENT, **{name: column[~late] for name, column in frees.items()})
    notes = _notes(capture, events.of_table, at_once, after_grace)
    if rcu == DELAYED:
        notes.append(
            f"Delayed: {len(due):,} frees of page tables wait for an RCU grace period of {GRACE_NS / 1e6:g} ms, as on "
            f"x86 since 6.15; {late.sum():,} of them beyond the end of the recording."
        )
    return Demand(
        program,
        capture["first_ns"],
        capture["last_ns"],
        pages,
        first_seen(program, np.full(pages, -1, np.int8)),
        len(tasks),
        _counts(dropped),
        _counts(changed),
        int((moved | put_off).sum()),
        recorded.changes,
        tuple(notes),
    )


def _notes(
    capture: dict[str, Any], tables: NDArray[np.bool_], at_once: NDArray[np.bool_], after_grace: NDArray[np.bool_]
) -> list[str]:
    notes = []
    if capture["timing"] == "emulated":
        notes.append(
            "Recorded under emulation: the order of events is real, the gaps between them are not. Rates, latencies "
            "and waiting for locks are sensitivity (what depends on what), not findings."
        )
    if tables.any():
        notes.append(
            f"Page tables below the PGD: of {tables.sum():,} frees the recorded kernel made {at_once.sum():,} at once "
            f"and {after_grace.sum():,} in bursts, after an RCU grace period; who made the others is not known."
        )
    return notes


def _with_unseen(
    program: Program,
    unseen: Resolved,
    seen_late: NDArray[np.bool_],
    by_kworker: NDArray[np.bool_],
    keep: NDArray[np.bool_],
) -> Program:
    """The events that are kept, with an allocation put in for each page that was allocated unseen.

    Pages that a kworker frees are vmalloc's (delayed_vfree_work()) and UNMOVABLE, others are taken as MOVABLE.
    """
    late = np.flatnonzero(seen_late)
    at = (unseen.since[late] + late + 1) // 2
    put_in = {name: np.zeros(len(late), column.dtype) for name, column in program._asdict().items()}
    put_in["op"][:] = ALLOC
    put_in["ts"][:] = program.ts[at]
    put_in["pfn"][:] = program.pfn[late]
    put_in["migratetype"][:] = np.where(by_kworker[late], UNMOVABLE, MOVABLE)
    put_in["context"][:] = GFP_KERNEL
    put_in["cpu"][:], put_in["task"][:] = program.cpu[late], program.task[late]
    kept = np.insert(keep, at, np.ones(len(late), np.bool_))
    return Program(*(np.insert(column, at, put_in[name])[kept] for name, column in program._asdict().items()))


def _who(cpu: NDArray[Any], pid: NDArray[Any] | int) -> NDArray[np.int64]:
    """Tasks by number; the idle task of each CPU is one of its own."""
    return np.where(pid == 0, -1 - cpu, pid).astype(np.int64)


def _counts(masks: dict[str, NDArray[np.bool_]]) -> dict[str, int]:
    return {what: int(mask.sum()) for what, mask in masks.items() if mask.any()}
