"""The page allocator: free lists, fallback and merging of mm/page_alloc.c, over flat arrays.

Modelled after Linux 6.18 (mm/page_alloc.c, names as there); the claim-then-steal fallback of 6.15 is also in late
6.12.y stable kernels. Not modelled yet: per-CPU lists, HIGHATOMIC and CMA reserves, watermark boost, compaction.
A free block always lies on the list of its pageblock's type (the rule since the freelist hygiene of 6.10).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.vocabulary import HIGHATOMIC, MIGRATETYPES, MOVABLE, RECLAIMABLE, UNMOVABLE
from replay.kernel.geometry import Geometry

TYPES = len(MIGRATETYPES)

# What a page is. The used kinds of the page allocator are USED + migratetype.
HOLE, FREE = 0, 1
USED = 2
POOL_IDLE, POOL_USED, SPLIT_TABLE = 8, 9, 10
TABLE_PLAIN, TABLE_KEYED = 11, 12

FALLBACKS = np.array(
    [[RECLAIMABLE, MOVABLE], [RECLAIMABLE, UNMOVABLE], [UNMOVABLE, MOVABLE]], dtype=np.int64
)  # mm/page_alloc.c:fallbacks

WMARK_MIN, WMARK_LOW = 0, 1

# Context of a request, packed from its GFP flags: zone class in the low two bits, then what it may do.
ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE = range(4)
MAY_RECLAIM, IS_HIGH, WAKES_KSWAPD = 4, 8, 16

EXTFRAG, KSWAPD = 0, 1  # places in PageAllocator.counts; KSWAPD + order counts wake-ups by order


class PageAllocator(NamedTuple):
    """Free lists and page states of one machine. Pages are indexed by page frame number.

    Shapes: ``P`` pages, ``B`` pageblocks, ``Z`` zones in ascending order of address, ``O`` orders, ``T`` types.
    """

    link: NDArray[np.int32]  # (P, 2) next and previous block on a list, -1 at its ends; also links the pool
    order: NDArray[np.int8]  # (P,) order of the free block that starts here, -1 elsewhere
    kind: NDArray[np.uint8]  # (P,) what the page is
    block_type: NDArray[np.uint8]  # (B,) migratetype of the pageblock
    ends: NDArray[np.int32]  # (Z*O*T, 2) head and tail of each free list, -1 when empty
    nr_free: NDArray[np.int64]  # (Z, O) free blocks of all types: free_area[].nr_free
    free_pages: NDArray[np.int64]  # (Z,) NR_FREE_PAGES
    zones: NDArray[np.int64]  # (Z, 3) first pfn, last pfn, zone class
    wmark: NDArray[np.int64]  # (Z, 2) min and low watermark
    lowmem_reserve: NDArray[np.int64]  # (Z, 4) pages kept from requests by the class they could have used
    counts: NDArray[np.int64]  # EXTFRAG, then KSWAPD by order
    pageblock_order: int
    max_order: int


def page_allocator(pages: int, zones: NDArray[np.int64], geometry: Geometry) -> PageAllocator:
    """An allocator whose pages are all holes, with watermarks of 0.

    Args:
        pages: page frame numbers run from 0 to this, exclusive.
        zones: (Z, 3) first pfn, last pfn, zone class, ascending.
        geometry: orders.
    """
    orders = geometry.max_order + 1
    return PageAllocator(
        link=np.full((pages, 2), -1, np.int32),
        order=np.full(pages, -1, np.int8),
        kind=np.zeros(pages, np.uint8),
        block_type=np.full((pages >> geometry.pageblock_order) + 1, MOVABLE, np.uint8),
        ends=np.full((len(zones) * orders * TYPES, 2), -1, np.int32),
        nr_free=np.zeros((len(zones), orders), np.int64),
        free_pages=np.zeros(len(zones), np.int64),
        zones=zones,
        wmark=np.zeros((len(zones), 2), np.int64),
        lowmem_reserve=np.zeros((len(zones), 4), np.int64),
        counts=np.zeros(KSWAPD + orders, np.int64),
        pageblock_order=geometry.pageblock_order,
        max_order=geometry.max_order,
    )


@compiled
def list_add(link, ends, slot, pfn):
    """Put `pfn` at the head of list `slot` (list_add)."""
    head = np.int64(ends[slot, 0])
    link[pfn, 0] = head
    link[pfn, 1] = -1
    if head >= 0:
        link[head, 1] = pfn
    else:
        ends[slot, 1] = pfn
    ends[slot, 0] = pfn


@compiled
def list_add_tail(link, ends, slot, pfn):
    """Put `pfn` at the tail of list `slot` (list_add_tail)."""
    tail = np.int64(ends[slot, 1])
    link[pfn, 1] = tail
    link[pfn, 0] = -1
    if tail >= 0:
        link[tail, 0] = pfn
    else:
        ends[slot, 0] = pfn
    ends[slot, 1] = pfn


@compiled
def list_del(link, ends, slot, pfn):
    """Take `pfn` off list `slot` (list_del)."""
    after, before = np.int64(link[pfn, 0]), np.int64(link[pfn, 1])
    if before >= 0:
        link[before, 0] = after
    else:
        ends[slot, 0] = after
    if after >= 0:
        link[after, 1] = before
    else:
        ends[slot, 1] = before


@compiled
def zone_of(a, pfn):
    """Index of the zone that holds a page, -1 outside all zones."""
    for zone in range(len(a.zones)):
        if a.zones[zone, 0] <= pfn <= a.zones[zone, 1]:
            return zone
    return -1


@compiled
def _slot(a, zone, order, migratetype):
    return (zone * (a.max_order + 1) + order) * TYPES + migratetype


@compiled
def _insert(a, zone, pfn, order, migratetype, to_tail):
    """__add_to_free_list(): the block becomes the head of a free block of this order."""
    slot = _slot(a, zone, order, migratetype)
    if to_tail:
        list_add_tail(a.link, a.ends, slot, pfn)
    else:
        list_add(a.link, a.ends, slot, pfn)
    a.order[pfn] = order
    a.nr_free[zone, order] += 1


@compiled
def _remove(a, zone, pfn, order, migratetype):
    """__del_page_from_free_list()."""
    list_del(a.link, a.ends, _slot(a, zone, order, migratetype), pfn)
    a.order[pfn] = -1
    a.nr_free[zone, order] -= 1


@compiled
def _free_one_page(a, zone, pfn, order):
    """__free_one_page(): merge with free buddies and place the result. `order` is at most pageblock_order."""
    migratetype = np.int64(a.block_type[pfn >> a.pageblock_order])
    first, last = a.zones[zone, 0], a.zones[zone, 1]
    while order < a.max_order:
        buddy = pfn ^ (1 << order)
        if buddy < first or buddy + (1 << order) - 1 > last or a.order[buddy] != order:
            break
        buddy_type = np.int64(a.block_type[buddy >> a.pageblock_order])
        if buddy_type != migratetype and (migratetype >= HIGHATOMIC or buddy_type >= HIGHATOMIC):
            break
        _remove(a, zone, buddy, order, buddy_type)
        if buddy_type != migratetype:
            block = buddy >> a.pageblock_order
            for offset in range(1 << (order - a.pageblock_order)):
                a.block_type[block + offset] = migratetype
        pfn &= buddy
        order += 1
    to_tail = False
    if order < a.max_order - 1:  # buddy_merge_likely()
        uncle = (pfn & ~(1 << order)) ^ (2 << order)
        to_tail = first <= uncle and uncle + (2 << order) - 1 <= last and a.order[uncle] == order + 1
    _insert(a, zone, pfn, order, migratetype, to_tail)


@compiled
def free_pages(a, pfn, order):
    """__free_pages(): give 2^order pages back; blocks above pageblock_order go in pieces (split_large_buddy())."""
    zone = zone_of(a, pfn)
    pages = 1 << order
    for page in range(pfn, pfn + pages):
        a.kind[page] = FREE
    a.free_pages[zone] += pages
    piece = min(order, a.pageblock_order)
    for base in range(pfn, pfn + pages, 1 << piece):
        _free_one_page(a, zone, base, piece)


@compiled
def _expand(a, zone, pfn, low, high, migratetype):
    """expand(): keep the lower part of order `low`, put the upper halves at the head of their lists."""
    while high > low:
        high -= 1
        _insert(a, zone, pfn + (1 << high), high, migratetype, False)


@compiled
def _rmqueue_smallest(a, zone, order, migratetype):
    """__rmqueue_smallest()."""
    for current in range(order, a.max_order + 1):
        pfn = np.int64(a.ends[_slot(a, zone, current, migratetype), 0])
        if pfn >= 0:
            _remove(a, zone, pfn, current, migratetype)
            _expand(a, zone, pfn, order, current, migratetype)
            return pfn
    return -1


@compiled
def _fallback_block(a, zone, order, migratetype):
    """find_suitable_fallback(): head of the first fallback type's list at this order, -1 if all are empty."""
    for place in range(2):
        pfn = np.int64(a.ends[_slot(a, zone, order, FALLBACKS[migratetype, place]), 0])
        if pfn >= 0:
            return pfn
    return -1


