"""Whether a zone may serve a request: watermarks, reserves, and what GFP flags allow (mm/page_alloc.c, 6.12.95)."""

import numpy as np

from ptpool.compiled import compiled, compiled_apart
from ptpool.vocabulary import CMA, HIGHATOMIC, MOVABLE
from replay.kernel import mmzone as mm
from replay.kernel.gfp import IS_HIGH, MAY_RECLAIM, NOMEMALLOC, WAKES_KSWAPD
from replay.kernel.mmzone import free_list

# Allocation flags (mm/internal.h).
ALLOC_NO_WATERMARKS, ALLOC_NON_BLOCK, ALLOC_MIN_RESERVE, ALLOC_HIGHATOMIC = 1, 2, 4, 8
ALLOC_CMA, ALLOC_NOFRAGMENT, ALLOC_KSWAPD = 16, 32, 64
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC


@compiled
def gfp_to_alloc_flags(order, migratetype, context):
    """Flags of a request that did not succeed at the low watermark."""
    flags = 0
    if context & WAKES_KSWAPD:
        flags |= ALLOC_KSWAPD
    if context & IS_HIGH:
        flags |= ALLOC_MIN_RESERVE
    if not context & MAY_RECLAIM and not context & NOMEMALLOC:
        flags |= ALLOC_NON_BLOCK
        if order > 0 and context & IS_HIGH:
            flags |= ALLOC_HIGHATOMIC
    if migratetype == MOVABLE:
        flags |= ALLOC_CMA
    return flags


@compiled
def _unusable_free(a, zone, order, flags):
    """__zone_watermark_unusable_free()."""
    unusable = (1 << order) - 1
    if not flags & ALLOC_RESERVES:
        unusable += a.zone_state[zone, mm.FREE_HIGHATOMIC]
    if not flags & ALLOC_CMA:
        unusable += a.zone_state[zone, mm.FREE_CMA]
    return unusable


@compiled
def _has_block(a, zone, order, flags):
    """Whether a free block of at least this order is on a list that the request may use."""
    for current in range(order, a.max_order + 1):
        if a.nr_free[zone, current] == 0:
            continue
        for migratetype in range(mm.PCPTYPES):
            head = free_list(a, zone, current, migratetype)
            if a.link[head, 0] != head:
                return True
        head = free_list(a, zone, current, CMA)
        if flags & ALLOC_CMA and a.link[head, 0] != head:
            return True
        head = free_list(a, zone, current, HIGHATOMIC)
        if flags & ALLOC_HIGHATOMIC and a.link[head, 0] != head:
            return True
    return False


@compiled
def above_mark(a, zone, order, mark, zone_class, flags):
    """__zone_watermark_ok(): more free pages than `mark` and the lowmem reserve, and a block that is large enough."""
    limit = mark
    if flags & ALLOC_MIN_RESERVE:
        limit -= limit // 2
        if flags & ALLOC_NON_BLOCK:
            limit -= limit // 4
    usable = a.free_pages[zone] - _unusable_free(a, zone, order, flags)
    if usable <= limit + a.lowmem_reserve[zone, zone_class]:
        return False
    return order == 0 or _has_block(a, zone, order, flags)


@compiled
def zone_watermark_fast(a, zone, order, wmark, zone_class, flags):
    """A boost raises the mark, except for __GFP_HIGH requests of order 0 at the min watermark."""
    mark = a.wmark[zone, wmark]
    if order > 0 or wmark != mm.WMARK_MIN or not flags & ALLOC_MIN_RESERVE:
        mark += a.zone_state[zone, mm.BOOST]
    return above_mark(a, zone, order, mark, zone_class, flags)


@compiled_apart
def pgdat_balanced(a, node, order, zone_class):
    """Whether kswapd may sleep on this node, as far as this order goes (mm/vmscan.c, 6.12)."""
    for zone in range(len(a.zones)):
        if a.zones[zone, mm.NODE] == node and a.zones[zone, mm.CLASS] <= zone_class:
            high = a.wmark[zone, mm.WMARK_HIGH] + a.zone_state[zone, mm.BOOST]
            if above_mark(a, zone, order, high, zone_class, np.int64(0)):
                return True
    return False


@compiled
def boost_watermark(a, zone, flags):
    """A fallback mixes pageblocks; make kswapd free more. It takes the boost back when done."""
    factor = a.features.watermark_boost_factor
    size = 1 << a.pageblock_order
    most = a.wmark[zone, mm.WMARK_HIGH] * factor // 10000
    if most == 0 or 4 * size > a.zone_state[zone, mm.MANAGED]:
        return
    state = a.zone_state[zone]
    state[mm.BOOST] = min(state[mm.BOOST] + size, max(most, size))
    if flags & ALLOC_KSWAPD:
        state[mm.BOOSTED] = 1


@compiled
def wake_kswapd(a, order, zone_class):
    """wakeup_kswapd() (mm/vmscan.c, 6.12) of every node: it will have run after Features.kswapd_ns, if not sooner.

    The highest order and zone of those who woke it since its last run count.
    """
    a.clock[mm.BALANCE_DUE] = min(a.clock[mm.BALANCE_DUE], a.clock[mm.NOW] + a.features.kswapd_ns)
    a.clock[mm.WOKEN_ORDER] = max(a.clock[mm.WOKEN_ORDER], order)
    a.clock[mm.WOKEN_CLASS] = max(a.clock[mm.WOKEN_CLASS], zone_class)


@compiled
def wake_boosted(a, zone):
    """The end of rmqueue(): wake kswapd for a boost.

    It takes the boost back after Features.kswapd_ns; where nothing that it could free is modelled, run_timers() does.
    """
    a.zone_state[zone, mm.BOOSTED] = 0
    a.clock[mm.WOKEN_CLASS] = max(a.clock[mm.WOKEN_CLASS], a.zones[zone, mm.CLASS])
    a.clock[mm.KSWAPD_DUE] = min(a.clock[mm.KSWAPD_DUE], a.clock[mm.NOW] + a.features.kswapd_ns)
    a.clock[mm.BALANCE_DUE] = min(a.clock[mm.BALANCE_DUE], a.clock[mm.KSWAPD_DUE])
