"""Where a page comes from when the lists of its own type are empty: three generations of fallback, and the reserves.

CLAIM_STEAL: take over a pageblock, largest block first; else steal a page, smallest block first. A bulk refill
remembers which of these worked. mm/page_alloc.c:__rmqueue() with `enum rmqueue_mode`, __rmqueue_claim() and
__rmqueue_steal(); in 6.15, and in the 6.12.95 of Debian (there try_to_steal_block(), later try_to_claim_block()).
STEAL_SUITABLE: one attempt, at the largest block; a block that cannot be claimed is split, and the rest stays on lists
of the pageblock's type. __rmqueue_fallback() and steal_suitable_fallback() from 6.10 to early 6.12.
MOVE_BLOCK: the same attempt, but free pages of the pageblock change lists even if its type does not. The list of a free
block may then differ from the type of its pageblock. The same functions up to 6.9 (read in 6.1.176).
"""

import numpy as np

from ptpool.compiled import compiled, compiled_apart
from ptpool.vocabulary import CMA, HIGHATOMIC, MOVABLE, RECLAIMABLE, UNMOVABLE
from replay.kernel import buddy
from replay.kernel import mmzone as mm
from replay.kernel.lists import NEXT, list_add_tail, list_del, list_first
from replay.kernel.mmzone import block_type_of, free_list
from replay.kernel.watermark import ALLOC_CMA, ALLOC_NOFRAGMENT, boost_watermark

FALLBACKS = np.array([[RECLAIMABLE, MOVABLE], [RECLAIMABLE, UNMOVABLE], [UNMOVABLE, MOVABLE]], np.int64)
"""Types that requests of each type fall back to (mm/page_alloc.c:fallbacks)."""

NORMAL, FROM_CMA, CLAIM, STEAL = range(4)
"""enum rmqueue_mode: where the search starts; kept during a bulk refill."""

SPB_SCAN_LIMIT = 8
"""Blocks of a list that are looked at for a tainted superpageblock ("mm: reliable 1GB page allocation", RFC, 11/40)."""


@compiled
def _find_fallback(a, zone, order, migratetype):
    """find_suitable_fallback(): head of the first fallback type's list at this order, -1 if all are empty."""
    for place in range(2):
        pfn = list_first(a.link, free_list(a, zone, order, FALLBACKS[migratetype, place]))
        if pfn >= 0:
            return pfn
    return np.int64(-1)


@compiled
def _may_claim(a, order, migratetype):
    """should_try_claim_block(), before can_steal_fallback()."""
    return order >= a.pageblock_order // 2 or migratetype != MOVABLE


@compiled
def _enough_alike(a, pfn, migratetype):
    """Whether half of a pageblock is free or of our type: pages of MOVABLE requests count as movable (LRU)."""
    first = pfn >> a.pageblock_order << a.pageblock_order
    size = 1 << a.pageblock_order
    free = movable = 0
    for page in range(first, first + size):
        free += a.kind[page] == mm.FREE
        movable += a.kind[page] == mm.USED + MOVABLE
    alike = 0
    if migratetype == MOVABLE:
        alike = movable
    elif block_type_of(a, pfn) == MOVABLE:
        alike = size - free - movable
    return free + alike >= size // 2


@compiled
def _claim(a, zone, pfn, current, order, migratetype):
    """try_to_claim_block(), after the boost: take the pageblock over if half of it is free or of our type, else -1."""
    from_type = block_type_of(a, pfn)
    if current >= a.pageblock_order:
        buddy.del_from_free_list(a, zone, pfn, current)
        buddy.account_freepages(a, zone, -(1 << order), from_type)
        buddy.change_pageblock_range(a, pfn, current, migratetype)
        buddy.expand(a, zone, pfn, order, current, migratetype)
        return pfn
    if not buddy.spans_pageblock(a, zone, pfn) or not _enough_alike(a, pfn, migratetype):
        return np.int64(-1)
    buddy.move_freepages_block(a, zone, pfn, from_type, migratetype)
    a.block_type[pfn >> a.pageblock_order] = migratetype
    return buddy.rmqueue_smallest(a, zone, order, migratetype)


