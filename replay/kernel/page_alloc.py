"""Entry points of the page allocator: alloc_pages() up to direct reclaim, and free_pages() (mm/page_alloc.c, 6.12.95).

Names are the kernel's. mmzone: the data; buddy: buddy lists; fallback: what happens when the lists of one type are
empty; per_cpu: per-CPU lists; watermark and gfp: whether a request may have a page.
"""

import numpy as np

from ptpool.compiled import compiled
from ptpool.vocabulary import HIGHATOMIC, MOVABLE
from replay.kernel import mmzone as mm
from replay.kernel import watermark
from replay.kernel.buddy import free_one_page, rmqueue_smallest
from replay.kernel.fallback import NORMAL, reserve_highatomic, rmqueue_any
from replay.kernel.gfp import MEMALLOC, NOMEMALLOC, THISNODE, WAKES_KSWAPD, ZONE_CLASS_MASK
from replay.kernel.mmzone import mark, zone_of
from replay.kernel.per_cpu import decay_pcp_high, free_unref_page, pcp_allowed, rmqueue_pcplist
from replay.kernel.watermark import gfp_to_alloc_flags, wake_boosted, wake_kswapd, zone_watermark_fast

VMSTAT_NS = 1_000_000_000
"""sysctl_stat_interval: how often each CPU trims its lists."""


@compiled
def _rmqueue(a, cpu, zone, order, migratetype, flags, block):
    """rmqueue(): from this CPU's lists, else from the buddy lists and, as a last resort, the HIGHATOMIC reserve.

    A block that the page allocator takes for itself (`block` > `order`) comes from the buddy lists only.
    """
    pfn = np.int64(-1)
    if block == order and pcp_allowed(a, order):
        pfn = rmqueue_pcplist(a, cpu, zone, order, migratetype, flags)
    if pfn < 0 and flags & watermark.ALLOC_HIGHATOMIC:
        pfn = rmqueue_smallest(a, zone, order, HIGHATOMIC)
    if pfn < 0:
        pfn, _ = rmqueue_any(a, zone, block, migratetype, flags, np.int64(NORMAL))
        if pfn < 0 and flags & watermark.ALLOC_NON_BLOCK:
            pfn = rmqueue_smallest(a, zone, order, HIGHATOMIC)
    if a.zone_state[zone, mm.BOOSTED] and flags & watermark.ALLOC_KSWAPD:
        a.counts[mm.KSWAPD] += 1
        wake_boosted(a, zone)
    return pfn


@compiled
def _zone_has_room(a, zone, order, wmark, zone_class, flags):
    """The watermark checks of get_page_from_freelist(); notes that the zone is below its high watermark."""
    state = a.zone_state[zone]
    if not state[mm.BELOW_HIGH]:
        if zone_watermark_fast(a, zone, order, np.int64(mm.WMARK_HIGH), zone_class, flags):
            return True
        state[mm.BELOW_HIGH] = 1
    return flags & watermark.ALLOC_NO_WATERMARKS != 0 or zone_watermark_fast(a, zone, order, wmark, zone_class, flags)


@compiled
def _get_page_from_freelist(a, cpu, order, migratetype, context, wmark, flags, block):
    """get_page_from_freelist(): zone by zone; with ALLOC_NOFRAGMENT, first all zones without mixing pageblocks."""
    node = a.node_of_cpu[cpu]
    zone_class = context & ZONE_CLASS_MASK
    while True:
        for place in range(a.zonelist.shape[1]):
            zone = a.zonelist[node, place]
            away = a.zones[zone, mm.NODE] != node
            if away and (context & THISNODE or flags & watermark.ALLOC_NOFRAGMENT):
                break  # better to mix pageblocks than to leave the node
            if a.zones[zone, mm.CLASS] > zone_class or not _zone_has_room(a, zone, order, wmark, zone_class, flags):
                continue
            pfn = _rmqueue(a, cpu, zone, order, migratetype, flags, block)
            if pfn >= 0:
                mark(a, pfn, block, mm.USED + migratetype)
                if migratetype == MOVABLE:
                    a.zone_state[zone, mm.BARREN] = 0
                if flags & watermark.ALLOC_HIGHATOMIC:
                    reserve_highatomic(a, zone, pfn, order)
                return pfn
        if not flags & watermark.ALLOC_NOFRAGMENT:
            return np.int64(-1)
        flags &= ~watermark.ALLOC_NOFRAGMENT


