"""Who owns a page: a free inherits the class of the allocation of its page.

The page, not the stack of the free, shows what is freed: tables are freed in batches from RCU callbacks, in pieces, or
by another CPU (mm/mmu_gather.c:tlb_remove_table, mm/swap_state.c:free_pages_and_swap_cache). State is one uint16 per
page, in chunks: memory grows with the pages touched, not with the highest page number.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.trace import MAX_ORDER, MAX_PFN
from ptpool.compiled import compiled
from ptpool.vocabulary import (
    CONSUMERS,
    KIND_ALLOC,
    KIND_ALLOC_FAILED,
    KIND_FREE,
    KPF_BUDDY,
    KPF_LRU,
    KPF_PGTABLE,
    LEVELS,
    MOVABLE,
    ROLES,
)

NO_CLASS = 0

_CHUNK_SHIFT = 15
_CHUNK = 1 << _CHUNK_SHIFT
_CLASS = 0xFF  # class of the live owner; 0: free or never seen
_HEAD_SHIFT = 8  # order + 1 on the first page of a live block
_HEAD = 0x3F << _HEAD_SHIFT
_SNAPSHOT = 1 << 14  # alive before the recording, by /proc/kpageflags
_FREED = 1 << 15  # freed before, not allocated since

(EXACT, SUB_RANGE, COVERING, UNKNOWN, DUPLICATE, OVER_LIVE, FROM_SNAPSHOT) = range(7)
OUTCOMES = (
    "frees_exact",
    "frees_of_part",
    "frees_of_several",
    "frees_unknown",
    "frees_twice",
    "allocs_over_live",
    "frees_from_snapshot",
)


def class_code(consumer: str, level: str | None, role: str | None) -> int:
    """Consumer, level and role as one number from 1 to 216."""
    level_code = len(LEVELS) if level is None else LEVELS.index(level)
    role_code = len(ROLES) if role is None else ROLES.index(role)
    return 1 + (CONSUMERS.index(consumer) * (len(LEVELS) + 1) + level_code) * (len(ROLES) + 1) + role_code


def class_names() -> list[tuple[str | None, str | None, str | None]]:
    """Consumer, level and role by class code; code 0: unknown."""
    names: list[tuple[str | None, str | None, str | None]] = [(None, None, None)]
    names += [(consumer, level, role) for consumer in CONSUMERS for level in (*LEVELS, None) for role in (*ROLES, None)]
    return names


_TABLE_CODES = np.array([consumer in ("pgtable_user", "pgtable_kernel") for consumer, _, _ in class_names()])


def roll_forward(page_flags: NDArray[np.uint64], rows: NDArray[np.void], classes: NDArray[np.uint8]) -> None:
    """Bring the page flags of a snapshot, by pfn, forward over events; pages beyond the snapshot are left out.

    An allocation makes its pages page tables, LRU where movable, or neither; a free makes them free.
    """
    flags = np.where(rows["migratetype"] == MOVABLE, 1 << KPF_LRU, 0).astype(np.uint64)
    flags[_TABLE_CODES[classes]] = 1 << KPF_PGTABLE
    flags[rows["kind"] == KIND_FREE] = 1 << KPF_BUDDY
    _roll_forward(page_flags, rows, flags)


class PageOwners:
    """The live owner of every page seen."""

    def __init__(self) -> None:
        self.directory = np.zeros((MAX_PFN >> _CHUNK_SHIFT) + 1, np.int32)  # untouched parts cost no memory
        self.states = np.zeros(_CHUNK, np.uint16)  # chunk 0 stays empty: pages never seen
        self.outcomes = np.zeros(len(OUTCOMES), np.int64)
        self._chunks = 1

    def _provide(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
        self._chunks = _number(self.directory, first, last, self._chunks)
        if self._chunks * _CHUNK > len(self.states):
            grown = np.zeros(max(self._chunks * _CHUNK, 2 * len(self.states)), np.uint16)
            grown[: len(self.states)] = self.states
            self.states = grown

    def seed(self, first: NDArray[np.int64], last: NDArray[np.int64], code: int) -> None:
        """Enter single pages [first, last] as alive before the recording."""
        if len(first):
            self._provide(first, last)
            _seed(self.directory, self.states, first, last, code)

    def follow(self, rows: NDArray[np.void], classes: NDArray[np.uint8], since: int, until: int) -> NDArray[np.uint8]:
        """Follow a batch of events.

        Args:
            rows: events in order (ingest.trace.ROW).
            classes: class of each event by its stack, used for allocations.
            since: events before this time (ns) are followed but not counted.
            until: so are events after this one.

        Returns:
            The class of each event: an allocation's own, a free's by its page, 0 for other kinds.
        """
        touching = (rows["kind"] == KIND_ALLOC) | (rows["kind"] == KIND_FREE)
        first = rows["pfn"][touching]
        self._provide(first, first + (1 << rows["order"][touching].astype(np.int64)) - 1)
        found = np.zeros(len(rows), np.uint8)
        _follow(rows, classes, found, self.directory, self.states, self.outcomes, since, until)
        return found


@compiled
def _slot(directory: Any, pfn: int) -> Any:
    return (np.int64(directory[pfn >> _CHUNK_SHIFT]) << _CHUNK_SHIFT) + (pfn & (_CHUNK - 1))


@compiled
def _number(directory: Any, first: Any, last: Any, chunks: int) -> int:
    """Number the chunks that have no number yet; returns how many there are then."""
    for run in range(first.shape[0]):
        for chunk in range(first[run] >> _CHUNK_SHIFT, (last[run] >> _CHUNK_SHIFT) + 1):
            if directory[chunk] == 0:
                directory[chunk] = chunks
                chunks += 1
    return chunks


@compiled
def _roll_forward(page_flags: Any, rows: Any, flags: Any) -> None:
    for row in range(rows.shape[0]):
        if rows[row].kind in (KIND_ALLOC, KIND_FREE):
            first = rows[row].pfn
            for pfn in range(first, min(first + (1 << np.int64(rows[row].order)), page_flags.shape[0])):
                page_flags[pfn] = flags[row]


@compiled
def _seed(directory: Any, states: Any, first: Any, last: Any, code: int) -> None:
    for run in range(first.shape[0]):
        for pfn in range(first[run], last[run] + 1):
            states[_slot(directory, pfn)] = code | (1 << _HEAD_SHIFT) | _SNAPSHOT


@compiled
def _follow(
    rows: Any, classes: Any, found: Any, directory: Any, states: Any, outcomes: Any, since: int, until: int
) -> None:
    for row in range(rows.shape[0]):
        kind = rows[row].kind
        one = 1 if since <= rows[row].ts <= until else 0
        if kind == KIND_ALLOC_FAILED:
            found[row] = classes[row]
        elif kind == KIND_ALLOC:
            found[row] = classes[row]
            order = np.int64(rows[row].order)
            first = rows[row].pfn
            live = 0
            for pfn in range(first, first + (1 << order)):
                slot = _slot(directory, pfn)
                live += (states[slot] & _CLASS) != 0 and (states[slot] & _SNAPSHOT) == 0  # seen later than it
                states[slot] = classes[row]
            states[_slot(directory, first)] |= (order + 1) << _HEAD_SHIFT
            if live:
                outcomes[OVER_LIVE] += one
        elif kind == KIND_FREE:
            found[row], outcome = _free(directory, states, rows[row].pfn, np.int64(rows[row].order))
            outcomes[outcome] += one
            if outcome == DUPLICATE:  # also unknown
                outcomes[UNKNOWN] += one


@compiled
def _free(directory: Any, states: Any, first: int, order: int) -> tuple[int, int]:
    """Free a block; returns the class of its (first known) owner, and the outcome."""
    head: Any = np.int64(states[_slot(directory, first)])
    pages = 1 << order
    live, heads, known_before, before = 0, 0, 0, 0
    owner: Any = NO_CLASS
    for pfn in range(first, first + pages):
        slot = _slot(directory, pfn)
        state = np.int64(states[slot])
        if state & _CLASS:
            live += 1
            heads += (state & _HEAD) != 0
            known_before += (state & _SNAPSHOT) != 0
            if owner == NO_CLASS:
                owner = state & _CLASS
        elif state & _FREED:
            before += 1
        states[slot] = _FREED
    if live == 0:
        return NO_CLASS, DUPLICATE if before else UNKNOWN
    if known_before == pages:
        return owner, FROM_SNAPSHOT
    if live == pages and heads == 1 and head & _HEAD == (order + 1) << _HEAD_SHIFT:
        return owner, EXACT
    if live == pages and (heads == 0 or (heads == 1 and head & _HEAD > (order + 1) << _HEAD_SHIFT)):
        for larger in range(order + 1, MAX_ORDER + 1):  # the rest of the larger block is not a whole block any more
            slot = _slot(directory, (first >> larger) << larger)
            if states[slot] & _HEAD == (larger + 1) << _HEAD_SHIFT:
                states[slot] &= ~_HEAD & 0xFFFF
        return owner, SUB_RANGE
    return owner, COVERING