@compiled_apart
def _steal(a, zone, order, migratetype):
    """__rmqueue_steal(): the smallest block that is large enough; the rest stays on the lists it came from."""
    for current in range(order, a.max_order + 1):
        pfn = _find_fallback(a, zone, current, migratetype)
        if pfn >= 0:
            buddy.page_del_and_expand(a, zone, pfn, order, current, block_type_of(a, pfn))
            return pfn
    return np.int64(-1)


@compiled
def _tainted(a, pfn):
    """Whether the superpageblock of a page has pageblocks that are neither movable nor CMA's."""
    order = a.features.superpageblock_order
    first = pfn >> order << (order - a.pageblock_order)
    for block in range(first, min(first + (1 << (order - a.pageblock_order)), len(a.block_type))):
        if a.block_type[block] in (UNMOVABLE, RECLAIMABLE, HIGHATOMIC):
            return True
    return False


@compiled
def _near_others(a, pfn):
    """The first block of a list, from its head `pfn` on, whose superpageblock is tainted; the head if none is near."""
    page = pfn
    for _ in range(SPB_SCAN_LIMIT):
        if page >= len(a.kind):  # the list's head again
            break
        if _tainted(a, page):
            return page
        page = np.int64(a.link[page, NEXT])
    return pfn


@compiled_apart
def _claim_largest(a, zone, order, lowest, migratetype, flags):
    """__rmqueue_claim(): try the pageblock of each order's first fallback block, largest first."""
    for current in range(a.max_order, lowest - 1, -1):
        pfn = _find_fallback(a, zone, current, migratetype)
        if pfn < 0:
            continue
        if not _may_claim(a, current, migratetype):
            break
        if a.features.superpageblock_order and migratetype != MOVABLE:
            pfn = _near_others(a, pfn)
        if current < a.pageblock_order:
            boost_watermark(a, zone, flags)
        pfn = _claim(a, zone, pfn, current, order, migratetype)
        if pfn >= 0:
            return pfn
    return np.int64(-1)


@compiled_apart
def _steal_suitable(a, zone, order, lowest, migratetype, flags):
    """__rmqueue_fallback() and steal_suitable_fallback() of STEAL_SUITABLE and MOVE_BLOCK."""
    pfn, current = np.int64(-1), a.max_order
    while current >= lowest:
        pfn = _find_fallback(a, zone, current, migratetype)
        if pfn >= 0:
            break
        current -= 1
    if pfn < 0:
        return pfn
    whole_block = _may_claim(a, current, migratetype)
    if not whole_block and current > order:  # find_smallest
        current = order
        pfn = _find_fallback(a, zone, current, migratetype)
        while pfn < 0:
            current += 1
            pfn = _find_fallback(a, zone, current, migratetype)
    if current < a.pageblock_order:
        boost_watermark(a, zone, flags)
    if a.features.fallback == mm.MOVE_BLOCK:
        return _move_block(a, zone, pfn, current, order, migratetype, whole_block)
    if whole_block:
        claimed = _claim(a, zone, pfn, current, order, migratetype)
        if claimed >= 0:
            return claimed
    buddy.page_del_and_expand(a, zone, pfn, order, current, block_type_of(a, pfn))
    return pfn


@compiled
def _move_block(a, zone, pfn, current, order, migratetype, whole_block):
    """steal_suitable_fallback() up to 6.9: move the block, or all free blocks near it, to our lists and look again."""
    from_type = block_type_of(a, pfn)
    if whole_block and current < a.pageblock_order and buddy.spans_pageblock(a, zone, pfn):
        alike = _enough_alike(a, pfn, migratetype)
        buddy.move_freepages_block(a, zone, pfn, from_type, migratetype)
        if alike:
            a.block_type[pfn >> a.pageblock_order] = migratetype
    else:
        if current >= a.pageblock_order:
            buddy.change_pageblock_range(a, pfn, current, migratetype)
        list_del(a.link, pfn)
        list_add_tail(a.link, free_list(a, zone, current, migratetype), pfn)
    return buddy.rmqueue_smallest(a, zone, order, migratetype)


