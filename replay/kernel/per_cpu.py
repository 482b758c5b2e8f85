"""Per-CPU page lists, between the callers and the buddy lists (mm/page_alloc.c, 6.12.95 and 6.1.176).

Pages on them are neither free nor in use. Every CPU has lists in each zone: one per type and order up to
PAGE_ALLOC_COSTLY_ORDER, and those for huge pages. With Features.pcp_auto (6.7 and later) the lists adjust themselves.
Without it (6.1, assumed for older kernels) `high` is fixed, PCP_FREE_COUNT is free_factor and PCP_ALLOC_FACTOR is
unused. A row whose `high` is 0 and whose batch is 1 (the boot pageset) keeps nothing.
"""

import numpy as np

from ptpool.compiled import compiled, compiled_apart
from ptpool.vocabulary import ISOLATE, MOVABLE
from replay.kernel import mmzone as mm
from replay.kernel.buddy import free_block, free_one_page
from replay.kernel.fallback import NORMAL, rmqueue_any
from replay.kernel.lists import list_add, list_add_tail, list_del, list_first, list_last
from replay.kernel.mmzone import block_type_of, mark, pcp_list, zone_of
from replay.kernel.watermark import zone_watermark_fast

PCP_BATCH_SCALE_MAX = 5
"""CONFIG_PCP_BATCH_SCALE_MAX."""

PREV_FREE_HIGH_ORDER = 1
"""PCPF_PREV_FREE_HIGH_ORDER. PCPF_FREE_HIGH_BATCH is taken as set: a CPU's share of the caches holds three batches."""


@compiled
def pcp_allowed(a, order):
    """pcp_allowed_order()."""
    return order <= a.features.pcp_order or (order == a.huge_order and a.features.pcp_thp > 0)


@compiled
def _pindex(a, migratetype, order):
    """order_to_pindex()."""
    if order > a.features.pcp_order:
        return mm.PCPTYPES * (a.features.pcp_order + 1) + (migratetype == MOVABLE and a.features.pcp_thp > 1)
    return mm.PCPTYPES * order + migratetype


@compiled_apart
def free_pcppages_bulk(a, zone, row, count, pindex):
    """Free at least `count` pages to the buddy lists, coldest first, one list after the other."""
    pcp = a.pcp[row]
    lists = mm.PCPTYPES * (a.features.pcp_order + 1) + a.features.pcp_thp
    count = min(count, pcp[mm.PCP_COUNT])
    while count > 0:
        pfn = list_last(a.link, pcp_list(a, row, pindex))
        if pfn < 0:
            pindex = pindex + 1 if pindex + 1 < lists else 0
            continue
        order = pindex // mm.PCPTYPES
        if order > a.features.pcp_order:
            order = a.huge_order
        migratetype = block_type_of(a, pfn)
        if not a.features.pcp_auto and migratetype < mm.PCPTYPES and order < a.pageblock_order:
            migratetype = pindex % mm.PCPTYPES  # page->index: the type when it came onto the list
        list_del(a.link, pfn)
        count -= 1 << order
        pcp[mm.PCP_COUNT] -= 1 << order
        a.counts[mm.DRAINED] += 1 << order
        free_block(a, zone, pfn, order, migratetype)


@compiled
def _nr_pcp_alloc(a, zone, row, order):
    """nr_pcp_alloc(): number of blocks for a refill."""
    pcp = a.pcp[row]
    base = pcp[mm.PCP_BATCH]
    batch = base
    if a.features.pcp_auto:
        high = min(max(pcp[mm.PCP_HIGH], pcp[mm.PCP_HIGH_MIN]), pcp[mm.PCP_HIGH_MAX])
        pcp[mm.PCP_HIGH] = high
        if high < base:
            return np.int64(1)
        if order == 0:
            batch = base << pcp[mm.PCP_ALLOC_FACTOR]
        if pcp[mm.PCP_HIGH_MIN] != pcp[mm.PCP_HIGH_MAX] and not a.zone_state[zone, mm.BELOW_HIGH]:
            high = min(high + batch, pcp[mm.PCP_HIGH_MAX])
            pcp[mm.PCP_HIGH] = high
        if order == 0:
            most = max(high - pcp[mm.PCP_COUNT] - base, base)
            if batch <= most and pcp[mm.PCP_ALLOC_FACTOR] < PCP_BATCH_SCALE_MAX:
                pcp[mm.PCP_ALLOC_FACTOR] += 1
            batch = min(batch, most)
    if batch > 1:
        batch = max(batch >> order, 2)
    return batch