@compiled
def _try_to_claim_block(a, zone, pfn, current, order, migratetype):
    """try_to_claim_block(): take the pageblock over if it is mostly free or of our kind; -1 if it is not."""
    block = pfn >> a.pageblock_order
    from_type = np.int64(a.block_type[block])
    if current >= a.pageblock_order:
        _remove(a, zone, pfn, current, from_type)
        for offset in range(1 << (current - a.pageblock_order)):
            a.block_type[block + offset] = migratetype
        _expand(a, zone, pfn, order, current, migratetype)
        return pfn
    first = block << a.pageblock_order
    last = first + (1 << a.pageblock_order) - 1
    if first < a.zones[zone, 0] or last > a.zones[zone, 1]:
        return -1
    free = movable = 0
    for page in range(first, last + 1):
        free += a.kind[page] == FREE
        movable += a.kind[page] == USED + MOVABLE
    if migratetype == MOVABLE:
        alike = movable
    elif from_type == MOVABLE:
        alike = (1 << a.pageblock_order) - free - movable
    else:
        alike = 0
    if free + alike < 1 << (a.pageblock_order - 1):
        return -1
    page = first
    while page <= last:  # move_freepages_block(): every free block of it to the tail of our lists
        size = np.int64(a.order[page])
        if size >= 0:
            _remove(a, zone, page, size, from_type)
            _insert(a, zone, page, size, migratetype, True)
            page += 1 << size
        else:
            page += 1
    a.block_type[block] = migratetype
    return _rmqueue_smallest(a, zone, order, migratetype)


