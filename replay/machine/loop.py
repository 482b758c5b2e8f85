"""The compiled loop: everything between two decisions, the same for all strategies.

Other people's allocations and frees, and page tables that the pool or the page allocator can serve at once, run here
over flat arrays. The loop stops where a decision is due and says which; `replay.machine.machine` makes it and goes on.
"""

import numpy as np

from ptpool.compiled import compiled
from ptpool.vocabulary import CONSUMERS, MOVABLE, UNMOVABLE
from replay.contract.permissions import ANY_PERMISSION, NOBODY, PERMISSIONS, SHARED, TABLES
from replay.demand.program import ALLOC, MOVE, OUTSIDE_CHANGE, RECLAIMED
from replay.kernel import direct_map as maps
from replay.kernel.compaction import set_name
from replay.kernel.gfp import MAY_RECLAIM
from replay.kernel.mmzone import BALANCE_DUE, BARREN, USED, zone_of
from replay.kernel.page_alloc import alloc_pages, free_pages
from replay.machine import pool as pools
from replay.machine.pool import CACHED, LOCKED, POOL_SECRET, POOL_USED, TABLE_KEYED, TABLE_PLAIN, WHOLE
from replay.machine.tally import (
    ADOPTS,
    BUSY,
    CPU_BATCH,
    EVENTS,
    FLUSH_FREES,
    FLUSHES,
    FULL_FLUSHES,
    KEY_EACH,
    KSWAPD_RUNS,
    LOST_FREES,
    NEW_TABLE,
    NEXT_NAME,
    OUTSIDE_AT_ONCE,
    POOLED,
    PTP_ATOMIC,
    PTP_FREES,
    PTP_LIVE,
    RECLAIMS,
    RESERVE,
    SPARE_BLOCKS,
    UNKEYED,
    UNKNOWN_FREES,
    USER_BATCH,
    advance,
    change_key,
    count_allocation,
    count_flushes,
    key_of_table,
    needs_construction,
    place,
    place_special,
    place_table_of_pool,
    place_table_on_pages,
    wait_for_list,
)

CHANGED_BY_OTHERS = maps.NOT_PRESENT | maps.READ_ONLY
"""Attributes that are cleared when memory is freed whose permission others had changed."""

SECRET = CONSUMERS.index("secret")

FOREVER = 1 << 62
"""The end of time."""

# Why the loop stopped.
DONE, REFILL, RECLAIM, OUTSIDE, CONSTRUCT, PUT_OFF, BALANCE, TRIM = range(8)


@compiled
def serves(pool, tally, order, consumer):
    """Whether the pool has memory of this order for a consumer: pairs only where pages merge on the list it is from."""
    user = tally.user_of[consumer]
    if not tally.protected[consumer] and user == NOBODY:
        return False
    return order == 0 or (order == 1 and pool.most > 0 and (not pool.users or user == SHARED))


@compiled
def take_above_reserve(allocator, pool, tally, cpu, order, consumer):
    """Hand out 2^order pages if the pool keeps its reserve; -1 if it would not, or has none that fits."""
    if pool.users:
        user = tally.user_of[consumer]
        if user >= 0:
            return pools.take_of_user(allocator, pool, np.int64(user), tally.fast[RESERVE] if user == TABLES else 0)
        return pools.take(allocator, pool, order)
    if tally.fast[CPU_BATCH] and order == 0:
        return pools.take_on_cpu(allocator, pool, cpu, tally.fast[CPU_BATCH], tally.fast[RESERVE])
    if pool.counts[CACHED] - (1 << order) < tally.fast[RESERVE]:
        return np.int64(-1)
    return pools.take(allocator, pool, order)


@compiled
def _release_to_user(allocator, direct_map, pool, tally, pfn, order, now):
    """Take memory of the pool back, to the list of its permission. From a list of more than two batches one returns.

    What is shared again is not mapped any more, which takes a flush for the batch. A page under a large leaf stays.
    """
    attribute = maps.attribute_of(direct_map, pfn)
    user = np.int64(0) if attribute & maps.NOT_PRESENT == 0 else np.int64(len(PERMISSIONS))
    while user < len(PERMISSIONS) and attribute & PERMISSIONS[user] != PERMISSIONS[user]:
        user += 1
    if user == TABLES:
        tally.counts[PTP_FREES] += 1
        tally.counts[PTP_LIVE] -= 1 << order
    if user == len(PERMISSIONS):
        pools.put(allocator, pool, pfn, 1 << order)
        return
    pools.give_to_user(allocator, pool, user, pfn, 1 << order)
    if tally.fast[USER_BATCH] and pool.on_own[user] > 2 * tally.fast[USER_BATCH]:
        returned = 0
        while returned < tally.fast[USER_BATCH]:
            page = pools.least_recent(allocator, pool, user)
            if maps.tables_needed(direct_map, page, 1, maps.NOT_PRESENT, ANY_PERMISSION) > 0:
                break
            change_key(direct_map, tally, page, 1, maps.NOT_PRESENT, ANY_PERMISSION, now, 0, False)
            pools.to_shared(allocator, pool, user, page)
            returned += 1
        tally.counts[FLUSHES] += returned > 0
        tally.counts[FULL_FLUSHES] += returned > 0 and maps.flushes_all(direct_map, returned)


