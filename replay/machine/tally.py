"""The accounts of a run: page identities, counters, integrals over time, samples, and what is booked where.

Compiled functions that change them are here; `replay.machine.loop` and the decisions call them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.vocabulary import MOVABLE, UNMOVABLE
from replay.kernel import direct_map as maps
from replay.kernel.compaction import set_name
from replay.kernel.mmzone import USED
from replay.kernel.page_alloc import run_timers
from replay.machine import pool as pools
from replay.machine.pool import (
    ASIDE,
    CACHED,
    HELD,
    LOW,
    ON_OWN,
    POOL_SECRET,
    POOL_USED,
    STRANDED,
    TABLE_KEYED,
    TABLE_PLAIN,
)

# Places in Tally.counts.
(
    PTP_ALLOCS, PTP_FREES, PTP_LIVE, PTP_PEAK, UNKEYED, CHANGES, PAGES_CHANGED, FLUSHES, EVENTS, ALLOCS, ALLOCS_PTE,
    UNPLACED, UNKNOWN_FREES, LOST_FREES, LAST_UNMOVABLE, SAMPLE, CLOCK, NEW_TABLE, NEXT_NAME, BUSY, PTP_UNKEYED,
    PTP_ATOMIC, FULL_FLUSHES, LIST_HELD_UNTIL, LIST_WAIT, OUTSIDE_AT_ONCE
) = range(26)  # fmt: skip
COUNTS = 26

# Places in Tally.integral: value x time, page·ns.
IDLE_TIME, STRANDED_TIME, UNKEYED_TIME, PTE_TIME, BLOCK_TIME, LIVE_TIME = range(6)

SAMPLED = ("ptp_live", "pool_held", "pool_idle", "reserve_low", "pte_pages", "free_pages", "pmd_pages", "pud_pages")
SAMPLES = 1000

# Places in Tally.fast.
POOLED, RESERVE, KEY_EACH, CONSTRUCTS, CPU_BATCH, FLUSH_FREES, ADOPTS = range(7)
RECLAIMS, USER_BATCH, SPARE_BLOCKS, KSWAPD_RUNS, TOGGLES = range(7, 12)


class Tally(NamedTuple):
    """Where a run stands: page identities, accounts, samples."""

    page_of: NDArray[np.int32]  # (recorded pages,) simulated page that stands for a recorded one, -1 when none
    name_of: NDArray[np.int32]  # (P,) the reverse for ordinary pages, see replay.kernel.compaction.name_at
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
def name_pages(kind, page_of, own):
    """With `own`, every page in use stands for itself. Returns the last unmovable page in use, 0 if there is none."""
    last = np.int64(0)
    for page in range(len(kind)):
        if own and kind[page] >= USED:
            page_of[page] = page
        if kind[page] == USED + UNMOVABLE:
            last = np.int64(page)
    return last


@compiled
def advance(allocator, direct_map, pool, tally, ts):
    """Let time pass up to `ts`: integrals and samples of the state as it is now."""
    count = tally.counts
    dt = ts - count[CLOCK]
    if dt <= 0:
        return
    while count[SAMPLE] < len(tally.edges) and tally.edges[count[SAMPLE]] <= ts:
        row = tally.samples[count[SAMPLE]]
        row[0] = count[PTP_LIVE]
        row[1] = pool.counts[HELD]
        row[2] = pool.counts[CACHED] + pool.counts[ON_OWN] + pool.counts[ASIDE]
        row[3] = pool.counts[LOW]
        row[4] = direct_map.counts[maps.PAGES + maps.PTE]
        row[6], row[7] = direct_map.counts[maps.PAGES + maps.PMD], direct_map.counts[maps.PAGES + maps.PUD]
        row[5] = allocator.free_pages.sum()
        pool.counts[LOW] = pools.tables_cached(pool)
        count[SAMPLE] += 1
    tally.integral[IDLE_TIME] += float(pool.counts[CACHED] + pool.counts[ON_OWN] + pool.counts[ASIDE]) * dt
    tally.integral[STRANDED_TIME] += float(pool.counts[STRANDED]) * dt
    tally.integral[UNKEYED_TIME] += float(count[UNKEYED]) * dt
    tally.integral[PTE_TIME] += float(direct_map.counts[maps.PAGES + maps.PTE]) * dt
    tally.integral[LIVE_TIME] += float(count[PTP_LIVE]) * dt
    tally.integral[BLOCK_TIME] += float(-(-count[PTP_LIVE] >> allocator.pageblock_order)) * dt
    count[CLOCK] = ts
    run_timers(allocator, ts)


@compiled
def change_key(direct_map, tally, pfn, pages, set_bits, clear_bits, now, cause, flush):
    """One permission change of the strategy's own on the direct map, with its accounts; tables must be there.

    Without `flush` only its splits flush: what is given more rights may stay in a TLB with fewer.
    """
    before = direct_map.counts[maps.SPLITS]
    changed = maps.apply(direct_map, pfn, pages, set_bits, clear_bits, now, cause)
    tally.counts[CHANGES] += 1
    tally.counts[PAGES_CHANGED] += pages
    count_flushes(direct_map, tally, before, pages, changed * flush)


@compiled
def count_flushes(direct_map, tally, splits_before, pages, changed):
    """Count the TLB flushes of a change of `pages`: those of its splits, and one at the end if anything changed."""
    at_splits = maps.flushes_of_splits(direct_map, direct_map.counts[maps.SPLITS] - splits_before)
    tally.counts[FLUSHES] += at_splits + (changed > 0)
    tally.counts[FULL_FLUSHES] += at_splits + (changed > 0 and maps.flushes_all(direct_map, pages))


def counts_of_changes(direct_map: maps.DirectMap, tally: Tally) -> NDArray[np.int64]:
    """(3,) leaves split, TLB flushes, and full ones, so far."""
    return np.array([direct_map.counts[maps.SPLITS], tally.counts[FLUSHES], tally.counts[FULL_FLUSHES]], np.int64)


@compiled
def wait_for_list(pool, tally, locked_before, now):
    """Whoever took the lock of the shared list since then has waited until a walk or a refill let go of it."""
    if pool.counts[pools.LOCKED] > locked_before:
        tally.counts[LIST_WAIT] += max(tally.counts[LIST_HELD_UNTIL] - now, 0)


@compiled
def key_of_table(direct_map, tally, pfn, pages, set_bits, clear_bits, now, cause, flush):
    """The key of one table, where each has its own; not accounted for where each write into the table toggles it."""
    if tally.fast[TOGGLES]:
        maps.apply(direct_map, pfn, pages, set_bits, clear_bits, now, cause)
    else:
        change_key(direct_map, tally, pfn, pages, set_bits, clear_bits, now, cause, flush)


@compiled
def place_table(allocator, tally, recorded, pfn, order, kind):
    """Account for a page table that was handed out: identity, liveness, blocks touched."""
    pages = 1 << order
    for page in range(pages):
        tally.page_of[recorded + page] = pfn + page
        allocator.kind[pfn + page] = kind
    tally.touched[pfn >> allocator.pageblock_order] = True
    count = tally.counts
    count[PTP_ALLOCS] += 1
    count[PTP_LIVE] += pages
    count[PTP_PEAK] = max(count[PTP_PEAK], count[PTP_LIVE])
    if kind == TABLE_PLAIN:
        count[UNKEYED] += pages
        count[PTP_UNKEYED] += 1


@compiled
def place_table_of_pool(allocator, direct_map, tally, recorded, pfn, order, now, cause):
    """Put a page table on pages of the pool, with its key where each table gets one: they are mapped small then."""
    if tally.fast[KEY_EACH]:
        key_of_table(direct_map, tally, pfn, 1 << order, maps.KEYED, 0, now, cause, True)
    place_table(allocator, tally, recorded, pfn, order, POOL_USED)


@compiled
def place_table_on_pages(allocator, direct_map, tally, recorded, pfn, order, now, cause):
    """Put a page table on pages of the page allocator, with its key where each such table gets one."""
    kind = TABLE_PLAIN
    if tally.fast[KEY_EACH] and not tally.fast[POOLED]:
        kind = TABLE_KEYED
        change_key(direct_map, tally, pfn, 1 << order, maps.KEYED, 0, now, cause, True)
    place_table(allocator, tally, recorded, pfn, order, kind)


@compiled
def needs_construction(direct_map, tally, pfn, order):
    """Whether the key of a new page table takes splits, and so a decision."""
    if not tally.fast[CONSTRUCTS]:
        return False
    return maps.tables_needed(direct_map, pfn, 1 << order, maps.KEYED, 0) > 0


@compiled
def count_allocation(direct_map, tally, pfn):
    """Count an allocation that was placed, and whether its page is mapped at 4K."""
    tally.counts[EVENTS] += 1
    tally.counts[ALLOCS] += 1
    tally.counts[ALLOCS_PTE] += direct_map.level[pfn >> direct_map.table_shift] == maps.PTE


@compiled
def place_special(allocator, direct_map, pool, tally, recorded, pfn, order, now, cause):
    """Account for memory of the pool that went to another kind of user than page tables.

    Where kinds of user have no lists of their own it is secret memory, and gets the pool's permission as tables do.
    """
    if not pool.users and tally.fast[KEY_EACH]:
        change_key(direct_map, tally, pfn, 1 << order, maps.KEYED, 0, now, cause, True)
    for page in range(1 << order):
        tally.page_of[recorded + page] = pfn + page
        if not pool.users:
            allocator.kind[pfn + page] = POOL_SECRET


@compiled
def place(allocator, tally, recorded, pfn, order):
    """Account for an ordinary allocation that was placed."""
    for page in range(1 << order):
        tally.page_of[recorded + page] = pfn + page
        set_name(tally.name_of, pfn + page, recorded + page)
    if allocator.kind[pfn] == USED + UNMOVABLE:
        tally.counts[LAST_UNMOVABLE] = pfn


@compiled
def count_kernel_memory(kind, d):
    """Pages of the kernel's own, and those of them that are mapped at 4K."""
    kernel = in_pages = np.int64(0)
    for page in range(len(kind)):
        if kind[page] >= USED and kind[page] != USED + MOVABLE and (page >= len(d.mapped) or d.mapped[page]):
            kernel += 1
            in_pages += d.level[page >> d.table_shift] == maps.PTE
    return kernel, in_pages
