"""Buddy lists: merge, split, and choose the list by the type of the pageblock (mm/page_alloc.c, 6.12.95)."""

import numpy as np

from ptpool.compiled import compiled
from ptpool.vocabulary import CMA, HIGHATOMIC, ISOLATE
from replay.kernel import mmzone as mm
from replay.kernel.lists import list_add, list_add_tail, list_del, list_first
from replay.kernel.mmzone import block_type_of, free_list, mark


@compiled
def account_freepages(a, zone, pages, migratetype):
    """Isolated pages do not count as free."""
    if migratetype == ISOLATE:
        return
    a.free_pages[zone] += pages
    if migratetype == CMA:
        a.zone_state[zone, mm.FREE_CMA] += pages
    elif migratetype == HIGHATOMIC:
        a.zone_state[zone, mm.FREE_HIGHATOMIC] += pages


@compiled
def add_to_free_list(a, zone, pfn, order, migratetype, to_tail):
    """__add_to_free_list(): put a free block of this order on its list; not accounted."""
    if to_tail:
        list_add_tail(a.link, free_list(a, zone, order, migratetype), pfn)
    else:
        list_add(a.link, free_list(a, zone, order, migratetype), pfn)
    a.order[pfn] = order
    a.nr_free[zone, order] += 1


@compiled
def del_from_free_list(a, zone, pfn, order):
    """__del_page_from_free_list(): from any list; not accounted."""
    list_del(a.link, pfn)
    a.order[pfn] = -1
    a.nr_free[zone, order] -= 1


@compiled
def change_pageblock_range(a, pfn, order, migratetype):
    """Set the type of all pageblocks in a block of at least their size."""
    for block in range(pfn >> a.pageblock_order, (pfn + (1 << order)) >> a.pageblock_order):
        a.block_type[block] = migratetype


@compiled
def free_block(a, zone, pfn, order, migratetype):
    """__free_one_page(): merge with free buddies and place the result. `order` is at most pageblock_order."""
    account_freepages(a, zone, 1 << order, migratetype)
    mark(a, pfn, order, mm.FREE)
    first, last = a.zones[zone, mm.FIRST_PFN], a.zones[zone, mm.LAST_PFN]
    while order < a.max_order:
        buddy = pfn ^ (1 << order)
        if buddy < first or buddy + (1 << order) - 1 > last or a.order[buddy] != order:
            break
        if order >= a.pageblock_order:
            buddy_type = block_type_of(a, buddy)
            if buddy_type != migratetype:
                if buddy_type >= mm.PCPTYPES or migratetype >= mm.PCPTYPES:
                    break
                if a.features.fallback != mm.MOVE_BLOCK:
                    change_pageblock_range(a, buddy, order, migratetype)
        del_from_free_list(a, zone, buddy, order)
        pfn &= buddy
        order += 1
    to_tail = False
    if order < a.max_order - 1:  # buddy_merge_likely()
        uncle = (pfn & ~(1 << order)) ^ (2 << order)
        to_tail = first <= uncle and uncle + (2 << order) - 1 <= last and a.order[uncle] == order + 1
    add_to_free_list(a, zone, pfn, order, migratetype, to_tail)


@compiled
def free_one_page(a, zone, pfn, order):
    """Free a block; one larger than a pageblock in pieces, each of its own type (split_large_buddy())."""
    piece = min(order, a.pageblock_order)
    for base in range(pfn, pfn + (1 << order), 1 << piece):
        free_block(a, zone, base, piece, block_type_of(a, base))


@compiled
def expand(a, zone, pfn, low, high, migratetype):
    """Keep the lowest 2^low pages of a block, and put the upper halves at the head of their lists."""
    while high > low:
        high -= 1
        add_to_free_list(a, zone, pfn + (1 << high), high, migratetype, False)


@compiled
def page_del_and_expand(a, zone, pfn, low, high, migratetype):
    """Take 2^low pages from a free block of order `high`; the rest goes to lists of this type."""
    del_from_free_list(a, zone, pfn, high)
    expand(a, zone, pfn, low, high, migratetype)
    account_freepages(a, zone, -(1 << low), migratetype)


@compiled
def rmqueue_smallest(a, zone, order, migratetype):
    """__rmqueue_smallest(): first page of the block, -1 when no block is large enough."""
    for current in range(order, a.max_order + 1):
        pfn = list_first(a.link, free_list(a, zone, current, migratetype))
        if pfn >= 0:
            page_del_and_expand(a, zone, pfn, order, current, migratetype)
            return pfn
    return np.int64(-1)


@compiled
def move_freepages_block(a, zone, pfn, from_type, to_type):
    """__move_freepages_block(): move the free blocks of a pageblock to the tails of other lists, in ascending order."""
    first = pfn >> a.pageblock_order << a.pageblock_order
    page = first
    while page < first + (1 << a.pageblock_order):
        order = np.int64(a.order[page])
        if order < 0:
            page += 1
            continue
        list_del(a.link, page)
        list_add_tail(a.link, free_list(a, zone, order, to_type), page)
        account_freepages(a, zone, -(1 << order), from_type)
        account_freepages(a, zone, 1 << order, to_type)
        page += 1 << order


@compiled
def spans_pageblock(a, zone, pfn):
    """prep_move_freepages_block(): False for a pageblock that reaches into another zone."""
    first = pfn >> a.pageblock_order << a.pageblock_order
    last = first + (1 << a.pageblock_order) - 1
    return a.zones[zone, mm.FIRST_PFN] <= first and last <= a.zones[zone, mm.LAST_PFN]


@compiled
def build_free_lists(a, free):
    """Fill empty lists from a map of free pages (P,), as at boot: largest aligned blocks, ascending addresses.

    The types of the pageblocks have to be set.
    """
    for zone in range(len(a.zones)):
        pfn, last = a.zones[zone, mm.FIRST_PFN], a.zones[zone, mm.LAST_PFN]
        while pfn <= last:
            if not free[pfn]:
                pfn += 1
                continue
            migratetype = block_type_of(a, pfn)
            order = np.int64(0)
            while order < a.max_order:
                size = 1 << order
                if pfn & size or pfn + 2 * size - 1 > last:
                    break
                whole = block_type_of(a, pfn + size) == migratetype
                for page in range(pfn + size, pfn + 2 * size):
                    whole = whole and free[page]
                    if not whole:
                        break
                if not whole:
                    break
                order += 1
            mark(a, pfn, order, mm.FREE)
            add_to_free_list(a, zone, pfn, order, migratetype, True)
            account_freepages(a, zone, 1 << order, migratetype)
            pfn += 1 << order
