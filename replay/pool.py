"""The pool of keyed pages: one list, most recently used first, and the accounts of what it holds.

List discipline as in kpkeys v6 (mm/kpkeys_pgtable.c of the posted tree): `list_add`, take the first. Every proposal's
fast path is this mechanism with other parameters: hand out while more than the reserve is left, put back, keep the key.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from replay.kernel.lists import NEXT, list_add, list_del, list_first
from replay.kernel.mmzone import POOL_IDLE, POOL_USED, SPLIT_TABLE, PageAllocator

CACHED, HELD, STRANDED, HELD_PEAK, LOW, ASIDE = range(6)  # places in Pool.counts
"""Pages on the list; pages of the pool; cached pages of partly used blocks; most held; fewest cached since sampled;
pages set aside for tables of the direct map."""


class Pool(NamedTuple):
    """Pages that carry the key. Shapes: ``B`` pageblock-sized pieces of memory."""

    head: int  # of the list; the links are those of the page allocator
    counts: NDArray[np.int64]  # CACHED, HELD, STRANDED, HELD_PEAK, LOW, ASIDE
    idle: NDArray[np.int32]  # (B,) pages of the block on the list
    used: NDArray[np.int32]  # (B,) pages of the block handed out or spent as tables of the direct map
    whole: NDArray[np.bool_]  # (B,) the block came in one piece and none of it was given back
    block_shift: int


def empty_pool(allocator: PageAllocator) -> Pool:
    """A pool without pages for this machine."""
    blocks = len(allocator.block_type)
    return Pool(
        head=len(allocator.link) - 1,
        counts=np.zeros(6, np.int64),
        idle=np.zeros(blocks, np.int32),
        used=np.zeros(blocks, np.int32),
        whole=np.zeros(blocks, np.bool_),
        block_shift=allocator.pageblock_order,
    )


@compiled
def give(a, p, pfn, pages):
    """Add new pages to the pool, but for those spent as tables; the first of them becomes the head of the list."""
    spent = 0
    for page in range(pfn + pages - 1, pfn - 1, -1):
        block = page >> p.block_shift
        if a.kind[page] == SPLIT_TABLE:
            p.counts[STRANDED] += p.idle[block] if p.used[block] == 0 else 0
            p.used[block] += 1
            spent += 1
            continue
        list_add(a.link, p.head, page)
        a.kind[page] = POOL_IDLE
        p.idle[block] += 1
        p.counts[STRANDED] += p.used[block] > 0
    p.counts[CACHED] += pages - spent
    p.counts[HELD] += pages
    p.counts[HELD_PEAK] = max(p.counts[HELD_PEAK], p.counts[HELD])


@compiled
def remove(a, p, pfn):
    """Take an idle page out of the pool for good (a shrinker gives it back)."""
    list_del(a.link, pfn)
    block = pfn >> p.block_shift
    p.idle[block] -= 1
    p.counts[STRANDED] -= p.used[block] > 0
    p.counts[CACHED] -= 1
    p.counts[HELD] -= 1
    p.counts[LOW] = min(p.counts[LOW], p.counts[CACHED])


@compiled
def _hand_out(a, p, pfn, kind):
    list_del(a.link, pfn)
    a.kind[pfn] = kind
    block = pfn >> p.block_shift
    p.idle[block] -= 1
    if p.used[block] > 0:
        p.counts[STRANDED] -= 1
    else:
        p.counts[STRANDED] += p.idle[block]
    p.used[block] += 1
    p.counts[CACHED] -= 1
    p.counts[LOW] = min(p.counts[LOW], p.counts[CACHED])


@compiled
def take(a, p, order):
    """Hand out one page (order 0), or two adjacent ones, naturally aligned (order 1).

    Returns:
        First page frame number, -1 when the list has none that fits.
    """
    pfn = list_first(a.link, p.head)
    if order == 0:
        if pfn >= 0:
            _hand_out(a, p, pfn, POOL_USED)
        return pfn
    if pfn < 0:
        return pfn
    while a.kind[pfn ^ 1] != POOL_IDLE:
        pfn = np.int64(a.link[pfn, NEXT])
        if pfn == p.head:
            return np.int64(-1)
    pfn &= ~1
    _hand_out(a, p, pfn, POOL_USED)
    _hand_out(a, p, pfn + 1, POOL_USED)
    return pfn


@compiled
def take_split_table(a, p):
    """Spend the head of the list as a page table of the direct map. The list must not be empty."""
    pfn = list_first(a.link, p.head)
    _hand_out(a, p, pfn, SPLIT_TABLE)
    return pfn


@compiled
def put(a, p, pfn):
    """Take a page table back: head of the list, the key stays."""
    list_add(a.link, p.head, pfn)
    a.kind[pfn] = POOL_IDLE
    block = pfn >> p.block_shift
    p.used[block] -= 1
    if p.used[block] > 0:
        p.counts[STRANDED] += 1
    else:
        p.counts[STRANDED] -= p.idle[block]
    p.idle[block] += 1
    p.counts[CACHED] += 1