@compiled
def _nofragment(a, cpu, context):
    """alloc_flags_nofragment(): requests that prefer ZONE_NORMAL use the zone below before they mix pageblocks."""
    node = a.node_of_cpu[cpu]
    for place in range(a.zonelist.shape[1]):
        zone = a.zonelist[node, place]
        if a.zones[zone, mm.CLASS] <= context & ZONE_CLASS_MASK:
            return a.zones[zone, mm.CLASS] == mm.ZONE_NORMAL and a.nofragment[a.zones[zone, mm.NODE]]
    return False


@compiled
def alloc_block(a, cpu, order, migratetype, context, block):
    """alloc_pages() for which the page allocator takes 2^block pages; watermarks are those of the order asked for."""
    slow = gfp_to_alloc_flags(order, migratetype, context)
    fast = slow & (watermark.ALLOC_KSWAPD | watermark.ALLOC_CMA)
    if _nofragment(a, cpu, context):
        fast |= watermark.ALLOC_NOFRAGMENT
    if context & MEMALLOC and not context & NOMEMALLOC:
        slow = slow & (watermark.ALLOC_KSWAPD | watermark.ALLOC_CMA) | watermark.ALLOC_NO_WATERMARKS
    for wmark in range(mm.WMARK_LOW, mm.WMARK_MIN - 1, -1):
        flags = fast if wmark == mm.WMARK_LOW else slow
        pfn = _get_page_from_freelist(a, cpu, order, migratetype, context, wmark, flags, block)
        if pfn >= 0:
            return pfn
        if wmark == mm.WMARK_LOW and context & WAKES_KSWAPD:
            a.counts[mm.KSWAPD + order] += 1
            wake_kswapd(a, order, context & ZONE_CLASS_MASK)
    return np.int64(-1)


@compiled
def alloc_pages(a, cpu, order, migratetype, context):
    """__alloc_pages() up to the point where it would reclaim: low watermark, kswapd, min watermark, reserves.

    The zones of the CPU's node come first; for `context` see replay.kernel.gfp.

    Returns:
        First page frame number, -1 when the request would have to reclaim or fail.
    """
    return alloc_block(a, cpu, order, migratetype, context, order)


@compiled
def alloc_block_after_reclaim(a, cpu, order, migratetype, context, block):
    """get_page_from_freelist() at the min watermark, as the slow path retries after it has freed memory."""
    flags = gfp_to_alloc_flags(order, migratetype, context)
    return _get_page_from_freelist(a, cpu, order, migratetype, context, np.int64(mm.WMARK_MIN), flags, block)


@compiled
def free_pages(a, cpu, pfn, order):
    """__free_pages(): free 2^order pages to this CPU's lists or to the buddy lists."""
    zone = zone_of(a, pfn)
    if pcp_allowed(a, order):
        free_unref_page(a, cpu, zone, pfn, order)
    else:
        free_one_page(a, zone, pfn, order)


@compiled
def start_timers(a, now):
    """Start the clock of a replay: no boost is waiting, and the CPUs have just trimmed their lists."""
    a.clock[mm.NOW] = now
    a.clock[mm.VMSTAT_DUE] = now + VMSTAT_NS
    a.clock[mm.KSWAPD_DUE] = a.clock[mm.BALANCE_DUE] = mm.NEVER
    a.clock[mm.WOKEN_ORDER] = a.clock[mm.WOKEN_CLASS] = 0


@compiled
def run_timers(a, now):
    """What the kernel does in the background up to `now`: kswapd takes boosts back, CPUs trim their lists.

    All CPUs do so at the same moment, once a second (vmstat_update()); a recording does not show when.
    """
    a.clock[mm.NOW] = now
    if now >= a.clock[mm.KSWAPD_DUE]:
        a.clock[mm.KSWAPD_DUE] = mm.NEVER
        a.zone_state[:, mm.BOOST] = 0
    if now >= a.clock[mm.VMSTAT_DUE]:
        a.clock[mm.VMSTAT_DUE] = now + VMSTAT_NS
        if a.features.pcp_auto:
            decay_pcp_high(a)