@compiled
def _rmqueue(a, zone, order, migratetype, no_fragment):
    """__rmqueue(): smallest fit, else claim a pageblock (largest block first), else steal (smallest block first)."""
    pfn = _rmqueue_smallest(a, zone, order, migratetype)
    if pfn >= 0:
        return pfn
    lowest = max(order, a.pageblock_order) if no_fragment else order
    for current in range(a.max_order, lowest - 1, -1):
        if current < a.pageblock_order // 2 and migratetype == MOVABLE:  # should_try_claim_block()
            break
        block = _fallback_block(a, zone, current, migratetype)
        if block >= 0:
            pfn = _try_to_claim_block(a, zone, block, current, order, migratetype)
            if pfn >= 0:
                a.counts[EXTFRAG] += 1
                return pfn
    if no_fragment:
        return -1
    for current in range(order, a.max_order + 1):
        pfn = _fallback_block(a, zone, current, migratetype)
        if pfn >= 0:
            from_type = np.int64(a.block_type[pfn >> a.pageblock_order])
            _remove(a, zone, pfn, current, from_type)
            _expand(a, zone, pfn, order, current, from_type)
            a.counts[EXTFRAG] += 1
            return pfn
    return -1


@compiled
def _watermark_ok(a, zone, order, mark, context):
    """__zone_watermark_ok() without highatomic and CMA reserves."""
    limit = a.wmark[zone, mark]
    if mark == WMARK_MIN and context & IS_HIGH:  # ALLOC_MIN_RESERVE; ALLOC_NON_BLOCK where it may not reclaim
        limit -= limit // 2
        if not context & MAY_RECLAIM:
            limit -= limit // 4
    if a.free_pages[zone] - ((1 << order) - 1) <= limit + a.lowmem_reserve[zone, context & 3]:
        return False
    return a.nr_free[zone, order:].sum() > 0


