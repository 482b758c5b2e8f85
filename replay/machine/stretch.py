"""The compiled loop: everything between two decisions, the same for all strategies.

Other people's allocations and frees, and page tables that the pool or the page allocator can serve at once, run here
over flat arrays. The loop stops where a decision is due and says which; `replay.machine.machine` makes it and goes on.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.vocabulary import CONSUMERS, MOVABLE, UNMOVABLE
from replay.contract.permissions import ANY_PERMISSION, NOBODY, PERMISSIONS, TABLES
from replay.kernel import direct_map as maps
from replay.kernel.gfp import GFP_KERNEL
from replay.kernel.mmzone import BALANCE_DUE, BARREN, USED, zone_of
from replay.kernel.page_alloc import alloc_pages, free_pages, run_timers
from replay.machine import pool as pools
from replay.machine.pool import (
    ASIDE,
    CACHED,
    HELD,
    LOW,
    ON_OWN,
    POOL_USED,
    STRANDED,
    TABLE_KEYED,
    TABLE_PLAIN,
    WHOLE,
)

ORDINARY = maps.NOT_PRESENT | maps.READ_ONLY
"""What is cleared when memory that others had changed is freed."""

# What a recorded event asks for.
ALLOC, FREE_EVENT, OUTSIDE_CHANGE, MOVE, RECLAIMED = range(5)
"""MOVE: a page's data goes by the next of the names above all recorded pages from now on (replay.demand.unseen).
RECLAIMED: a free by reclaim. Where that is modelled, a movable page stays in use without a name until it is taken."""
SECRET = CONSUMERS.index("secret")

# Why the loop stopped.
DONE, REFILL, RECLAIM, OUTSIDE, CONSTRUCT, PUT_OFF, BALANCE, TRIM = range(8)

# Places in Tally.counts.
(
    PTP_ALLOCS,
    PTP_FREES,
    PTP_LIVE,
    PTP_PEAK,
    UNKEYED,
    CHANGES,
    PAGES_CHANGED,
    FLUSHES,
    EVENTS,
    ALLOCS,
    ALLOCS_PTE,
    UNPLACED,
    UNKNOWN_FREES,
    LOST_FREES,
    LAST_UNMOVABLE,
    SAMPLE,
    CLOCK,
    NEW_TABLE,
    NEXT_NAME,
    BUSY,
) = range(20)
COUNTS = 20

# Places in Tally.integral: value x time, page·ns.
IDLE_TIME, STRANDED_TIME, UNKEYED_TIME, PTE_TIME, BLOCK_TIME, LIVE_TIME = range(6)

SAMPLED = ("ptp_live", "pool_held", "pool_idle", "reserve_low", "pte_pages", "free_pages", "pmd_pages", "pud_pages")
SAMPLES = 1000

# Places in Tally.fast.
POOLED, RESERVE, KEY_EACH, PGD_BYPASS, CONSTRUCTS, CPU_BATCH, FLUSH_FREES, ADOPTS = range(8)
RECLAIMS, USER_BATCH, SPARE_BLOCKS = range(8, 11)


class Program(NamedTuple):
    """The recorded events, resolved to what a replay has to do. Shape ``N`` events each."""

    op: NDArray[np.uint8]
    ts: NDArray[np.int64]
    pfn: NDArray[np.int64]
    order: NDArray[np.int8]
    migratetype: NDArray[np.uint8]
    context: NDArray[np.uint16]
    consumer: NDArray[np.uint8]
    cpu: NDArray[np.int16]
    task: NDArray[np.int32]  # which task, counted from 0


def with_events(program: Program, ts: NDArray[np.int64], **columns: Any) -> Program:
    """A program with more events among its own, each after those of the same time.

    Args:
        program: in order of time.
        ts: (K,) times, ascending, ns.
        columns: of the new events, each (K,) or the same for all; 0 where not said.
    """
    at = np.searchsorted(np.maximum.accumulate(program.ts), ts, side="right")
    new = columns | {"ts": ts}
    return Program(*(np.insert(column, at, new.get(name, 0)) for name, column in program._asdict().items()))


class Tally(NamedTuple):
    """Where a run stands: page identities, accounts, samples."""

    page_of: NDArray[np.int32]  # (recorded pages,) simulated page that stands for a recorded one, -1 when none
    name_of: NDArray[np.int32]  # (P,) the reverse for ordinary pages; holds only where page_of says the same
    pending: NDArray[np.int32]  # (recorded pages,) decisions and events put off that are about it
    busy: NDArray[np.int32]  # (tasks,) decisions under way
    counts: NDArray[np.int64]
    integral: NDArray[np.float64]
    attempts: NDArray[np.int64]  # (orders,) allocations asked of the page allocator
    touched: NDArray[np.bool_]  # (blocks,) held a page table at any time
    edges: NDArray[np.int64]  # (SAMPLES,) times of the samples
    samples: NDArray[np.float64]  # (SAMPLES, len(SAMPLED))
    protected: NDArray[np.bool_]  # (consumers + 1,) whose pages are page tables that have to carry the key
    user_of: NDArray[np.int8]  # (consumers + 1,) which kind of user has a list for them, SHARED or NOBODY
    fast: NDArray[np.int64]  # the parameters of the fast path, at the places above


@compiled
def first_seen(program, seen):
    """Fill in what the first event on each page does: 1 allocates it, 0 frees or moves it; others stay as they are."""
    for i in range(len(program.op) - 1, -1, -1):
        if program.op[i] != OUTSIDE_CHANGE and program.pfn[i] < len(seen):
            for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
                seen[page] = program.op[i] == ALLOC
    return seen


@compiled
def advance(a, d, p, t, ts):
    """Let time pass up to `ts`: integrals and samples of the state as it is now."""
    count = t.counts
    dt = ts - count[CLOCK]
    if dt <= 0:
        return
    while count[SAMPLE] < len(t.edges) and t.edges[count[SAMPLE]] <= ts:
        row = t.samples[count[SAMPLE]]
        row[0] = count[PTP_LIVE]
        row[1] = p.counts[HELD]
        row[2] = p.counts[CACHED] + p.counts[ON_OWN] + p.counts[ASIDE]
        row[3] = p.counts[LOW]
        row[4] = d.counts[maps.PAGES + maps.PTE]
        row[6], row[7] = d.counts[maps.PAGES + maps.PMD], d.counts[maps.PAGES + maps.PUD]
        row[5] = a.free_pages.sum()
        p.counts[LOW] = pools.tables_cached(p)
        count[SAMPLE] += 1
    t.integral[IDLE_TIME] += float(p.counts[CACHED] + p.counts[ON_OWN] + p.counts[ASIDE]) * dt
    t.integral[STRANDED_TIME] += float(p.counts[STRANDED]) * dt
    t.integral[UNKEYED_TIME] += float(count[UNKEYED]) * dt
    t.integral[PTE_TIME] += float(d.counts[maps.PAGES + maps.PTE]) * dt
    t.integral[LIVE_TIME] += float(count[PTP_LIVE]) * dt
    t.integral[BLOCK_TIME] += float(-(-count[PTP_LIVE] >> a.pageblock_order)) * dt
    count[CLOCK] = ts
    run_timers(a, ts)


@compiled
def change_key(d, t, pfn, pages, set_bits, clear_bits, now, cause, flush):
    """One permission change of the strategy's own on the direct map, with its accounts; tables must be there.

    Without `flush` only its splits flush: what is given more rights may stay in a TLB with fewer.
    """
    before = d.counts[maps.SPLITS]
    changed = maps.apply(d, pfn, pages, set_bits, clear_bits, now, cause)
    t.counts[CHANGES] += 1
    t.counts[PAGES_CHANGED] += pages
    t.counts[FLUSHES] += maps.flushes(d, d.counts[maps.SPLITS] - before, changed * flush)


@compiled
def place_table(a, t, recorded, pfn, order, kind):
    """Account for a page table that was handed out: identity, liveness, blocks touched."""
    pages = 1 << order
    for page in range(pages):
        t.page_of[recorded + page] = pfn + page
        a.kind[pfn + page] = kind
    t.touched[pfn >> a.pageblock_order] = True
    count = t.counts
    count[PTP_ALLOCS] += 1
    count[PTP_LIVE] += pages
    count[PTP_PEAK] = max(count[PTP_PEAK], count[PTP_LIVE])
    if kind == TABLE_PLAIN:
        count[UNKEYED] += pages


@compiled
def place_table_of_pool(a, d, t, recorded, pfn, order, now, cause):
    """Put a page table on pages of the pool, with its key where each table gets one: they are mapped small then."""
    if t.fast[KEY_EACH]:
        change_key(d, t, pfn, 1 << order, maps.KEYED, 0, now, cause, True)
    place_table(a, t, recorded, pfn, order, POOL_USED)


@compiled
def place_table_on_pages(a, d, t, recorded, pfn, order, now, cause):
    """Put a page table on pages of the page allocator, with its key where each table gets one."""
    kind = TABLE_PLAIN
    if t.fast[KEY_EACH] and not (order == 1 and t.fast[PGD_BYPASS]):
        kind = TABLE_KEYED
        change_key(d, t, pfn, 1 << order, maps.KEYED, 0, now, cause, True)
    place_table(a, t, recorded, pfn, order, kind)


@compiled
def needs_construction(d, t, pfn, order):
    """Whether the key of a new page table takes splits, and so a decision."""
    if not t.fast[CONSTRUCTS] or (order == 1 and t.fast[PGD_BYPASS]):
        return False
    return maps.tables_needed(d, pfn, 1 << order, maps.KEYED, 0) > 0


@compiled
def take_above_reserve(a, p, t, cpu, order, consumer):
    """Hand out 2^order pages if the pool keeps its reserve; -1 if it would not, or has none that fits."""
    if p.users:
        user = t.user_of[consumer]
        if user >= 0:
            return pools.take_of_user(a, p, np.int64(user), order, t.fast[RESERVE] if user == TABLES else 0)
        return pools.take(a, p, order)
    if t.fast[CPU_BATCH] and order == 0:
        return pools.take_on_cpu(a, p, cpu, t.fast[CPU_BATCH], t.fast[RESERVE])
    if p.counts[CACHED] - (1 << order) < t.fast[RESERVE]:
        return np.int64(-1)
    return pools.take(a, p, order)


@compiled
def count_allocation(d, t, pfn):
    """Count an allocation that was placed, and whether its page is mapped at 4K."""
    t.counts[EVENTS] += 1
    t.counts[ALLOCS] += 1
    t.counts[ALLOCS_PTE] += d.level[pfn >> d.table_shift] == maps.PTE


@compiled
def place_special(t, recorded, pfn, order):
    """Account for memory of the pool that went to another kind of user than page tables."""
    for page in range(1 << order):
        t.page_of[recorded + page] = pfn + page


@compiled
def place(a, t, recorded, pfn, order):
    """Account for an ordinary allocation that was placed."""
    for page in range(1 << order):
        t.page_of[recorded + page] = pfn + page
        t.name_of[pfn + page] = recorded + page
    if a.kind[pfn] == USED + UNMOVABLE:
        t.counts[LAST_UNMOVABLE] = pfn


@compiled
def _release_to_user(a, d, p, t, pfn, order, now):
    """Take memory of the pool back; its permission tells whose list it goes to. Beyond two batches one is shared again.

    What is shared again is not mapped any more, which takes a flush for the batch. A page under a large leaf stays.
    """
    attribute = maps.attribute_of(d, pfn)
    user = np.int64(0) if attribute & maps.NOT_PRESENT == 0 else np.int64(len(PERMISSIONS))
    while user < len(PERMISSIONS) and attribute & PERMISSIONS[user] != PERMISSIONS[user]:
        user += 1
    if user == TABLES:
        t.counts[PTP_FREES] += 1
        t.counts[PTP_LIVE] -= 1 << order
    if user == len(PERMISSIONS):
        pools.put(a, p, pfn, 1 << order)
        return
    pools.give_to_user(a, p, user, pfn, 1 << order)
    if t.fast[USER_BATCH] and p.on_own[user] > 2 * t.fast[USER_BATCH]:
        returned = 0
        while returned < t.fast[USER_BATCH]:
            page = pools.least_recent(a, p, user)
            if maps.tables_needed(d, page, 1, maps.NOT_PRESENT, ANY_PERMISSION) > 0:
                break
            change_key(d, t, page, 1, maps.NOT_PRESENT, ANY_PERMISSION, now, 0, False)
            pools.to_shared(a, p, user, page)
            returned += 1
        t.counts[FLUSHES] += returned > 0


@compiled
def _release(a, d, p, t, cpu, pfn, order, now):
    """Free 2^order simulated pages of one kind to wherever their kind goes."""
    kind = a.kind[pfn]
    pages = 1 << order
    count = t.counts
    if kind == POOL_USED and p.users:
        _release_to_user(a, d, p, t, pfn, order, now)
        return
    if kind == POOL_USED:
        if t.fast[KEY_EACH]:
            change_key(d, t, pfn, pages, 0, maps.KEYED, now, 0, t.fast[FLUSH_FREES])
        if t.fast[CPU_BATCH] and order == 0:
            pools.put_on_cpu(a, p, cpu, pfn, t.fast[CPU_BATCH])
        else:
            pools.put(a, p, pfn, pages)
        count[PTP_FREES] += 1
        count[PTP_LIVE] -= pages
        return
    if kind in (TABLE_PLAIN, TABLE_KEYED):
        count[PTP_FREES] += 1
        count[PTP_LIVE] -= pages
        if kind == TABLE_KEYED:
            change_key(d, t, pfn, pages, 0, maps.KEYED, now, 0, t.fast[FLUSH_FREES])
        else:
            count[UNKEYED] -= pages
    elif (
        kind == USED + UNMOVABLE
        and maps.attribute_of(d, pfn) & ORDINARY != 0
        and maps.tables_needed(d, pfn, pages, 0, ORDINARY) == 0
    ):
        maps.apply(d, pfn, pages, 0, ORDINARY, now, 0)  # secretmem_free_folio(): back into the direct map
    if order <= t.fast[ADOPTS] and p.marked[pfn >> p.block_shift]:
        pools.give(a, p, pfn, pages)
    else:
        free_pages(a, cpu, pfn, order)


@compiled
def forget(a, d, p, t, cpu, recorded, order, now):
    """Free the simulated pages that stand for 2^order recorded ones: in one piece if they still are one."""
    pages = 1 << order
    first = np.int64(t.page_of[recorded])
    uniform = first >= 0 and first & (pages - 1) == 0
    known = np.int64(0)
    for page in range(pages):
        here = np.int64(t.page_of[recorded + page])
        known += here >= 0
        uniform = uniform and here == first + page and a.kind[here] == a.kind[first]
    piece = order if uniform else 0
    for page in range(0, pages, 1 << piece):
        here = np.int64(t.page_of[recorded + page])
        if here >= 0:
            _release(a, d, p, t, cpu, here, piece, now)
    for page in range(pages):
        t.page_of[recorded + page] = -1
    return known


@compiled
def _keep(a, t, recorded, order):
    """Take the names of movable pages away, so that their free does not find them. Returns whether there were any."""
    kept = False
    for page in range(recorded, recorded + (1 << order)):
        here = np.int64(t.page_of[page])
        if here >= 0 and a.kind[here] == USED + MOVABLE:
            t.page_of[page] = -1
            kept = True
    return kept


@compiled
def _must_wait(t, program, i):
    """Whether an event's task is busy with a decision, or others that wait are about its pages."""
    if program.op[i] == MOVE:
        return False
    if t.busy[program.task[i]]:
        return True
    if program.op[i] != OUTSIDE_CHANGE:
        for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
            if t.pending[page]:
                return True
    return False