@compiled
def rmqueue_pcplist(a, cpu, zone, order, migratetype, flags):
    """A page from this CPU's list, which is refilled if it is empty; -1 if the zone has none."""
    row = zone * len(a.node_of_cpu) + cpu
    pcp = a.pcp[row]
    pcp[mm.PCP_FREE_COUNT] >>= 1
    head = pcp_list(a, row, _pindex(a, migratetype, order))
    pfn = list_first(a.link, head)
    if pfn < 0:
        mode = np.int64(NORMAL)
        for _ in range(_nr_pcp_alloc(a, zone, row, order)):  # rmqueue_bulk()
            pfn, mode = rmqueue_any(a, zone, order, migratetype, flags, mode)
            if pfn < 0:
                break
            mark(a, pfn, order, mm.ON_PCP)
            list_add_tail(a.link, head, pfn)
            pcp[mm.PCP_COUNT] += 1 << order
            a.counts[mm.REFILLED] += 1 << order
        pfn = list_first(a.link, head)
        if pfn < 0:
            return pfn
    list_del(a.link, pfn)
    pcp[mm.PCP_COUNT] -= 1 << order
    return pfn


@compiled
def _free_high(a, row, order):
    """The part of free_unref_page_commit() that detects runs of high-order frees."""
    pcp = a.pcp[row]
    small = 1 <= order <= a.features.pcp_order
    if not a.features.pcp_auto:
        return small and pcp[mm.PCP_FREE_COUNT] > 0
    runs = pcp[mm.PCP_FLAGS] == PREV_FREE_HIGH_ORDER and pcp[mm.PCP_FREE_COUNT] >= pcp[mm.PCP_BATCH]
    free_high = small and runs and pcp[mm.PCP_COUNT] >= pcp[mm.PCP_BATCH]
    pcp[mm.PCP_FLAGS] = PREV_FREE_HIGH_ORDER if small else 0
    if pcp[mm.PCP_FREE_COUNT] < pcp[mm.PCP_BATCH] << PCP_BATCH_SCALE_MAX:
        pcp[mm.PCP_FREE_COUNT] += 1 << order
    return free_high


@compiled
def _nr_pcp_high(a, zone, row, free_high):
    """nr_pcp_high(): pages that may stay. A trace does not show whether reclaim is active (ZONE_RECLAIM_ACTIVE)."""
    pcp = a.pcp[row]
    high = pcp[mm.PCP_HIGH]
    if not a.features.pcp_auto:
        return np.int64(0) if free_high else high
    batch, least, most = pcp[mm.PCP_BATCH], pcp[mm.PCP_HIGH_MIN], pcp[mm.PCP_HIGH_MAX]
    high = min(max(high, least), most)
    pcp[mm.PCP_HIGH] = high
    if high == 0:
        return high
    if free_high:
        pcp[mm.PCP_HIGH] = max(high - (batch << PCP_BATCH_SCALE_MAX), least)
        return np.int64(0)
    if least == most:
        return high
    if a.zone_state[zone, mm.BELOW_HIGH]:
        pcp[mm.PCP_HIGH] = max(high - max(pcp[mm.PCP_FREE_COUNT], batch), least)
        return max(pcp[mm.PCP_COUNT], least)
    if pcp[mm.PCP_COUNT] >= high:
        need = pcp[mm.PCP_FREE_COUNT] + batch
        if high < need:
            pcp[mm.PCP_HIGH] = min(max(need, least), most)
    return high


@compiled
def _nr_pcp_free(a, row, high, free_high):
    """nr_pcp_free(): pages to drain."""
    pcp = a.pcp[row]
    batch = pcp[mm.PCP_BATCH]
    if free_high:
        return min(pcp[mm.PCP_COUNT], batch << PCP_BATCH_SCALE_MAX) if a.features.pcp_auto else pcp[mm.PCP_COUNT]
    if high < batch:
        return np.int64(1)
    wanted = pcp[mm.PCP_FREE_COUNT]
    if not a.features.pcp_auto:
        wanted = batch << pcp[mm.PCP_FREE_COUNT]
        if wanted < high - batch and pcp[mm.PCP_FREE_COUNT] < PCP_BATCH_SCALE_MAX:
            pcp[mm.PCP_FREE_COUNT] += 1
    return min(max(wanted, batch), high - batch)


