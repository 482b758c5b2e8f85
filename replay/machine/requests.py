"""What becomes of an event that the compiled loop cannot serve: decisions in which the strategy's are embedded.

Each is a generator like a strategy's own: it yields actions, is suspended while they take time, and ends by putting
what was asked for in its place.
"""

from itertools import count, pairwise

import numpy as np

from ptpool.vocabulary import CONSUMERS, MOVABLE, SLOW_PATH_STEPS, SPLIT_CAUSES, UNMOVABLE
from replay.contract.actions import Change, Chunk, Decision, Wait
from replay.demand.others import Asked, Place
from replay.kernel import direct_map as maps
from replay.kernel.fallback import unreserve_highatomic
from replay.kernel.gfp import (
    GFP_KERNEL,
    MAY_FS,
    MAY_RECLAIM,
    MEMALLOC,
    NORETRY,
    RETRY_MAYFAIL,
    THISNODE,
    WAKES_KSWAPD,
    ZONE_CLASS_MASK,
)
from replay.kernel.mmzone import ZONE_NORMAL
from replay.kernel.page_alloc import alloc_pages, alloc_pages_after_reclaim
from replay.kernel.per_cpu import drain_all_pages
from replay.machine import stretch
from replay.machine.pool import PAGE_TABLES
from replay.machine.schedule import DeadlockError
from replay.machine.state import WARM_UP, State

PGTABLE = CONSUMERS.index("pgtable_user")
_OF_TABLES = np.isin(np.arange(1 + max(PAGE_TABLES)), PAGE_TABLES)

COSTLY_ORDER = 3
"""PAGE_ALLOC_COSTLY_ORDER: above it the kernel reclaims once and gives up instead of killing."""

_MAX_COMPACT_RETRIES = _MAX_RECLAIM_RETRIES = 16
"""MAX_COMPACT_RETRIES, mm/page_alloc.c; MAX_RECLAIM_RETRIES, mm/internal.h."""

_LONGEST_PAUSE_NS = 100_000_000
"""HZ/10, the longest that reclaim_throttle() (mm/vmscan.c, 6.12) puts a task to sleep."""

_REFILL_TRIES = 8
"""Refills for one request before it counts as refused: each refill yields at least a page more than it costs."""


def memory_from_pool(state: State, recorded: int, order: int, consumer: int = PGTABLE) -> Decision:
    """Serve a page table, or another kind of user, from the pool: refill until it can, or the strategy refuses."""
    strategy, is_table = state.strategy, bool(state.tally.protected[consumer])
    pfn = state.take_above_reserve(order, consumer)
    for _ in range(_REFILL_TRIES):
        if pfn >= 0:
            break
        user = int(state.tally.user_of[consumer])
        refill = strategy.refill(state.view, order) if is_table else strategy.refill_user(state.view, user)
        served = yield from _unless_deadlocked(state, refill)
        if served is None:
            break
        pfn = served.pfn if isinstance(served, Chunk) else state.take_above_reserve(order, consumer)
    if pfn < 0:
        state.incident("ptp_null" if is_table else "pool_null", order, "the pool is empty and cannot be refilled")
        state.unplaced()
        return
    a, d, t = state.allocator, state.direct_map, state.tally
    if is_table:
        stretch.place_table_of_pool(a, d, t, recorded, pfn, order, state.now, state.cause)
    else:
        stretch.place_special(t, recorded, pfn, order)
    stretch.count_allocation(state.direct_map, state.tally, pfn)


def constructed_table(state: State, recorded: int, pfn: int, order: int) -> Decision:
    """Let the strategy set the key of a page table whose page lies under a large leaf."""
    keyed = yield from _unless_deadlocked(state, state.strategy.construct(state.view, Chunk(pfn, order)))
    state.place_constructed(recorded, pfn, order, keyed=bool(keyed))


