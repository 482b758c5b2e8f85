"""Who enters a strategy's shrinker, and how often: direct reclaim and kswapd (mm/vmscan.c and mm/shrinker.c, 6.12).

What a shrinker frees counts as progress of neither: the postings' do not call mm_account_reclaimed_pages(). So kswapd,
where nothing else can be reclaimed, goes through all priorities each time, and gives the node up after 16 times. Where
the frees by reclaim of the recording are kept, those since kswapd last ran stand for what it finds (ours).
"""

from ptpool.vocabulary import SPLIT_CAUSES
from replay.contract.actions import Decision
from replay.kernel.compaction import compaction_ready
from replay.kernel.gfp import ZONE_CLASS_MASK
from replay.kernel.mmzone import (
    BALANCE_DUE,
    BOOST,
    CLASS,
    KSWAPD_DUE,
    NEVER,
    NODE,
    WMARK_HIGH,
    WOKEN_CLASS,
    WOKEN_ORDER,
)
from replay.kernel.watermark import pgdat_balanced
from replay.machine.schedule import DeadlockError
from replay.machine.state import WARM_UP, State

COSTLY_ORDER = 3
"""PAGE_ALLOC_COSTLY_ORDER: above it the kernel reclaims once and gives up instead of killing."""

MAX_RECLAIM_RETRIES = 16
"""mm/internal.h: rounds of direct reclaim, and failures of kswapd, without progress."""

_DEF_PRIORITY = 12
_SWAP_CLUSTER_MAX = 32


def direct_reclaim(state: State, order: int, context: int) -> Decision:
    """try_to_free_pages(): lists and shrinkers, at rising priority until a batch of pages is freed.

    For an order above PAGE_ALLOC_COSTLY_ORDER only zones are reclaimed that compaction could not use as they are, and
    the first priority is the last if there are others.

    Returns:
        Progress: pages freed, 1 if it was left to compaction, 0 if there was none.
    """
    a, reclaim, freed, ready = state.allocator, state.reclaim, 0, False
    share, zone_class = reclaim.share_for(context), context & ZONE_CLASS_MASK
    if not share and not state.strategy.shrinks:
        return 0
    usable = reclaim.zones_of(state.cpu, context)
    for priority in range(_DEF_PRIORITY, -1, -1):
        zones = usable
        if order > COSTLY_ORDER:
            short = [zone for zone in zones if not compaction_ready(a, zone, order, zone_class)]
            zones, ready = short, len(short) < len(zones)
        freed += reclaim.shrink_lists(state.cpu, zones, priority, _SWAP_CLUSTER_MAX - freed, share)[0]
        for _ in {int(a.zones[zone, NODE]) for zone in zones}:
            yield from shrink_slab(state, priority)
        if ready or freed >= _SWAP_CLUSTER_MAX:
            break
        if not reclaim.finds_any(zones, share) and _freeable(state) <= 0:
            break  # at no other priority either
    reclaim.done["reclaimed"] += freed
    return freed or int(ready)


def kswapd(state: State) -> Decision:
    """What each node's thread does, for the highest order and zone that it was woken for."""
    clock = state.allocator.clock
    order, zone_class = int(clock[WOKEN_ORDER]), int(clock[WOKEN_CLASS])
    clock[WOKEN_ORDER] = clock[WOKEN_CLASS] = 0
    for node in range(len(state.allocator.zonelist)):
        if state.reclaim.failures[node] < MAX_RECLAIM_RETRIES:
            yield from _balance_pgdat(state, node, order, zone_class)


def kswapd_due(state: State) -> int:
    """When kswapd, woken for an order or a boost, runs; NEVER: it sleeps."""
    return int(state.allocator.clock[BALANCE_DUE])


def put_off_kswapd(state: State, until: int = NEVER) -> None:
    """Kswapd runs now; or it is still running, and looks again later."""
    clock = state.allocator.clock
    clock[KSWAPD_DUE], clock[BALANCE_DUE] = NEVER, until


