"""Permission changes of the direct map by others (modules, BPF, drivers): as recorded, as guessed, or injected.

In a program they are events OUTSIDE_CHANGE: `context` is the place in `Demand.changes` of what is asked for, and `pfn`
says where (`Asked.place`). Secret memory is not among them: a replay makes its changes from its own allocations.
"""

from enum import IntEnum
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from replay.kernel.leaves import READ_ONLY, UNCACHED
from replay.kernel.set_memory_x86 import ENTRY_BITS

SELF_INFLICTED = ("secretmem_fault", "secretmem_free_folio")
"""Functions whose permission changes the replay makes itself, from the allocation they belong to (mm/secretmem.c)."""


class Place(IntEnum):
    """Where a change by others lies."""

    UNKNOWN = 0
    """Where the last unmovable allocation was placed: the trace only shows that a leaf was split."""
    RECORDED = 1
    """Where the recorded pages from `pfn` on are now; a page that has no name in the replay, at its recorded place."""
    DRAWN = 2
    """At the simulated page `pfn`."""


class Asked(NamedTuple):
    """What a change by others asks for: attributes of `replay.kernel.leaves` to set and to clear."""

    place: Place
    pages: int
    set_bits: int
    clear_bits: int


GUESS = Asked(Place.UNKNOWN, 1, READ_ONLY, 0)
"""For a table that split the recorded direct map, where no change was recorded that it belongs to."""


class RecordedChanges(NamedTuple):
    """``K`` recorded changes that are replayed, in order of time."""

    ts: NDArray[np.int64]
    cpu: NDArray[np.int16]
    pid: NDArray[np.int64]
    first: NDArray[np.int64]
    """First recorded page."""
    asked: NDArray[np.int64]
    """Place in `changes`."""
    changes: tuple[Asked, ...]
    """What is asked for, each once; the first is `GUESS`."""
    tasks: dict[int, int]
    """When the first change by each task was, those by secret memory included."""

    def explains(self, ts: NDArray[np.int64], pid: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether tables that split the direct map belong to recorded changes: their tasks had made one by then.

        The probe is at the beginning of the function that splits; its time is rounded to a microsecond.
        """
        since = np.array([self.tasks.get(int(task), 1 << 62) for task in pid], np.int64)
        return ts + _ROUNDING >= since


_ROUNDING = 1000

_CACHE = 1 << 3 | 1 << 4 | 1 << 7
"""_PAGE_CACHE_MASK: PWT, PCD, PAT."""


def recorded_changes(connection: duckdb.DuckDBPyConnection, capture_id: str) -> RecordedChanges:
    """The changes of the direct map that a kernel probe saw; those of no attribute that the model has are left out."""
    rows = connection.execute(
        """SELECT ts_ns, cpu, pid, first_pfn, pages, set_bits, clear_bits,
                  coalesce(list_has_any(frames, $self_inflicted), false) AS self_inflicted
           FROM permission_change LEFT JOIN stack USING (capture_id, stack_id)
           WHERE capture_id = $capture ORDER BY ts_ns, first_pfn""",
        {"self_inflicted": list(SELF_INFLICTED), "capture": capture_id},
    ).fetchall()
    changes: dict[Asked, int] = {GUESS: 0}
    tasks: dict[int, int] = {}
    kept = []
    for ts, cpu, pid, first, pages, set_bits, clear_bits, self_inflicted in rows:
        tasks.setdefault(pid, ts)
        wanted = Asked(Place.RECORDED, pages, *attributes(set_bits, clear_bits))
        if not self_inflicted and (wanted.set_bits or wanted.clear_bits):
            kept.append((ts, cpu, pid, first, changes.setdefault(wanted, len(changes))))
    ts, cpu, pid, first, asked = np.array(kept, np.int64).reshape(-1, 5).T
    return RecordedChanges(ts, cpu.astype(np.int16), pid, first, asked, tuple(changes), tasks)


def attributes(set_bits: int, clear_bits: int) -> tuple[int, int]:
    """Attributes to set and to clear, of bits of an x86 page-table entry that are set and cleared (set wins)."""
    clear_bits &= ~set_bits
    to_set = sum(attribute for bit, attribute in ENTRY_BITS if clear_bits & bit)
    to_clear = sum(attribute for bit, attribute in ENTRY_BITS if set_bits & bit)
    if set_bits & _CACHE:
        to_set |= UNCACHED
    elif clear_bits & _CACHE:
        to_clear |= UNCACHED
    return to_set, to_clear