@compiled
def run(a, d, p, t, program, start, end, not_before, horizon):
    """Replay events [start, end) until a decision is due, or one that is suspended goes on.

    Args:
        a: PageAllocator.
        d: DirectMap.
        p: Pool.
        t: Tally.
        program: Program.
        start: first event.
        end: after the last.
        not_before: events that were put off happen at this time if theirs is earlier; 0: none was.
        horizon: stop before the first event that is not earlier than this.

    Returns:
        The event it stopped at, and why: DONE (nothing is left before the horizon), REFILL (the pool cannot serve
        this page table), RECLAIM (the page allocator cannot serve this request), OUTSIDE (a permission change by
        others is due; the allocation that goes with it has been placed), CONSTRUCT (the key of the page at
        counts[NEW_TABLE] takes splits), PUT_OFF (the event has to wait for others), BALANCE (kswapd has been woken
        and runs now), TRIM (the free has been done and leaves more whole blocks idle than the pool keeps).
    """
    count, fast = t.counts, t.fast
    for i in range(start, end):
        if program.ts[i] >= horizon:
            return i, DONE
        if count[BUSY] and not not_before and _must_wait(t, program, i):
            return i, PUT_OFF
        op, recorded, order = program.op[i], program.pfn[i], np.int64(program.order[i])
        now, cpu = max(program.ts[i], not_before), np.int64(program.cpu[i])
        advance(a, d, p, t, now)
        if now >= a.clock[BALANCE_DUE] and fast[RECLAIMS]:
            return i, BALANCE
        if op == OUTSIDE_CHANGE:
            return i, OUTSIDE
        if op == MOVE:
            page = np.int64(t.page_of[recorded])
            t.page_of[count[NEXT_NAME]] = page
            if page >= 0:
                t.name_of[page] = count[NEXT_NAME]
                a.zone_state[zone_of(a, page), BARREN] = 0  # by its new name it may be one that can be freed
            t.page_of[recorded] = -1
            count[NEXT_NAME] += 1
            continue
        kept = op == RECLAIMED and fast[RECLAIMS] != 0 and _keep(a, t, recorded, order)
        known = forget(a, d, p, t, cpu, recorded, order, now)
        if op != ALLOC:
            count[UNKNOWN_FREES] += known == 0 and not kept
            count[EVENTS] += 1
            if fast[SPARE_BLOCKS] >= 0 and p.counts[WHOLE] > fast[SPARE_BLOCKS]:
                return i, TRIM
            continue
        count[LOST_FREES] += known > 0
        consumer = program.consumer[i]
        is_table = t.protected[consumer]
        from_pool = fast[POOLED] and (is_table or t.user_of[consumer] != NOBODY)
        from_pool = from_pool and order <= 1 and not (order == 1 and fast[PGD_BYPASS])
        if from_pool:
            pfn = take_above_reserve(a, p, t, cpu, order, consumer)
            if pfn < 0:
                return i, REFILL
            if is_table:
                place_table_of_pool(a, d, t, recorded, pfn, order, now, 0)
            else:
                place_special(t, recorded, pfn, order)
        else:
            t.attempts[order] += 1
            migratetype, context = np.int64(program.migratetype[i]), np.int64(program.context[i])
            if is_table:
                migratetype, context = np.int64(UNMOVABLE), np.int64(GFP_KERNEL)
            pfn = alloc_pages(a, cpu, order, migratetype, context)
            if pfn < 0:
                return i, RECLAIM
            if is_table and needs_construction(d, t, pfn, order):
                count[NEW_TABLE] = pfn
                return i, CONSTRUCT
            if is_table:
                place_table_on_pages(a, d, t, recorded, pfn, order, now, 0)
            else:
                place(a, t, recorded, pfn, order)
        count_allocation(d, t, pfn)
        if consumer == SECRET and not from_pool:
            return i, OUTSIDE
    return end, DONE