def _balance_pgdat(state: State, node: int, order: int, zone_class: int) -> Decision:
    """balance_pgdat(): from DEF_PRIORITY up, until a zone is above its high watermark and has a block of this order.

    Once twice that block has been reclaimed only order 0 counts (kswapd_shrink_node()). For a boost of the watermarks
    it goes on until as much has been reclaimed, or nothing is. Then the boost is taken back.
    """
    a, reclaim = state.allocator, state.reclaim
    state.running.cpu = cpu = int((a.node_of_cpu == node).argmax())
    zones = [z for z, row in enumerate(a.zones) if row[NODE] == node and row[CLASS] <= zone_class]
    boosts = a.zone_state[zones, BOOST].copy()
    boost, freed, priority = int(boosts.sum()), 0, _DEF_PRIORITY
    while priority >= 1:
        balanced = pgdat_balanced(a, node, order, zone_class)
        if boost and not balanced:
            boost, priority = 0, _DEF_PRIORITY
        if balanced and not boost:
            break
        wanted = sum(
            max(int(a.wmark[zone, WMARK_HIGH] + a.zone_state[zone, BOOST]), _SWAP_CLUSTER_MAX) for zone in zones
        )
        got, scanned = reclaim.shrink_lists(cpu, zones, priority, wanted, reclaim.share)
        reclaim.done["kswapd"] += got
        got += reclaim.take_recorded(min(scanned, wanted), node)
        yield from shrink_slab(state, priority)
        freed += got
        if order and freed >= 2 << order:  # compact_gap()
            order = 0
        enough = scanned >= wanted or (boost and priority == _DEF_PRIORITY - 2)
        boost -= min(boost, got)
        priority = 0 if boost and not got else priority - (not enough or not got)
    if priority < 1:
        reclaim.failures[node] += not freed
    a.zone_state[zones, BOOST] -= boosts.clip(max=a.zone_state[zones, BOOST])


def shrink_slab(state: State, priority: int) -> Decision:
    """do_shrink_slab() (mm/shrinker.c): scan a part of what could be freed, in batches; the rest is deferred.

    A scan counts for the pages that it freed (`nr_scanned`), as the shrinkers of kpkeys v6 and of unmapped_alloc() say
    themselves; one that frees nothing ends it, as SHRINK_STOP does.
    """
    strategy, freeable = state.strategy, _freeable(state)
    if freeable <= 0:
        return
    deferred, state.deferred = state.deferred, 0
    delta = (freeable >> priority) * 4 // strategy.seeks if strategy.seeks else freeable // 2
    left, scanned = min((deferred >> priority) + delta, 2 * freeable), 0
    while left >= strategy.shrink_batch or left >= freeable:
        if not (freed := (yield from enter_shrinker(state))):
            break
        left, scanned = left - freed, scanned + freed
    state.deferred += min(max(deferred + delta - scanned, 0), 2 * freeable)


def _freeable(state: State) -> int:
    """count_objects() of the strategy's shrinker; 0: it has none."""
    return state.strategy.freeable(state.view) if state.strategy.shrinks else 0


def enter_shrinker(state: State) -> Decision:
    """One scan of the strategy's shrinker; it is not entered from within itself. Returns the pages freed."""
    return _gives_back(state, state.strategy.shrink(state.view))


def fall_back(state: State, order: int, migratetype: int) -> Decision:
    """A request of others falls back to the pool, inside the page allocator. Returns the pages freed."""
    return _gives_back(state, state.strategy.fall_back(state.view, order, migratetype))


def _gives_back(state: State, decision: Decision) -> Decision:
    running = state.running
    before = running.cause
    if before != WARM_UP:
        running.cause = SPLIT_CAUSES.index("shrink")
    running.reclaiming = True
    freed = (yield from unless_deadlocked(state, decision)) or 0
    running.reclaiming = False
    running.cause = before
    state.shrunk += freed
    return int(freed)


def unless_deadlocked(state: State, decision: Decision) -> Decision:
    """A strategy's decision; None if it would never end: what it has in hand goes back."""
    try:
        return (yield from decision)
    except DeadlockError as never:
        state.abandon(str(never))
        return None
