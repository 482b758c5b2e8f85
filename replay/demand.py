"""What a recording asks for, without what the recorded kernel did because of its own state.

Dropped and made anew by the replay: tables that split the direct map, by the permission change that they belong to (as
recorded, or guessed: replay.outside). Dropped because nobody knows when they would have
been freed: allocations that failed. Moves that change nothing: what compaction migrated (replay.unseen). Marked: the
frees of reclaim, which a replay makes anew where reclaim is modelled (replay.reclaim).
"""

from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS, MOVABLE, UNMOVABLE
from replay.kernel.geometry import X86_64
from replay.kernel.gfp import GFP_KERNEL, contexts
from replay.outside import GUESS, SELF_INFLICTED, Asked, recorded_changes, with_changes
from replay.stretch import ALLOC, FREE_EVENT, MOVE, OUTSIDE_CHANGE, RECLAIMED, Program, first_seen
from replay.unseen import LEAVE_OUT, MOVED, SEEN_LATE, Resolved, resolve

MOST_PAGES = 1 << 30
"""4 TiB in 4K pages: the arrays of a larger machine do not fit into the memory of an ordinary one."""


COMPACTION = ("compact_zone", "release_free_list")
"""Functions under which compaction frees (mm/compaction.c): migrated pages, and targets that it did not need."""

RECLAIM = ("shrink_folio_list", "shrink_page_list", "do_shrink_slab", "shrink_slab")
"""Functions under which reclaim frees (mm/vmscan.c, mm/shrinker.c)."""

BUDDY_FLAG = 1 << 10
"""KPF_BUDDY, include/uapi/linux/kernel-page-flags.h."""


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
    """Pages that compaction moved: their data goes by the names ``pages + 1`` and up."""
    changes: tuple[Asked, ...] = (GUESS,)
    """What permission changes by others ask for: OUTSIDE_CHANGE events refer to it by place."""