@compiled_apart
def rmqueue_any(a, zone, order, migratetype, flags, mode):
    """__rmqueue(): smallest fit of our type, else CMA for movable pages, else pageblocks of other types.

    Of `flags`, ALLOC_CMA, ALLOC_NOFRAGMENT and ALLOC_KSWAPD count. `mode` says where to start: NORMAL, or what the last
    call of a bulk refill returned.

    Returns:
        First page frame number or -1, and the mode for the next call.
    """
    cma = flags & ALLOC_CMA
    if cma and a.zone_state[zone, mm.FREE_CMA] > a.free_pages[zone] // 2:
        pfn = buddy.rmqueue_smallest(a, zone, order, CMA)
        if pfn >= 0:
            return pfn, mode
    if mode == NORMAL:
        pfn = buddy.rmqueue_smallest(a, zone, order, migratetype)
        if pfn >= 0:
            return pfn, mode
    if cma and mode <= FROM_CMA:
        pfn = buddy.rmqueue_smallest(a, zone, order, CMA)
        if pfn >= 0:
            return pfn, np.int64(FROM_CMA if a.features.fallback == mm.CLAIM_STEAL else NORMAL)
    lowest = max(order, a.pageblock_order) if flags & ALLOC_NOFRAGMENT else order
    if a.features.fallback != mm.CLAIM_STEAL:
        pfn = _steal_suitable(a, zone, order, lowest, migratetype, flags)
        a.counts[mm.EXTFRAG] += pfn >= 0
        return pfn, np.int64(NORMAL)
    if mode <= CLAIM:
        pfn = _claim_largest(a, zone, order, lowest, migratetype, flags)
        if pfn >= 0:
            a.counts[mm.EXTFRAG] += 1
            return pfn, np.int64(NORMAL)
    if not flags & ALLOC_NOFRAGMENT:
        pfn = _steal(a, zone, order, migratetype)
        if pfn >= 0:
            a.counts[mm.EXTFRAG] += 1
            return pfn, np.int64(STEAL)
    return np.int64(-1), mode


@compiled_apart
def reserve_highatomic(a, zone, pfn, order):
    """reserve_highatomic_pageblock(): keep the pageblock for such requests; at most 1 % of the zone."""
    size = 1 << a.pageblock_order
    state = a.zone_state[zone]
    one_percent = state[mm.MANAGED] // 100
    if one_percent < size or state[mm.RESERVED_HIGHATOMIC] >= (one_percent + size - 1) // size * size:
        return
    from_type = block_type_of(a, pfn)
    if from_type >= mm.PCPTYPES:
        return
    if order >= a.pageblock_order:
        buddy.change_pageblock_range(a, pfn, order, HIGHATOMIC)
        state[mm.RESERVED_HIGHATOMIC] += 1 << order
    elif buddy.spans_pageblock(a, zone, pfn):
        buddy.move_freepages_block(a, zone, pfn, from_type, HIGHATOMIC)
        a.block_type[pfn >> a.pageblock_order] = HIGHATOMIC
        state[mm.RESERVED_HIGHATOMIC] += size


@compiled_apart
def unreserve_highatomic(a, migratetype, force):
    """unreserve_highatomic_pageblock(): give one reserved pageblock with free pages to the type of a failing request.

    Returns:
        Whether there was one. Each zone keeps one pageblock, unless forced.
    """
    size = 1 << a.pageblock_order
    for zone in range(len(a.zones) - 1, -1, -1):
        state = a.zone_state[zone]
        if not force and state[mm.RESERVED_HIGHATOMIC] <= size:
            continue
        for order in range(a.max_order + 1):
            pfn = list_first(a.link, free_list(a, zone, order, HIGHATOMIC))
            if pfn < 0:
                continue
            state[mm.RESERVED_HIGHATOMIC] -= min(max(size, 1 << order), state[mm.RESERVED_HIGHATOMIC])
            for piece in range(pfn, pfn + (1 << order), size):
                buddy.move_freepages_block(a, zone, piece, HIGHATOMIC, migratetype)
                a.block_type[piece >> a.pageblock_order] = migratetype
            return True
    return False
