"""Placement replay: every event at its recorded place, which shows where the recording cannot be complete.

The trace says who owns a page; the snapshots say what the page was before and after. Where they contradict each other,
something happened without an event. Each contradiction gets a cause (profiles/contradictions.toml), or "unexplained".
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from replay import profiles
from replay.kernel.geometry import ASSUMED_PAGE
from replay.start.pages import BUDDY, COMPOUND, LRU, NOPAGE, OFFLINE, PGTABLE, SLAB, page_flags_of
from replay.start.zones import snapshot_values

UNKNOWN, FREE_AT_START, USED_AT_START, ALLOCATED, FREED = range(5)
"""What the placement replay knows about a page."""

_PLAIN = LRU | SLAB | BUDDY | COMPOUND | PGTABLE | NOPAGE | OFFLINE


class Contradiction(NamedTuple):
    """A number of pages for which the recording cannot be complete, and the cause."""

    what: str
    cause: str
    pages: int

    @property
    def explained(self) -> bool:
        """Whether a cause is known."""
        return self.cause != "unexplained"

    @property
    def explanation(self) -> str:
        """The cause in words."""
        return str(profiles.read("contradictions")[self.cause]["explanation"])


@dataclass(frozen=True)
class Placement:
    """A capture with every event at its recorded place. Shape ``P`` pages."""

    state: NDArray[np.uint8]
    """(P,) UNKNOWN ... FREED, after the last event."""
    contradictions: list[Contradiction]
    pages_touched: int

    @property
    def unexplained(self) -> int:
        """Pages in contradictions without a known cause."""
        return sum(item.pages for item in self.contradictions if not item.explained)


def replay_placement(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> Placement:
    """Replay every event of a capture at its recorded place."""
    capture_id = capture["capture_id"]
    events = connection.execute(
        """SELECT kind = 'free' AS is_free, pfn, page_order, coalesce(stack_id, -1) AS stack_id,
                  coalesce(regexp_extract(comm, '^[a-z_]+'), '') AS task
           FROM page_event WHERE capture_id = ? AND kind IN ('alloc', 'free') AND pfn IS NOT NULL ORDER BY seq""",
        [capture_id],
    ).fetchnumpy()
    is_free, pfn = np.asarray(events["is_free"]), np.asarray(events["pfn"]).astype(np.int64)
    order = np.asarray(events["page_order"]).astype(np.int8)
    pages = int((pfn + (1 << order.astype(np.int64))).max(initial=0))
    before = page_flags_of(connection, capture_id, "before", pages)
    after = page_flags_of(connection, capture_id, "after", pages)
    pages = max(pages, *(len(flags) for flags in (before, after) if flags is not None), 1)
    state = np.zeros(pages, np.uint8)
    if before is not None:
        state[: len(before)] = np.where(before & BUDDY, FREE_AT_START, USED_AT_START)
    hits = np.zeros((len(pfn), 5), np.int64)
    _place(is_free, pfn, order, state, hits)
    found: Counter[tuple[str, str]] = Counter()
    lost = capture["lost_events"] > 0
    _frees(connection, capture_id, events, hits, found, lost=lost)
    _allocations(before, is_free, pfn, order, hits, found, lost=lost)
    if after is not None:
        _at_the_end(connection, capture, before, after, state[: len(after)], found)
    contradictions = [Contradiction(what, cause, n) for (what, cause), n in sorted(found.items()) if n]
    return Placement(state, contradictions, int((state >= ALLOCATED).sum()))


@compiled
def _place(is_free, pfn, order, state, hits):
    """Apply the events in turn; `hits` (N, 5) counts the pages of each event by the state it found them in."""
    for i in range(len(pfn)):
        for page in range(pfn[i], pfn[i] + (1 << np.int64(order[i]))):
            hits[i, state[page]] += 1
            state[page] = FREED if is_free[i] else ALLOCATED


def _frees(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    events: dict[str, Any],
    hits: NDArray[np.int64],
    found: "Counter[tuple[str, str]]",
    *,
    lost: bool,
) -> None:
    """Frees of pages that were free, and of pages about which nothing was known."""
    by_stack = {
        stack_id: _cause_of(frames)
        for stack_id, frames in connection.execute(
            "SELECT stack_id, frames FROM stack WHERE capture_id = ?", [capture_id]
        ).fetchall()
    }
    by_task = {task: name for name, cause in profiles.read("contradictions").items() for task in cause.get("tasks", ())}
    of_free = hits[:, FREE_AT_START] + hits[:, FREED]
    is_free, order = np.asarray(events["is_free"]), np.asarray(events["page_order"])
    migrated = _grown(connection, capture_id, "pgmigrate_success")
    for at in np.flatnonzero(is_free & (of_free > 0)):
        cause = by_stack.get(int(events["stack_id"][at])) or by_task.get(str(events["task"][at]))
        if cause is None and order[at] > 0 and migrated:
            cause = "compaction"  # of blocks that it had isolated: nothing else frees whole blocks that are free
        found["free of a free page", cause or ("lost_events" if lost else "?")] += int(of_free[at])
    left = found.pop(("free of a free page", "?"), 0)
    moved = min(left, migrated)  # freed by their owners: as many as the kernel says it migrated
    found["free of a free page", "compaction"] += moved
    found["free of a free page", "unexplained"] += left - moved
    for at in np.flatnonzero(is_free & (hits[:, UNKNOWN] > 0)):
        cause = by_stack.get(int(events["stack_id"][at])) or "before_first_event"
        found["free of a page never seen before", cause] += int(hits[at, UNKNOWN])


def _cause_of(frames: list[str]) -> str | None:
    causes = profiles.read("contradictions").items()
    return next((name for name, cause in causes if not set(frames).isdisjoint(cause.get("functions", ()))), None)


def _allocations(
    before: NDArray[np.int64] | None,
    is_free: NDArray[np.bool_],
    pfn: NDArray[np.int64],
    order: NDArray[np.int8],
    hits: NDArray[np.int64],
    found: "Counter[tuple[str, str]]",
    *,
    lost: bool,
) -> None:
    """Allocations of pages that were in use."""
    cause = "lost_events" if lost else "unexplained"
    found["allocation of a page in use", cause] += int(hits[~is_free, ALLOCATED].sum())
    if before is None:
        return
    for at in np.flatnonzero(~is_free & (hits[:, USED_AT_START] > 0)):
        flags = before[pfn[at] : pfn[at] + (1 << int(order[at]))]
        plain = int(((flags & _PLAIN) == 0).sum())
        in_use = int(hits[at, USED_AT_START])
        found["allocation of a page in use before the recording", "per_cpu_lists"] += min(plain, in_use)
        found["allocation of a page in use before the recording", "before_first_event"] += max(in_use - plain, 0)


def _at_the_end(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    before: NDArray[np.int64] | None,
    after: NDArray[np.int64],
    state: NDArray[np.uint8],
    found: "Counter[tuple[str, str]]",
) -> None:
    """The state after the last event compared with the page flags of the snapshot after."""
    free, plain = (after & BUDDY) != 0, (after & _PLAIN) == 0
    owned, given_back = state == ALLOCATED, (state == FREED) | (state == FREE_AT_START)
    found["in use by the trace, free afterwards", "after_last_event"] += int((owned & free).sum())

    what = "free by the trace, in use afterwards"
    left = int((given_back & plain).sum())
    for cause, room in (
        ("per_cpu_lists", _per_cpu(connection, capture["capture_id"])),
        ("bulk_allocation", _vmalloc(connection, capture)),
        ("unexplained", left),
    ):
        found[what, cause] += (fits := min(left, room))
        left -= fits
    named = int((given_back & ~free & ~plain).sum())
    moved = min(named, _grown(connection, capture["capture_id"], "pgmigrate_success"))
    found[what, "compaction"] += moved
    found[what, "after_last_event"] += named - moved

    untouched = (state == UNKNOWN) | (state == USED_AT_START)
    what = "in use before the recording and not touched by it, free afterwards"
    if before is None:
        found[what, "before_first_event"] += int((untouched & free).sum())
        return
    was_plain = np.zeros(len(after), np.bool_)
    was_plain[: len(before)] = ((before & _PLAIN) == 0)[: len(after)]
    found[what, "per_cpu_lists"] += int((untouched & free & was_plain).sum())
    found[what, "after_last_event"] += int((untouched & free & ~was_plain).sum())


def _grown(connection: duckdb.DuckDBPyConnection, capture_id: str, counter: str) -> int:
    """Growth of a counter of /proc/vmstat during the recording (since boot, if there is no snapshot from before)."""
    before, after = (
        snapshot_values(connection, capture_id, moment, "vmstat", [counter]) for moment in ("before", "after")
    )
    return after.get(counter, 0) - before.get(counter, 0)


def _vmalloc(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> int:
    """Pages of vmalloc afterwards: VmallocUsed of /proc/meminfo, which counts KiB."""
    values = snapshot_values(connection, capture["capture_id"], "after", "meminfo", ["VmallocUsed"])
    return sum(values.values()) * 1024 // int(capture["page_size"] or ASSUMED_PAGE)


def _per_cpu(connection: duckdb.DuckDBPyConnection, capture_id: str) -> int:
    """Pages on all per-CPU lists afterwards."""
    rows = connection.execute(
        "SELECT value FROM pageset WHERE capture_id = ? AND moment = 'after' AND name = 'count'", [capture_id]
    )
    return sum(value for (value,) in rows.fetchall())