def new_table(state: State, recorded: int, pfn: int, order: int) -> Decision:
    """The same for one whose pages the compiled loop has just got."""
    yield from constructed_table(state, recorded, pfn, order)
    stretch.count_allocation(state.direct_map, state.tally, pfn)


def table_from_page_allocator(state: State, recorded: int) -> Decision:
    """A page table alive at the start of which only the existence is known."""
    if (pfn := (yield from pages(state, 0))) >= 0:
        yield from table_on_pages(state, recorded, pfn, 0)
    else:
        state.incident("ptp_null", 0, "the page allocator has no page for a page table")


def short_of_memory(state: State, at: int) -> Decision:
    """The slow path of an allocation of the recorded workload, or of a page table taken from the page allocator."""
    program, tally = state.demand.program, state.tally
    recorded, order = int(program.pfn[at]), int(program.order[at])
    is_table = bool(tally.protected[program.consumer[at]])
    migratetype = UNMOVABLE if is_table else int(program.migratetype[at])
    context = GFP_KERNEL if is_table else int(program.context[at])
    pfn = yield from slow_path(state, order, migratetype, context)
    if pfn < 0:
        if is_table:
            state.incident("ptp_null", order, "the page allocator has no page for a page table")
        state.unplaced()
        return
    if is_table:
        yield from table_on_pages(state, recorded, pfn, order)
    else:
        stretch.place(state.allocator, tally, recorded, pfn, order)
    stretch.count_allocation(state.direct_map, tally, pfn)
    if program.consumer[at] == stretch.SECRET:
        yield from outside_change(state, at)


def table_on_pages(state: State, recorded: int, pfn: int, order: int) -> Decision:
    """Put a page table on pages of the page allocator, with its key where each table gets one."""
    a, d, t = state.allocator, state.direct_map, state.tally
    if stretch.needs_construction(d, t, pfn, order):
        yield from constructed_table(state, recorded, pfn, order)
    else:
        stretch.place_table_on_pages(a, d, t, recorded, pfn, order, state.now, state.cause)


def outside_change(state: State, at: int) -> Decision:
    """A permission change by others: of secret memory that was just allocated, or what `replay.demand.others` tells.

    Pages that are neighbours in the recording need not be neighbours here: each run of them is a change of its own.
    """
    program, tally = state.demand.program, state.tally
    if program.op[at] == stretch.OUTSIDE_CHANGE:
        changes = _changes_by_others(state, int(program.pfn[at]), state.demand.changes[program.context[at]])
    else:
        changes = [Change(int(tally.page_of[program.pfn[at]]), 1 << int(program.order[at]), maps.NOT_PRESENT)]
    state.changes_left_out += not changes
    for change in changes:
        if not (yield from _unless_deadlocked(state, state.strategy.outside(state.view, change))):
            state.incident("split_starvation", None, "-ENOMEM for a permission change by others")


def _changes_by_others(state: State, first: int, asked: Asked) -> list[Change]:
    """Where a change by others lies now; page tables, and what is not mapped, are not theirs and stay as they are."""
    if asked.place == Place.UNKNOWN:
        return [Change(int(state.tally.counts[stretch.LAST_UNMOVABLE]), asked.pages, asked.set_bits, asked.clear_bits)]
    pages = np.arange(first, first + asked.pages)
    if asked.place == Place.RECORDED:
        pages = state.pages_of(pages)
    mapped, kind = state.direct_map.mapped, state.allocator.kind
    pages = pages[pages < len(mapped)]
    pages = pages[mapped[pages] & ~_OF_TABLES[kind[pages]]]
    edges = [0, *(np.flatnonzero(pages[1:] - pages[:-1] != 1) + 1).tolist(), len(pages)]
    runs = [(int(pages[edge]), after - edge) for edge, after in pairwise(edges) if after > edge]
    if asked.place == Place.DRAWN and runs:
        runs = [max(runs, key=lambda run: run[1])]
    return [Change(page, length, asked.set_bits, asked.clear_bits) for page, length in runs]