@compiled
def _release(allocator, direct_map, pool, tally, cpu, pfn, order, now):
    """Free 2^order simulated pages of one kind to wherever their kind goes."""
    kind = allocator.kind[pfn]
    pages = 1 << order
    count = tally.counts
    if kind == POOL_USED and pool.users:
        _release_to_user(allocator, direct_map, pool, tally, pfn, order, now)
        return
    if kind in (POOL_USED, POOL_SECRET):
        if tally.fast[KEY_EACH]:
            key_of_table(direct_map, tally, pfn, pages, 0, maps.KEYED, now, 0, tally.fast[FLUSH_FREES])
        if tally.fast[CPU_BATCH] and order == 0:
            pools.put_on_cpu(allocator, pool, cpu, pfn, tally.fast[CPU_BATCH])
        else:
            pools.put(allocator, pool, pfn, pages)
        count[PTP_FREES] += kind == POOL_USED
        count[PTP_LIVE] -= pages * (kind == POOL_USED)
        return
    if kind in (TABLE_PLAIN, TABLE_KEYED):
        count[PTP_FREES] += 1
        count[PTP_LIVE] -= pages
        if kind == TABLE_KEYED:
            change_key(direct_map, tally, pfn, pages, 0, maps.KEYED, now, 0, tally.fast[FLUSH_FREES])
        else:
            count[UNKEYED] -= pages
    elif (
        kind == USED + UNMOVABLE
        and maps.attribute_of(direct_map, pfn) & CHANGED_BY_OTHERS != 0
        and maps.tables_needed(direct_map, pfn, pages, 0, CHANGED_BY_OTHERS) == 0
    ):
        maps.apply(
            direct_map, pfn, pages, 0, CHANGED_BY_OTHERS, now, 0
        )  # secretmem_free_folio(): back into the direct map
    if order <= tally.fast[ADOPTS] and pool.marked[pfn >> pool.block_shift]:
        pools.give(allocator, pool, pfn, pages)
    else:
        free_pages(allocator, cpu, pfn, order)


@compiled
def forget(allocator, direct_map, pool, tally, cpu, recorded, order, now):
    """Free the simulated pages that stand for 2^order recorded ones: in one piece if they still are one."""
    pages = 1 << order
    first = np.int64(tally.page_of[recorded])
    uniform = first >= 0 and first & (pages - 1) == 0
    known = np.int64(0)
    for page in range(pages):
        here = np.int64(tally.page_of[recorded + page])
        known += here >= 0
        uniform = uniform and here == first + page and allocator.kind[here] == allocator.kind[first]
    piece = order if uniform else 0
    for page in range(0, pages, 1 << piece):
        here = np.int64(tally.page_of[recorded + page])
        if here >= 0:
            _release(allocator, direct_map, pool, tally, cpu, here, piece, now)
    for page in range(pages):
        tally.page_of[recorded + page] = -1
    return known


@compiled
def _keep(allocator, tally, recorded, order):
    """Take the names of movable pages away, so that their free does not find them. Returns whether there were any."""
    kept = False
    for page in range(recorded, recorded + (1 << order)):
        here = np.int64(tally.page_of[page])
        if here >= 0 and allocator.kind[here] == USED + MOVABLE:
            tally.page_of[page] = -1
            kept = True
    return kept


@compiled
def _must_wait(tally, program, i):
    """Whether an event's task is busy with a decision, or others that wait are about its pages."""
    if program.op[i] == MOVE:
        return False
    if tally.busy[program.task[i]]:
        return True
    if program.op[i] != OUTSIDE_CHANGE:
        for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
            if tally.pending[page]:
                return True
    return False


@compiled
def _not_present_at_once(direct_map, pool, tally, pfn, order, now):
    """Take secret memory out of the direct map where that splits nothing, and no pool wants to refill before it."""
    pages, none, change = 1 << order, np.int64(0), np.int64(maps.NOT_PRESENT)
    if maps.tables_needed(direct_map, pfn, pages, change, none) or pools.tables_cached(pool) < tally.fast[RESERVE]:
        return False
    changed = maps.apply(direct_map, pfn, pages, change, none, now, none)
    count_flushes(direct_map, tally, direct_map.counts[maps.SPLITS], pages, changed)
    tally.counts[OUTSIDE_AT_ONCE] += 1
    return True


