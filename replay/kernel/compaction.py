"""Simple reclaim and compaction: movable pages are dropped (mm/vmscan.c) or moved away (mm/compaction.c, 6.12).

Only pages in use by MOVABLE requests are touched. `page_of` (names,) has the simulated page of each recorded one, or
-1; `name_of` (P,) is the reverse (`name_at`), and a name counts only if both agree. `hands` and `scanners` (Z,) say
where the next call starts in a zone.
"""

from typing import NamedTuple

import numpy as np

from ptpool.compiled import compiled, compiled_apart
from ptpool.vocabulary import CMA, MOVABLE, UNMOVABLE
from replay.kernel import mmzone as mm
from replay.kernel.buddy import account_freepages, del_from_free_list, free_one_page
from replay.kernel.mmzone import block_type_of, mark, zone_of
from replay.kernel.page_alloc import free_pages
from replay.kernel.watermark import ALLOC_CMA, above_mark

IN_USE = mm.USED + MOVABLE
SHARE_PARTS = 1 << 16
"""A share of 1: `shrink_zone` takes shares in parts of this."""

EXTFRAG_THRESHOLD = 500
"""sysctl_extfrag_threshold, mm/compaction.c."""


class Limits(NamedTuple):
    """How far one attempt at compaction goes."""

    movable: int
    """Movable pages in a block that is worth emptying, at most."""
    pageblocks: int
    """Pageblocks that the attempt looks at; 0: all."""
    same_type: bool
    """Look only at pageblocks of the request's type."""
    movable_targets: bool
    """Move pages only to pageblocks that are MOVABLE or CMA."""
    gap: int
    """Pages that must be free above the min watermark."""


@compiled
def name_at(name_of, page):
    """The name of what a page holds or held last, kept XOR the page: zeros say that each has its own number."""
    return np.int64(name_of[page]) ^ page


@compiled
def set_name(name_of, page, name):
    """Give the data on a page a name."""
    name_of[page] = name ^ page


@compiled
def stands_for(page_of, name_of, page):
    """The recorded page that a simulated page stands for, -1 for none."""
    name = name_at(name_of, page)
    return name if name < len(page_of) and page_of[name] == page else np.int64(-1)


@compiled
def _can_be_freed(name_of, page, share):
    """Whether a movable page is in the share that can be freed: drawn by its name, whether it still counts or not.

    Moving data in the model does not change the result; if it were drawn by address, compaction would make ever more
    of it reclaimable. A recorded move gives a new name, and so a new draw.
    """
    return (name_at(name_of, page) * 2654435761 & 0xFFFFFFFF) >> 16 < share


@compiled_apart
def shrink_zone(a, page_of, name_of, hands, cpu, zone, wanted, share):
    """Free movable pages one by one, going round the zone from where the last call stopped.

    The kernel takes the oldest pages of its LRU lists (shrink_lruvec()); a trace does not show which those are. A round
    that finds too few is not repeated until a movable page has come into use.

    The pages go to the per-CPU lists of `cpu`. `share`, in SHARE_PARTS, is how many of all pages can be freed at all,
    spread evenly over their names.

    Returns:
        Pages freed.
    """
    if share <= a.zone_state[zone, mm.BARREN]:
        return np.int64(0)
    first, last = a.zones[zone, mm.FIRST_PFN], a.zones[zone, mm.LAST_PFN]
    freed = np.int64(0)
    page = hands[zone]
    for _ in range(last - first + 1):
        if freed >= wanted:
            break
        if a.kind[page] == IN_USE and _can_be_freed(name_of, page, share):
            name = stands_for(page_of, name_of, page)
            if name >= 0:
                page_of[name] = -1
            free_pages(a, cpu, page, 0)
            freed += 1
        page = page + 1 if page < last else first
    hands[zone] = page
    if freed < wanted:
        a.zone_state[zone, mm.BARREN] = share
    return freed


@compiled
def _fragmentation_index(a, zone, order):
    """fragmentation_index() (mm/vmstat.c, 6.12): towards 0 memory is short, towards 1000 it is fragmented.

    -1000 where a block of 2^order pages is free.
    """
    blocks = pages = np.int64(0)
    for current in range(a.max_order + 1):
        if current >= order and a.nr_free[zone, current]:
            return np.int64(-1000)
        blocks += a.nr_free[zone, current]
        pages += a.nr_free[zone, current] << current
    return 1000 - (1000 + (pages * 1000 >> order)) // blocks if blocks else np.int64(0)


@compiled_apart
def compaction_ready(a, zone, order, zone_class):
    """Whether a zone need not be reclaimed for an order above PAGE_ALLOC_COSTLY_ORDER.

    A block is there, or so much free memory that compaction has what it needs: compaction_ready(), mm/vmscan.c, 6.12.
    """
    none, gap = np.int64(0), np.int64(2) << order
    if above_mark(a, zone, order, a.wmark[zone, mm.WMARK_MIN] + a.zone_state[zone, mm.BOOST], zone_class, none):
        return True
    low = a.wmark[zone, mm.WMARK_LOW] + a.zone_state[zone, mm.BOOST] + gap
    high = a.wmark[zone, mm.WMARK_HIGH] + a.zone_state[zone, mm.BOOST] + gap
    suitable = above_mark(a, zone, none, low, zone_class, np.int64(ALLOC_CMA))  # compaction_suitable()
    if not suitable or 0 <= _fragmentation_index(a, zone, order) <= EXTFRAG_THRESHOLD:
        return False
    return above_mark(a, zone, none, high, zone_class, none)


