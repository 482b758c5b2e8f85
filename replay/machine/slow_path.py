"""__alloc_pages_slowpath() (mm/page_alloc.c, 6.12): what a request goes through that no free list can serve at once."""

from dataclasses import dataclass
from typing import NamedTuple

from ptpool.vocabulary import MOVABLE, SLOW_PATH_STEPS, UNMOVABLE
from replay.contract.actions import Decision, Wait
from replay.kernel.fallback import unreserve_highatomic
from replay.kernel.gfp import (
    MAY_FS,
    MAY_IO,
    MAY_RECLAIM,
    MEMALLOC,
    NORETRY,
    RETRY_MAYFAIL,
    RIGHTS,
    THISNODE,
    WAKES_KSWAPD,
    ZONE_CLASS_MASK,
)
from replay.kernel.mmzone import ZONE_NORMAL
from replay.kernel.page_alloc import alloc_block, alloc_block_after_reclaim
from replay.kernel.per_cpu import drain_all_pages
from replay.kernel.watermark import wake_kswapd
from replay.machine.state import State
from replay.machine.vmscan import COSTLY_ORDER, MAX_RECLAIM_RETRIES, direct_reclaim, fall_back

_MAX_COMPACT_RETRIES = 16
"""MAX_COMPACT_RETRIES, mm/page_alloc.c."""

_LONGEST_PAUSE_NS = 100_000_000
"""HZ/10, the longest that reclaim_throttle() (mm/vmscan.c, 6.12) puts a task to sleep."""


def allocate(
    state: State, order: int, *, for_pool: bool = False, block: int | None = None, compacts: bool = False
) -> Decision:
    """alloc_pages() with the rights of the decision's context, slow path included; first page frame number, or -1.

    With `block`, the page allocator takes 2^block pages for such a request; `compacts`: it also compacts for them.
    """
    state.tally.attempts[order] += 1
    context = ZONE_NORMAL | state.running.context & RIGHTS
    if state.running.reclaiming:
        context |= MEMALLOC  # PF_MEMALLOC: below all watermarks
    pfn = int(alloc_block(state.allocator, state.cpu, order, UNMOVABLE, context, order if block is None else block))
    if pfn >= 0:
        return pfn
    return (yield from slow_path(state, order, UNMOVABLE, context, for_pool=for_pool, block=block, compacts=compacts))


def slow_path(
    state: State,
    order: int,
    migratetype: int,
    context: int,
    *,
    for_pool: bool = False,
    block: int | None = None,
    compacts: bool = False,
) -> Decision:
    """__alloc_pages_slowpath() (mm/page_alloc.c, 6.12) from where it may sleep; each step entered is counted once.

    A task that the OOM killer would kill lives on. Where the kernel would loop, the request is left out. A request that
    may not enter file systems kills no task: it loops until others have freed enough, or until the recording ends.

    Returns:
        First page frame number, or -1: NULL (not allowed to reclaim, in reclaim, not allowed to loop or to kill), an
        OOM kill, or a livelock.
    """
    flags = state.flags[order]
    pfn, insists = -1, False
    falls_back = state.strategy.falls_back and block is None and not state.running.reclaiming
    falls_back = falls_back and bool(context & MAY_RECLAIM or not state.strategy.fall_back_sleeps)
    wanted = _Wanted(order, migratetype, context, order if block is None else block, compacts or block is None)
    while falls_back and (yield from fall_back(state, order, migratetype)):
        pfn = int(alloc_block(state.allocator, state.cpu, order, migratetype, context, order))
        if pfn >= 0:
            return pfn
    if context & MAY_RECLAIM and not state.running.reclaiming:
        state.stalls += 1
        entered: set[str] = set()
        pfn = yield from _reclaim_and_compact(state, wanted, entered)
        if pfn < 0 and order <= COSTLY_ORDER and unreserve_highatomic(state.allocator, migratetype, True):
            pfn = _after_reclaim(state, wanted)  # should_reclaim_retry()
        insists = _calls_oom_killer(order, context)
        if pfn < 0 and insists and context & MAY_FS:
            entered.add("oom_kill")
            state.incident("oom_kill", order, f"nothing left to reclaim{' for the pool' if for_pool else ''}")
            state.kills_by_refill += for_pool
        elif pfn < 0 and insists:
            pfn = yield from _keep_looping(state, wanted, entered)
        for flag in entered:
            flags[SLOW_PATH_STEPS.index(flag)] += 1
    if pfn < 0:
        flags[SLOW_PATH_STEPS.index("null")] += not insists
        state.failures[order] += 1
    return pfn


class _Wanted(NamedTuple):
    """A request in the slow path."""

    order: int
    migratetype: int
    context: int
    block: int
    """Order of what the page allocator takes for it."""
    compacts: bool
    """Whether compaction makes blocks of that order."""


