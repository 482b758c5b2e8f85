"""What the recorded kernel did without an event: pages that compaction moved, and pages allocated in bulk.

Compaction takes its target pages off the buddy lists without an event (compaction_alloc()), and alloc_pages_bulk() has
none either (mm/compaction.c, mm/page_alloc.c, 6.12). Both show only as a page that is freed without having been
allocated. A replay must free pages that it has, so these frees are resolved here:

- a page that compaction migrates away (recognised by the stack of its free, or by kcompactd) is a move, not a free: the
  data stays where the replay put it, under another name, and a later free without an allocation takes one such page;
- what a kworker frees is vmalloc's (kernel stacks, mostly): never moved, allocated in bulk;
- any other single page freed while it was known to be free was allocated unseen: an allocation is put halfway between
  the page's last event and its free, or earlier where the order of a per-CPU list shows that it was gone: the list
  hands out first what was freed last, so who gets an older page gets it after all younger ones;
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
    by_kworker: NDArray[np.bool_],
    free_at_start: NDArray[np.bool_],
) -> Resolved:
    """Find out what happened without an event.

    Args:
        is_free: (N,) whether the event frees.
        pfn: (N,) first page.
        order: (N,) log2 of the pages.
        by_compaction: (N,) whether compaction did it.
        by_kworker: (N,) whether a kworker did.
        free_at_start: (P,) pages known to have been free before the first event; P bounds every event's pages.
    """
    events = len(is_free)
    resolved = Resolved(np.zeros(events, np.uint8), np.full(events, -1, np.int64), np.full(events, -1, np.int64))
    last = np.full(len(free_at_start), -1, np.int64)
    moves = np.zeros(int(by_compaction.sum()), np.int64)
    _resolve(is_free, pfn, order, by_compaction, by_kworker, free_at_start.astype(np.uint8), last, moves, *resolved)
    return resolved


def gone_from_lists(
    is_free: NDArray[np.bool_],
    pfn: NDArray[np.int64],
    order: NDArray[np.int8],
    listed: NDArray[np.int64],
    since: NDArray[np.int64],
    late: NDArray[np.int64],
) -> NDArray[np.int64]:
    """When pages that were allocated unseen had left the per-CPU list that they were freed to, as its order shows.

    Args:
        is_free: (N,) whether the event frees.
        pfn: (N,) first page.
        order: (N,) log2 of the pages.
        listed: (N,) the list that a page comes from or goes to; -1: none.
        since: (L,) the free that put each page on a list; -1: there is none.
        late: (L,) the free that shows that it was allocated.

    Returns:
        (L,) the event that hands out an older page of the list; -1: there is none before `late`.
    """
    known = np.flatnonzero(since >= 0)
    waits = np.full(len(is_free), -1, np.int64)
    waits[since[known]] = known
    pages = int((pfn + (1 << order.astype(np.int64))).max(initial=0))
    last, below, gone = np.full(pages, -1, np.int64), np.full(len(late), -1, np.int64), np.full(len(late), -1, np.int64)
    top = np.full(int(listed.max(initial=-1)) + 1, -1, np.int64)
    _follow_lists(is_free, pfn, order, listed, waits, since, late, last, top, below, gone)
    return gone


@compiled
def _follow_lists(is_free, pfn, order, listed, waits, since, late, last, top, below, gone):
    """Pages that wait on a list, youngest at its `top`, are gone when an older one is handed out."""
    for i in range(len(is_free)):
        place = listed[i]
        if place >= 0 and is_free[i] and waits[i] >= 0:
            below[waits[i]], top[place] = top[place], waits[i]
        elif place >= 0 and not is_free[i]:
            while top[place] >= 0 and since[top[place]] > last[pfn[i]]:
                if late[top[place]] > i:
                    gone[top[place]] = i
                top[place] = below[top[place]]
        for page in range(pfn[i], pfn[i] + (1 << np.int64(order[i]))):
            last[page] = i


@compiled
def _resolve(is_free, pfn, order, by_compaction, by_kworker, state, last, moves, fate, name, since):
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
                elif given < moved and not by_kworker[i]:
                    name[i] = moves[given]
                    given += 1
                else:
                    fate[i] = SEEN_LATE
                    since[i] = last[first]
        for page in range(first, first + pages):
            state[page] = _FREE if is_free[i] else _USED
            last[page] = i