@compiled
def run(allocator, direct_map, pool, tally, program, start, end, not_before, horizon):
    """Replay events [start, end) until a decision is due, or one that is suspended goes on.

    Args:
        allocator: PageAllocator.
        direct_map: DirectMap.
        pool: Pool.
        tally: Tally.
        program: Program.
        start: first event.
        end: after the last.
        not_before: events that were put off happen at this time if theirs is earlier; 0: none was.
        horizon: stop before the first event that is not earlier than this; FOREVER: no decision is under way.

    Returns:
        The event it stopped at, and why: DONE (nothing is left before the horizon), REFILL (the pool cannot serve
        this page table), RECLAIM (the page allocator cannot serve this request), OUTSIDE (a permission change by
        others is due; the allocation that goes with it has been placed), CONSTRUCT (the key of the page at
        counts[NEW_TABLE] takes splits), PUT_OFF (the event has to wait for others), BALANCE (kswapd has been woken
        and runs first), TRIM (the free has been done and leaves more whole blocks idle than the pool keeps).
    """
    count, fast = tally.counts, tally.fast
    for i in range(start, end):
        if program.ts[i] >= horizon:
            return i, DONE
        if count[BUSY] and not not_before and _must_wait(tally, program, i):
            return i, PUT_OFF
        op, recorded, order = program.op[i], program.pfn[i], np.int64(program.order[i])
        now, cpu = max(program.ts[i], not_before), np.int64(program.cpu[i])
        if fast[KSWAPD_RUNS] and now >= allocator.clock[BALANCE_DUE]:
            return i, BALANCE
        advance(allocator, direct_map, pool, tally, now)
        if op == OUTSIDE_CHANGE:
            return i, OUTSIDE
        if op == MOVE:
            page = np.int64(tally.page_of[recorded])
            tally.page_of[count[NEXT_NAME]] = page
            if page >= 0:
                set_name(tally.name_of, page, count[NEXT_NAME])
                allocator.zone_state[zone_of(allocator, page), BARREN] = (
                    0  # by its new name it may be one that can be freed
                )
            tally.page_of[recorded] = -1
            count[NEXT_NAME] += 1
            continue
        kept = op == RECLAIMED and fast[RECLAIMS] != 0 and _keep(allocator, tally, recorded, order)
        locked = pool.counts[LOCKED]
        known = forget(allocator, direct_map, pool, tally, cpu, recorded, order, now)
        if op != ALLOC:
            wait_for_list(pool, tally, locked, now)
            count[UNKNOWN_FREES] += known == 0 and not kept
            count[EVENTS] += 1
            if fast[SPARE_BLOCKS] >= 0 and pool.counts[WHOLE] > fast[SPARE_BLOCKS]:
                return i, TRIM
            continue
        count[LOST_FREES] += known > 0
        consumer = program.consumer[i]
        is_table = tally.protected[consumer]
        count[PTP_ATOMIC] += is_table and program.context[i] & MAY_RECLAIM == 0
        from_pool = fast[POOLED] and serves(pool, tally, order, consumer)
        if from_pool:
            pfn = take_above_reserve(allocator, pool, tally, cpu, order, consumer)
            if pfn < 0:
                return i, REFILL
            wait_for_list(pool, tally, locked, now)
            if is_table:
                place_table_of_pool(allocator, direct_map, tally, recorded, pfn, order, now, 0)
            else:
                place_special(allocator, direct_map, pool, tally, recorded, pfn, order, now, 0)
        else:
            tally.attempts[order] += 1
            migratetype = np.int64(UNMOVABLE) if is_table else np.int64(program.migratetype[i])
            pfn = alloc_pages(allocator, cpu, order, migratetype, np.int64(program.context[i]))
            if pfn < 0:
                return i, RECLAIM
            if is_table and needs_construction(direct_map, tally, pfn, order):
                count[NEW_TABLE] = pfn
                return i, CONSTRUCT
            if is_table:
                place_table_on_pages(allocator, direct_map, tally, recorded, pfn, order, now, 0)
            else:
                place(allocator, tally, recorded, pfn, order)
        count_allocation(direct_map, tally, pfn)
        if consumer == SECRET and not from_pool:
            alone = horizon == FOREVER and not not_before
            if not alone or not _not_present_at_once(direct_map, pool, tally, pfn, order, now):
                return i, OUTSIDE
    return end, DONE