@compiled
def _get_page_from_freelist(a, order, migratetype, context, mark, no_fragment):
    """get_page_from_freelist(): the highest zone that the request may use, then downward."""
    for zone in range(len(a.zones) - 1, -1, -1):
        if a.zones[zone, 2] > (context & 3) or not _watermark_ok(a, zone, order, mark, context):
            continue
        pfn = _rmqueue(a, zone, order, migratetype, no_fragment)
        if pfn >= 0:
            a.free_pages[zone] -= 1 << order
            for page in range(pfn, pfn + (1 << order)):
                a.kind[page] = USED + migratetype
            return pfn
    return -1


@compiled
def alloc_pages(a, order, migratetype, context):
    """__alloc_pages() up to the point where it would reclaim: low watermark, kswapd, min watermark.

    Args:
        a: PageAllocator.
        order: log2 of the pages wanted.
        migratetype: 0, 1 or 2.
        context: zone class, MAY_RECLAIM, IS_HIGH, WAKES_KSWAPD.

    Returns:
        First page frame number, -1 when the request would have to reclaim or fail.
    """
    top = len(a.zones) - 1
    prefers_normal = a.zones[top, 2] == ZONE_NORMAL and (context & 3) >= ZONE_NORMAL
    for attempt in range(3):
        if attempt == 0 and not (prefers_normal and top > 0):  # alloc_flags_nofragment()
            continue
        if attempt == 2 and context & WAKES_KSWAPD:
            a.counts[KSWAPD + order] += 1
        mark = WMARK_MIN if attempt == 2 else WMARK_LOW
        pfn = _get_page_from_freelist(a, order, migratetype, context, mark, attempt == 0)
        if pfn >= 0:
            return pfn
    return np.int64(-1)


@compiled
def alloc_pages_after_reclaim(a, order, migratetype, context):
    """get_page_from_freelist() at the min watermark, as the slow path tries it again after direct reclaim."""
    return _get_page_from_freelist(a, order, migratetype, context, WMARK_MIN, False)


@compiled
def requeue_free_block(a, pfn):
    """Move the free block that starts at `pfn` to the tail of its list."""
    zone, order = zone_of(a, pfn), np.int64(a.order[pfn])
    migratetype = np.int64(a.block_type[pfn >> a.pageblock_order])
    _remove(a, zone, pfn, order, migratetype)
    _insert(a, zone, pfn, order, migratetype, True)


@compiled
def build_free_lists(a, free):
    """Fill empty lists from a map of free pages, as at boot: largest aligned blocks, ascending addresses.

    Args:
        a: PageAllocator with block types set and no free block yet.
        free: (P,) bool, True where the page is free.
    """
    for zone in range(len(a.zones)):
        pfn, last = a.zones[zone, 0], a.zones[zone, 1]
        while pfn <= last:
            if not free[pfn]:
                pfn += 1
                continue
            order = 0
            while order < a.max_order:
                size = 1 << order
                if pfn & size or pfn + 2 * size - 1 > last:
                    break
                whole = a.block_type[(pfn + size) >> a.pageblock_order] == a.block_type[pfn >> a.pageblock_order]
                for page in range(pfn + size, pfn + 2 * size):
                    whole = whole and free[page]
                    if not whole:
                        break
                if not whole:
                    break
                order += 1
            for page in range(pfn, pfn + (1 << order)):
                a.kind[page] = FREE
            _insert(a, zone, pfn, order, np.int64(a.block_type[pfn >> a.pageblock_order]), True)
            a.free_pages[zone] += 1 << order
            pfn += 1 << order
