"""What the recorded kernel did without an event: pages that compaction moved, and pages allocated in bulk.

Compaction takes its target pages off the buddy lists without an event (compaction_alloc()), and alloc_pages_bulk() has
none either (mm/compaction.c, mm/page_alloc.c, 6.12). Both show only as a page that is freed without having been
allocated. A replay must free pages that it has, so these frees are resolved here:

- a page that compaction migrates away (recognised by the stack of its free, or by kcompactd) is a move, not a free: the
  data stays where the replay put it, under another name, and a later free without an allocation takes one such page;
- any other single page freed while it was known to be free was allocated unseen: an allocation is put halfway between
  the page's last event and its free;
- a larger block freed while all of it was known to be free was isolated by compaction and given back: left out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled

KEEP, LEAVE_OUT, MOVED, SEEN_LATE = range(4)
"""What becomes of an event. SEEN_LATE: a free whose allocation has to be put in."""

_USED, _FREE = 0, 1


class Resolved(NamedTuple):
    """What becomes of each of ``N`` events."""

    fate: NDArray[np.uint8]
    """KEEP, LEAVE_OUT, MOVED or SEEN_LATE."""
    name: NDArray[np.int64]
    """MOVED: the new name of the page, above all recorded pages. Free of a moved page: its name; else -1."""
    since: NDArray[np.int64]
    """SEEN_LATE: the page's last event before, -1 when it has none."""


def resolve(
    is_free: NDArray[np.bool_],
    pfn: NDArray[np.int64],
    order: NDArray[np.int8],
    by_compaction: NDArray[np.bool_],
    free_at_start: NDArray[np.bool_],
) -> Resolved:
    """Find out what happened without an event.

    Args:
        is_free: (N,) whether the event frees.
        pfn: (N,) first page.
        order: (N,) log2 of the pages.
        by_compaction: (N,) whether compaction did it.
        free_at_start: (P,) pages known to have been free before the first event; P bounds every event's pages.
    """
    events = len(is_free)
    resolved = Resolved(np.zeros(events, np.uint8), np.full(events, -1, np.int64), np.full(events, -1, np.int64))
    last = np.full(len(free_at_start), -1, np.int64)
    moves = np.zeros(int(by_compaction.sum()), np.int64)
    _resolve(is_free, pfn, order, by_compaction, free_at_start.astype(np.uint8), last, moves, *resolved)
    return resolved


@compiled
def _resolve(is_free, pfn, order, by_compaction, state, last, moves, fate, name, since):
    """Follow every page through the trace; pages that were moved wait in that order, their names in `moves`."""
    moved = given = np.int64(0)
    for i in range(len(is_free)):
        first, pages = pfn[i], 1 << np.int64(order[i])
        if is_free[i]:
            free = 0
            for page in range(first, first + pages):
                free += state[page] == _FREE
            if by_compaction[i] and free == 0 and pages == 1:
                fate[i] = MOVED
                name[i] = len(state) + moved
                moves[moved] = name[i]
                moved += 1
            elif free == pages:
                if by_compaction[i] or pages > 1:
                    fate[i] = LEAVE_OUT
                elif given < moved:
                    name[i] = moves[given]
                    given += 1
                else:
                    fate[i] = SEEN_LATE
                    since[i] = last[first]
        for page in range(first, first + pages):
            state[page] = _FREE if is_free[i] else _USED
            last[page] = i