def pages(state: State, order: int) -> Decision:
    """alloc_pages(GFP_KERNEL, order), slow path included; first page frame number, or -1."""
    state.tally.attempts[order] += 1
    context = GFP_KERNEL | MEMALLOC if state.running.reclaiming else GFP_KERNEL  # PF_MEMALLOC: below all watermarks
    pfn = int(alloc_pages(state.allocator, state.cpu, order, UNMOVABLE, context))
    return pfn if pfn >= 0 else (yield from slow_path(state, order, UNMOVABLE, context))


def slow_path(state: State, order: int, migratetype: int, context: int) -> Decision:
    """__alloc_pages_slowpath() (mm/page_alloc.c, 6.12) from where it may sleep: what was entered is flagged, once.

    Whom the OOM killer would kill lives on: the kernel would loop, here the request is left out. A request that may not
    enter file systems kills nobody: it loops until others have freed enough, or until the recording ends.

    Returns:
        First page frame number, or -1: NULL (not allowed to reclaim, in reclaim, not allowed to loop or to kill), an
        OOM kill, or a livelock.
    """
    flags = state.flags[order]
    pfn, insists = -1, False
    if state.strategy.shrinks_early and not state.running.reclaiming and (yield from _shrink(state)):
        pfn = int(alloc_pages(state.allocator, state.cpu, order, migratetype, context))
        if pfn >= 0:
            return pfn
    if context & MAY_RECLAIM and not state.running.reclaiming:
        state.stalls += 1
        entered: set[str] = set()
        pfn = yield from _reclaim_and_compact(state, order, migratetype, context, entered)
        if pfn < 0 and order <= COSTLY_ORDER and unreserve_highatomic(state.allocator, migratetype, True):
            pfn = _after_reclaim(state, order, migratetype, context)  # should_reclaim_retry()
        insists = _calls_oom_killer(order, context)
        if pfn < 0 and insists and context & MAY_FS:
            entered.add("oom_kill")
            state.incident("oom_kill", order, "nothing left to reclaim")
        elif pfn < 0 and insists:
            pfn = yield from _keep_looping(state, order, migratetype, context, entered)
        for flag in entered:
            flags[SLOW_PATH_STEPS.index(flag)] += 1
    if pfn < 0:
        flags[SLOW_PATH_STEPS.index("null")] += not insists
        state.failures[order] += 1
    return pfn


def _reclaim_and_compact(state: State, order: int, migratetype: int, context: int, entered: set[str]) -> Decision:
    """Direct compaction and direct reclaim in the order of the kernel; adds to `entered` what was.

    Asynchronous compaction comes first if the block would be costly or would mix pageblocks. Then rounds of reclaim and
    synchronous compaction: one for costly orders and for __GFP_NORETRY, else while reclaim frees anything; no more than
    MAX_RECLAIM_RETRIES in which free memory does not grow (a shrinker may use what it frees), and no more than
    MAX_COMPACT_RETRIES for blocks.
    """
    costly = order > COSTLY_ORDER
    yield Wait(state.costs.stall_ns)
    if costly or (order > 0 and migratetype != MOVABLE):
        entered.add("compact_async")
        if (pfn := _after_compaction(state, order, migratetype, context, sync=False)) >= 0:
            return pfn
    once = context & NORETRY or (costly and not context & RETRY_MAYFAIL)
    sync = not (costly and context & NORETRY)
    most_free = barren = 0
    for tries in count():
        entered.add("reclaim")
        freed = (yield from _shrink(state)) + state.reclaim.direct(state.cpu, context)
        if (pfn := _after_reclaim(state, order, migratetype, context)) >= 0:
            return pfn
        if order > 0:
            entered.add("compact_sync" if sync else "compact_async")
            if (pfn := _after_compaction(state, order, migratetype, context, sync=sync)) >= 0:
                return pfn
        free = int(state.allocator.free_pages.sum())
        barren = 0 if free > most_free else barren + 1
        most_free = max(free, most_free)
        if not freed or once or barren == _MAX_RECLAIM_RETRIES or (order > 0 and tries == _MAX_COMPACT_RETRIES):
            return -1
        yield Wait(state.costs.stall_ns)