def _reclaim_and_compact(state: State, wanted: _Wanted, entered: set[str]) -> Decision:
    """Direct compaction and direct reclaim in the order of the kernel; adds to `entered` what was.

    Asynchronous compaction comes first if the block would be costly or would mix pageblocks. Then rounds of reclaim and
    synchronous compaction: one for costly orders and for __GFP_NORETRY; for single pages while reclaim frees anything,
    but no more than MAX_RECLAIM_RETRIES in which free memory does not grow (a shrinker may use what it frees); for
    blocks see `_Effort.again`.
    """
    order, context = wanted.order, wanted.context
    costly, compacts = order > COSTLY_ORDER, wanted.compacts and wanted.block > 0
    yield Wait(state.costs.stall_ns)
    if costly or (compacts and wanted.migratetype != MOVABLE):
        entered.add("compact_async")
        if (pfn := _after_compaction(state, wanted, sync=False)[1]) >= 0:
            return pfn
    once = context & NORETRY or (costly and not context & RETRY_MAYFAIL)
    effort = _Effort(sync=not (costly and context & NORETRY))
    most_free = barren = 0
    while True:
        entered.add("reclaim")
        progress = yield from direct_reclaim(state, order, context)
        if (pfn := _after_reclaim(state, wanted)) >= 0:
            return pfn
        moved = None
        if compacts:
            entered.add("compact_sync" if effort.sync else "compact_async")
            moved, pfn = _after_compaction(state, wanted, sync=effort.sync, full=effort.full)
            if pfn >= 0:
                return pfn
        free = int(state.allocator.free_pages.sum())
        barren = 0 if free > most_free else barren + 1
        most_free = max(free, most_free)
        if not progress or once or barren == MAX_RECLAIM_RETRIES:
            return -1
        if order > 0 and not (context & MAY_IO and effort.again(costly, moved)):
            return -1
        yield Wait(state.costs.stall_ns)


@dataclass
class _Effort:
    """How hard compaction tries for one request."""

    sync: bool
    full: bool = False
    retries: int = 0

    def again(self, costly: bool, moved: int | None) -> bool:
        """should_compact_retry() (mm/page_alloc.c, 6.12), after reclaim that made progress: one more round, or give up.

        Again as it was where no zone had enough free memory, and MAX_COMPACT_RETRIES times where a block was made that
        the request could not have; else with full effort and without deferral, unless that was so already or the order
        is costly.
        """
        if moved is None:
            return True
        self.retries += moved > 0
        if moved > 0 and self.retries <= (_MAX_COMPACT_RETRIES // 4 if costly else _MAX_COMPACT_RETRIES):
            return True
        rises = not (self.full or costly)
        self.full, self.retries = self.full or rises, 0
        return rises


def _calls_oom_killer(order: int, context: int) -> bool:
    """Whether __alloc_pages_may_oom() would call out_of_memory() for this request."""
    refuses = context & (NORETRY | RETRY_MAYFAIL | THISNODE) or context & ZONE_CLASS_MASK < ZONE_NORMAL
    return order <= COSTLY_ORDER and not refuses


def _keep_looping(state: State, wanted: _Wanted, entered: set[str]) -> Decision:
    """Retry as GFP_NOFS and GFP_NOIO requests do when nothing is left.

    out_of_memory() (mm/oom_kill.c, 6.12) kills no task for them and reports progress to __alloc_pages_slowpath(). What
    helps is kswapd, which is woken each time, and what other tasks free. Pauses double from round to round (ours): a
    thousand rounds without progress show no more than one.
    """
    order, context = wanted.order, wanted.context
    began, left, pause = state.now, state.demand.last_ns - state.now, state.costs.stall_ns
    while left > 0:
        if context & WAKES_KSWAPD:
            wake_kswapd(state.allocator, order, context & ZONE_CLASS_MASK)
        pause = min(pause, left)
        yield Wait(pause)
        left, pause = left - pause, min(2 * pause, _LONGEST_PAUSE_NS)
        if (pfn := (yield from _reclaim_and_compact(state, wanted, entered))) >= 0:
            return pfn
    looped = (state.now - began) / 1e9
    state.incident("livelock", order, f"may not enter file systems, and looped for {looped:.3g} s until the end")
    return -1


def _after_compaction(state: State, wanted: _Wanted, *, sync: bool, full: bool = False) -> tuple[int | None, int]:
    """__alloc_pages_direct_compact(): try if a block has become free. Returns pages moved, and a pfn or -1."""
    moved = state.reclaim.compact(state.cpu, wanted.block, wanted.migratetype, wanted.context, sync=sync, full=full)
    return (moved, _retried(state, wanted)) if moved else (moved, -1)


def _after_reclaim(state: State, wanted: _Wanted) -> int:
    """__alloc_pages_direct_reclaim(): try, and again with what per-CPU lists and reserves hold back."""
    pfn = _retried(state, wanted)
    if pfn < 0:
        unreserve_highatomic(state.allocator, wanted.migratetype, False)
        drain_all_pages(state.allocator)
        pfn = _retried(state, wanted)
    return pfn


def _retried(state: State, wanted: _Wanted) -> int:
    order, migratetype, context, block, _ = wanted
    return int(alloc_block_after_reclaim(state.allocator, state.cpu, order, migratetype, context, block))