def load_demand(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> Demand:
    """Read a capture's allocations and frees as flat arrays, in the order of the trace."""
    columns = connection.execute(
        _EVENTS,
        {
            "consumers": list(CONSUMERS),
            "self_inflicted": list(SELF_INFLICTED),
            "compaction": list(COMPACTION),
            "reclaim": list(RECLAIM),
            "capture": capture["capture_id"],
        },
    ).fetchnumpy()
    is_free, failed = _plain(columns["is_free"]), _plain(columns["failed"])
    pfn, order = _plain(columns["pfn"]).astype(np.int64), _plain(columns["page_order"]).astype(np.int8)
    pages = int((pfn + (1 << order.astype(np.int64))).max(initial=0))
    if pages > MOST_PAGES:
        raise UsageError(
            f"capture {capture['name']}: page frame number {pages - 1:#x} lies beyond any machine that is simulated",
            "a damaged line, or another field read as pfn: mend the trace and import it again",
        )
    consumer = _plain(columns["consumer"]).astype(np.uint8)
    splits = consumer == CONSUMERS.index("direct_map_split")
    cpu, pid, ts = _plain(columns["cpu"]), _plain(columns["pid"]), _plain(columns["ts_ns"]).astype(np.int64)
    recorded = recorded_changes(connection, capture["capture_id"])
    outside = splits & ~is_free & ~_plain(columns["self_inflicted"]) & ~recorded.explains(ts, pid)
    too_large = ~is_free & (order > X86_64.max_order)
    unseen = resolve(
        is_free & ~failed,
        np.where(failed, pages, pfn),
        np.where(failed, 0, order).astype(np.int8),
        _plain(columns["by_compaction"]),
        _free_at_start(connection, capture["capture_id"], pages + 1),
    )
    isolated = (unseen.fate == LEAVE_OUT) & ~splits
    moved, seen_late = (unseen.fate == MOVED) & ~splits, (unseen.fate == SEEN_LATE) & ~splits
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
    reclaimed = is_free & _plain(columns["by_reclaim"])
    op = np.where(outside, OUTSIDE_CHANGE, np.where(reclaimed, RECLAIMED, np.where(is_free, FREE_EVENT, ALLOC)))
    tasks, task = np.unique(np.concatenate([_who(cpu, pid), _who(recorded.cpu, recorded.pid)]), return_inverse=True)
    context = contexts(_plain(columns["gfp_flags"]).astype(np.int64), _plain(columns["no_flags"]))
    program = Program(
        op=np.where(moved, MOVE, op).astype(np.uint8),
        ts=ts,
        pfn=np.where(outside, 0, np.where((unseen.name >= 0) & ~moved, unseen.name, pfn)),
        order=order,
        migratetype=np.minimum(_plain(columns["migratetype"]), 2).astype(np.uint8),
        context=np.where(outside, 0, context).astype(np.uint16),
        consumer=consumer,
        cpu=cpu.astype(np.int16),
        task=task[: len(ts)].astype(np.int32),
    )
    keep = ~failed & ~too_large & (~splits | outside) & ~isolated
    program = _with_unseen(program, unseen, seen_late, _plain(columns["by_kworker"]), keep)
    program = with_changes(program, recorded.ts, recorded.cpu, task[len(ts) :], recorded.first, recorded.asked)
    return Demand(
        program,
        capture["first_ns"],
        capture["last_ns"],
        pages,
        first_seen(program, np.full(pages, -1, np.int8)),
        len(tasks),
        _counts(dropped),
        _counts(changed),
        int(moved.sum()),
        recorded.changes,
    )


_EVENTS = """
WITH asked AS (
    SELECT stack_id, list_has_any(frames, $self_inflicted) AS self_inflicted,
           list_has_any(frames, $compaction) AS compaction, list_has_any(frames, $reclaim) AS reclaim
    FROM stack WHERE capture_id = $capture)
SELECT ts_ns, cpu, pid, kind = 'free' AS is_free, kind = 'alloc_failed' AS failed, coalesce(pfn, 0) AS pfn, page_order,
       coalesce(migratetype, 0) AS migratetype, coalesce(gfp_flags, 0) AS gfp_flags, gfp_flags IS NULL AS no_flags,
       list_position($consumers, coalesce(consumer::VARCHAR, 'other')) - 1 AS consumer,
       coalesce(self_inflicted, false) AS self_inflicted,
       kind = 'free' AND (coalesce(compaction, false) OR coalesce(comm, '') LIKE 'kcompactd%') AS by_compaction,
       coalesce(reclaim, false) OR coalesce(comm, '') LIKE 'kswapd%' AS by_reclaim,
       coalesce(comm, '') LIKE 'kworker%' AS by_kworker
FROM page_event LEFT JOIN asked USING (stack_id)
WHERE capture_id = $capture AND kind IN ('alloc', 'free', 'alloc_failed')
ORDER BY seq
"""


def _free_at_start(connection: duckdb.DuckDBPyConnection, capture_id: str, pages: int) -> NDArray[np.bool_]:
    """Pages that kpageflags knows to have been free before the first event."""
    free = np.zeros(pages, np.bool_)
    runs = connection.execute(
        "SELECT first_pfn, last_pfn FROM page_flags WHERE capture_id = ? AND moment = 'before' AND flags & ? != 0",
        [capture_id, BUDDY_FLAG],
    ).fetchall()
    for first, last in runs:
        free[first : last + 1] = True
    return free


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


def _who(cpu: NDArray[Any], pid: NDArray[Any]) -> NDArray[np.int64]:
    """Tasks by number; the idle task of each CPU is one of its own."""
    return np.where(pid == 0, -1 - cpu, pid).astype(np.int64)


def _plain(column: Any) -> NDArray[Any]:
    return np.asarray(column)


def _counts(masks: dict[str, NDArray[np.bool_]]) -> dict[str, int]:
    return {what: int(mask.sum()) for what, mask in masks.items() if mask.any()}