def _calls_oom_killer(order: int, context: int) -> bool:
    """Whether __alloc_pages_may_oom() would call out_of_memory() for this request."""
    refuses = context & (NORETRY | RETRY_MAYFAIL | THISNODE) or context & ZONE_CLASS_MASK < ZONE_NORMAL
    return order <= COSTLY_ORDER and not refuses


def _keep_looping(state: State, order: int, migratetype: int, context: int, entered: set[str]) -> Decision:
    """Go round again and again, as GFP_NOFS and GFP_NOIO requests do that nothing is left for.

    out_of_memory() (mm/oom_kill.c, 6.12) kills nobody for them and tells __alloc_pages_slowpath() that there was
    progress. What helps is kswapd, which is woken each time, and what other tasks free. Pauses double from round to
    round (ours): a thousand rounds without progress tell no more than one.
    """
    began, left, pause = state.now, state.demand.last_ns - state.now, state.costs.stall_ns
    while left > 0:
        if context & WAKES_KSWAPD:
            state.reclaim.wake_kswapd()
        pause = min(pause, left)
        yield Wait(pause)
        left, pause = left - pause, min(2 * pause, _LONGEST_PAUSE_NS)
        state.reclaim.balance_if_due()
        if (pfn := (yield from _reclaim_and_compact(state, order, migratetype, context, entered))) >= 0:
            return pfn
    looped = (state.now - began) / 1e9
    state.incident("livelock", order, f"may not enter file systems, and looped for {looped:.3g} s until the end")
    return -1


def _after_compaction(state: State, order: int, migratetype: int, context: int, *, sync: bool) -> int:
    """__alloc_pages_direct_compact(): try if a block has become free."""
    if not state.reclaim.compact(state.cpu, order, migratetype, context, sync=sync):
        return -1
    return int(alloc_pages_after_reclaim(state.allocator, state.cpu, order, migratetype, context))


def _after_reclaim(state: State, order: int, migratetype: int, context: int) -> int:
    """__alloc_pages_direct_reclaim(): try, and again with what per-CPU lists and reserves hold back."""
    request = (state.allocator, state.cpu, order, migratetype, context)
    pfn = int(alloc_pages_after_reclaim(*request))
    if pfn < 0:
        unreserve_highatomic(state.allocator, migratetype, False)
        drain_all_pages(state.allocator)
        pfn = int(alloc_pages_after_reclaim(*request))
    return pfn


def _unless_deadlocked(state: State, decision: Decision) -> Decision:
    """A strategy's decision; None if it would never end: what it has in hand goes back."""
    try:
        return (yield from decision)
    except DeadlockError as never:
        state.abandon(str(never))
        return None


def trim(state: State) -> Decision:
    """A worker enters the shrinker, once at a time, because more whole blocks are idle than the pool keeps."""
    fast = state.tally.fast
    spare, fast[stretch.SPARE_BLOCKS] = int(fast[stretch.SPARE_BLOCKS]), -1
    yield from _shrink(state)
    fast[stretch.SPARE_BLOCKS] = spare


def _shrink(state: State) -> Decision:
    """Enter the strategy's shrinker, as direct reclaim does; it is not entered from within itself."""
    running = state.running
    before = running.cause
    if before != WARM_UP:
        running.cause = SPLIT_CAUSES.index("shrink")
    running.reclaiming = True
    freed = (yield from _unless_deadlocked(state, state.strategy.shrink(state.view))) or 0
    running.reclaiming = False
    running.cause = before
    state.shrunk += freed
    return int(freed)