@compiled
def _movable_in(a, base, order):
    """Movable pages in a block; -1 if it holds anything else except free pages."""
    movable = np.int64(0)
    for page in range(base, base + (1 << order)):
        if a.kind[page] == IN_USE:
            movable += 1
        elif a.kind[page] != mm.FREE:
            return np.int64(-1)
    return movable


@compiled
def _next_free(a, zone, scan, base, order, movable_targets):
    """isolate_freepages(): the next free block below `scan`, smaller than `order` and not in ours; -1: none."""
    while scan >= a.zones[zone, mm.FIRST_PFN]:
        if scan >> order == base >> order:
            scan = base - 1
            continue
        if 0 <= a.order[scan] < order:
            block_type = block_type_of(a, scan)
            if block_type in (MOVABLE, CMA) or (block_type < mm.PCPTYPES and not movable_targets):
                return scan
        scan -= 1
    return np.int64(-1)


@compiled
def _empty(a, page_of, name_of, zone, base, order, movable_targets):
    """Move every page of a block to free pages, from the end of the zone downwards; False if those run out."""
    scan = a.zones[zone, mm.LAST_PFN] + 0
    target = end = np.int64(0)
    done = True
    for page in range(base, base + (1 << order)):
        if a.kind[page] != IN_USE:
            continue
        if target == end:
            scan = _next_free(a, zone, scan, base, order, movable_targets)
            if scan < 0:
                done = False
                break
            taken = np.int64(a.order[scan])
            del_from_free_list(a, zone, scan, taken)
            account_freepages(a, zone, -(1 << taken), block_type_of(a, scan))
            target, end = scan, scan + (1 << taken)
            scan -= 1
        name = stands_for(page_of, name_of, page)
        a.kind[target] = IN_USE
        a.zone_state[zone, mm.BARREN] = 0
        set_name(name_of, target, name_at(name_of, page))
        if name >= 0:
            page_of[name] = target
        target += 1
        free_one_page(a, zone, page, 0)
    for page in range(target, end):
        free_one_page(a, zone, page, 0)
    return done


@compiled_apart
def compact_zone(a, page_of, name_of, scanners, zone, order, migratetype, zone_class, limits):
    """Free one naturally aligned block of 2^order pages, all of which are movable or free.

    A block with anything else in it is skipped, as isolate_migratepages_block() gives up on it at the first page that
    it cannot isolate.

    `order` is at least 1; `zone_class` is the request's, for the lowmem reserve.

    Returns:
        Pages moved; 0 if no block could be emptied, -1 if the zone has too little free memory (COMPACT_SKIPPED).
    """
    mark = a.wmark[zone, mm.WMARK_MIN] + limits.gap
    if not above_mark(a, zone, np.int64(0), mark, zone_class, np.int64(ALLOC_CMA)):
        return np.int64(-1)
    first = (a.zones[zone, mm.FIRST_PFN] + (1 << order) - 1) >> order
    blocks = ((a.zones[zone, mm.LAST_PFN] + 1) >> order) - first
    looked_at = blocks
    if limits.pageblocks:
        looked_at = min(blocks, max(limits.pageblocks << a.pageblock_order >> order, 1))
    at = max(scanners[zone] >> order, first)
    for _ in range(looked_at):
        if at >= first + blocks:
            at = first
        base = at << order
        at += 1
        block_type = block_type_of(a, base)
        usable = block_type < mm.PCPTYPES or (block_type == CMA and migratetype == MOVABLE)
        if not usable or (limits.same_type and block_type not in (migratetype, CMA)):
            continue
        movable = _movable_in(a, base, order)
        if 0 < movable <= limits.movable and _empty(a, page_of, name_of, zone, base, order, limits.movable_targets):
            scanners[zone] = at << order
            return movable
    scanners[zone] = at << order
    return np.int64(0)


@compiled_apart
def isolate_freepages_block(a, first, found):
    """Take the free blocks of a pageblock off the free lists, for unmovable use.

    After each the zone must still be above its min watermark, not counting a lowmem reserve (__isolate_free_page() in
    mm/page_alloc.c; it also turns a pageblock MOVABLE if it takes half of it or more, which is not modelled).
    Pageblocks that serve no fallback are left alone.

    Returns:
        Number of blocks; `found` (pages of a pageblock, 2) has the first page and order of each, ascending.
    """
    migratetype = block_type_of(a, first)
    count = np.int64(0)
    page = first
    end = min(first + (1 << a.pageblock_order), np.int64(len(a.order)))  # memory can end inside a pageblock
    while page < end and migratetype < mm.PCPTYPES:
        order = np.int64(a.order[page])
        if order < 0:
            page += 1
            continue
        zone = zone_of(a, page)
        least = a.wmark[zone, mm.WMARK_MIN] + (1 << order)
        if not above_mark(a, zone, np.int64(0), least, np.int64(mm.ZONE_DMA), ALLOC_CMA):
            break
        del_from_free_list(a, zone, page, order)
        account_freepages(a, zone, -(1 << order), migratetype)
        mark(a, page, order, mm.USED + UNMOVABLE)
        found[count, 0], found[count, 1] = page, order
        count += 1
        page += 1 << order
    return count