@compiled
def free_unref_page(a, cpu, zone, pfn, order):
    """Put a block on this CPU's list; if that holds too many, the coldest go to the buddy lists."""
    migratetype = block_type_of(a, pfn)
    if migratetype == ISOLATE:
        free_one_page(a, zone, pfn, order)
        return
    row = zone * len(a.node_of_cpu) + cpu
    pcp = a.pcp[row]
    pcp[mm.PCP_ALLOC_FACTOR] >>= 1
    pindex = _pindex(a, migratetype if migratetype < mm.PCPTYPES else MOVABLE, order)
    list_add(a.link, pcp_list(a, row, pindex), pfn)
    mark(a, pfn, order, mm.ON_PCP)
    pcp[mm.PCP_COUNT] += 1 << order
    free_high = _free_high(a, row, order)
    high = _nr_pcp_high(a, zone, row, free_high)
    if pcp[mm.PCP_COUNT] < high:
        return
    free_pcppages_bulk(a, zone, row, _nr_pcp_free(a, row, high, free_high), pindex)
    state = a.zone_state[zone]
    if state[mm.BELOW_HIGH] and zone_watermark_fast(
        a, zone, np.int64(0), np.int64(mm.WMARK_HIGH), np.int64(mm.ZONE_MOVABLE), np.int64(0)
    ):
        state[mm.BELOW_HIGH] = 0


@compiled_apart
def drain_all_pages(a):
    """Move every page on a per-CPU list to the buddy lists."""
    cpus = len(a.node_of_cpu)
    for cpu in range(cpus):
        for zone in range(len(a.zones)):
            row = zone * cpus + cpu
            while a.pcp[row, mm.PCP_COUNT] > 0:
                free_pcppages_bulk(a, zone, row, a.pcp[row, mm.PCP_BATCH] << PCP_BATCH_SCALE_MAX, 0)


@compiled_apart
def decay_pcp_high(a):
    """Move the pages that a CPU no longer needs to the buddy lists, one batch at a time."""
    cpus = len(a.node_of_cpu)
    for row in range(len(a.pcp)):
        pcp = a.pcp[row]
        if pcp[mm.PCP_HIGH] > pcp[mm.PCP_HIGH_MIN]:
            spare = max(
                pcp[mm.PCP_COUNT] - (pcp[mm.PCP_BATCH] << PCP_BATCH_SCALE_MAX),
                pcp[mm.PCP_HIGH] - (pcp[mm.PCP_HIGH] >> 3),
            )
            pcp[mm.PCP_HIGH] = max(spare, pcp[mm.PCP_HIGH_MIN])
        left = pcp[mm.PCP_COUNT] - pcp[mm.PCP_HIGH]
        while left > 0:
            free_pcppages_bulk(a, row // cpus, row, min(left, pcp[mm.PCP_BATCH]), 0)
            left -= pcp[mm.PCP_BATCH]


@compiled_apart
def fill_pcp(a, cpu, pages):
    """Put single pages that are neither free nor in use on a CPU's lists, for the start of a replay.

    Of `pages` (n,), the first of each type is allocated first. The types of the pageblocks have to be set.
    """
    for pfn in pages:
        add_to_pcp_list(a, cpu, zone_of(a, pfn), pfn, 0, block_type_of(a, pfn))


@compiled
def add_to_pcp_list(a, cpu, zone, pfn, order, migratetype):
    """Put a block at the tail of the list of this type, whatever the list holds, for the start of a replay."""
    row = zone * len(a.node_of_cpu) + cpu
    pindex = _pindex(a, migratetype if migratetype < mm.PCPTYPES else MOVABLE, order)
    list_add_tail(a.link, pcp_list(a, row, pindex), pfn)
    mark(a, pfn, order, mm.ON_PCP)
    a.pcp[row, mm.PCP_COUNT] += 1 << order
