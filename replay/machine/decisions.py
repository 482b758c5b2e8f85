"""The decisions that events stop the compiled loop for; the strategy's own are embedded in them.

Each is a generator like a strategy's own: it yields actions, is suspended while they take time, and ends by putting
what was asked for in its place.
"""

from itertools import pairwise

import numpy as np

from ptpool.vocabulary import CONSUMERS, UNMOVABLE
from replay.contract.actions import Change, Chunk, Decision, Wait
from replay.demand.others import Asked, Place
from replay.demand.program import OUTSIDE_CHANGE
from replay.kernel import direct_map as maps
from replay.kernel.gfp import MAY_RECLAIM
from replay.machine.loop import SECRET
from replay.machine.pool import PAGE_TABLES
from replay.machine.slow_path import allocate, slow_path
from replay.machine.state import State
from replay.machine.tally import (
    LAST_UNMOVABLE,
    SPARE_BLOCKS,
    count_allocation,
    needs_construction,
    place,
    place_special,
    place_table_of_pool,
    place_table_on_pages,
)
from replay.machine.vmscan import enter_shrinker, unless_deadlocked

PGTABLE_USER = CONSUMERS.index("pgtable_user")
_OF_TABLES = np.isin(np.arange(1 + max(PAGE_TABLES)), PAGE_TABLES)

_REFILL_TRIES = 8
"""Refills for one request before it counts as refused: each refill yields at least a page more than it costs."""


def memory_from_pool(state: State, recorded: int, order: int, consumer: int = PGTABLE_USER) -> Decision:
    """Serve a page table, or another kind of user, from the pool: refill until it can, or the strategy refuses."""
    strategy, is_table = state.strategy, bool(state.tally.protected[consumer])
    atomic = is_table and not state.running.context & MAY_RECLAIM
    pfn = state.take_above_reserve(order, consumer)
    for _ in range(_REFILL_TRIES):
        if pfn >= 0:
            break
        user = int(state.tally.user_of[consumer])
        if atomic:
            refill = strategy.refill_atomic(state.view, order)
        else:
            refill = strategy.refill(state.view, order) if is_table else strategy.refill_user(state.view, user)
        served = yield from unless_deadlocked(state, refill)
        if served is None:
            break
        pfn = served.pfn if isinstance(served, Chunk) else state.take_above_reserve(order, consumer)
    if pfn < 0 and atomic:
        state.incident("ptp_refused", order, "the pool is empty, and may not be refilled where nobody may sleep")
    elif pfn < 0:
        state.incident("ptp_null" if is_table else "pool_null", order, "the pool is empty and cannot be refilled")
    if pfn < 0:
        state.unplaced()
        return
    a, d, t = state.allocator, state.direct_map, state.tally
    if is_table:
        place_table_of_pool(a, d, t, recorded, pfn, order, state.now, state.cause)
    else:
        place_special(a, d, state.pool, t, recorded, pfn, order, state.now, state.cause)
    count_allocation(state.direct_map, state.tally, pfn)


def constructed_table(state: State, recorded: int, pfn: int, order: int) -> Decision:
    """Let the strategy set the key of a page table whose page lies under a large leaf."""
    keyed = yield from unless_deadlocked(state, state.strategy.construct(state.view, Chunk(pfn, order)))
    state.place_constructed(recorded, pfn, order, keyed=bool(keyed))


def new_table(state: State, recorded: int, pfn: int, order: int) -> Decision:
    """The same for one whose pages the compiled loop has just got."""
    yield from constructed_table(state, recorded, pfn, order)
    count_allocation(state.direct_map, state.tally, pfn)


def table_from_page_allocator(state: State, recorded: int) -> Decision:
    """A page table alive at the start of which only the existence is known."""
    if (pfn := (yield from allocate(state, 0))) >= 0:
        yield from table_on_pages(state, recorded, pfn, 0)
    else:
        state.incident("ptp_null", 0, "the page allocator has no page for a page table")


def short_of_memory(state: State, at: int) -> Decision:
    """The slow path of an allocation of the recorded workload, or of a page table taken from the page allocator."""
    program, tally = state.demand.program, state.tally
    recorded, order = int(program.pfn[at]), int(program.order[at])
    is_table = bool(tally.protected[program.consumer[at]])
    migratetype = UNMOVABLE if is_table else int(program.migratetype[at])
    pfn = yield from slow_path(state, order, migratetype, int(program.context[at]))
    if pfn < 0:
        if is_table:
            state.incident("ptp_null", order, "the page allocator has no page for a page table")
        state.unplaced()
        return
    if is_table:
        yield from table_on_pages(state, recorded, pfn, order)
    else:
        place(state.allocator, tally, recorded, pfn, order)
    count_allocation(state.direct_map, tally, pfn)
    if program.consumer[at] == SECRET:
        yield from outside_change(state, at)


def table_on_pages(state: State, recorded: int, pfn: int, order: int) -> Decision:
    """Put a page table on pages of the page allocator, with its key where each table gets one."""
    a, d, t = state.allocator, state.direct_map, state.tally
    if needs_construction(d, t, pfn, order):
        yield from constructed_table(state, recorded, pfn, order)
    else:
        place_table_on_pages(a, d, t, recorded, pfn, order, state.now, state.cause)


def outside_change(state: State, at: int) -> Decision:
    """A permission change by others: of secret memory that was just allocated, or one of `replay.demand.others`.

    Pages that are neighbours in the recording need not be neighbours here: each run of them is a change of its own.
    """
    program, tally = state.demand.program, state.tally
    if program.op[at] == OUTSIDE_CHANGE:
        changes = _changes_by_others(state, int(program.pfn[at]), state.demand.changes[program.context[at]])
    else:
        changes = [Change(int(tally.page_of[program.pfn[at]]), 1 << int(program.order[at]), maps.NOT_PRESENT)]
    state.changes_left_out += not changes
    for change in changes:
        if not (yield from unless_deadlocked(state, state.strategy.outside(state.view, change))):
            state.incident("split_starvation", None, "-ENOMEM for a permission change by others")


def _changes_by_others(state: State, first: int, asked: Asked) -> list[Change]:
    """Where a change by others lies now; page tables, and what is not mapped, are not theirs and stay as they are."""
    if asked.place == Place.UNKNOWN:
        return [Change(int(state.tally.counts[LAST_UNMOVABLE]), asked.pages, asked.set_bits, asked.clear_bits)]
    pages = np.arange(first, first + asked.pages)
    if asked.place == Place.RECORDED:
        pages = state.pages_of(pages)
    mapped, kind = state.direct_map.mapped, state.allocator.kind
    pages = pages[pages < len(mapped)]
    pages = pages[mapped[pages] & ~_OF_TABLES[kind[pages]]]
    edges = [0, *(np.flatnonzero(pages[1:] - pages[:-1] != 1) + 1).tolist(), len(pages)]
    runs = [(int(pages[edge]), after - edge) for edge, after in pairwise(edges) if after > edge]
    if asked.place == Place.DRAWN and runs:
        page, length = max(runs, key=lambda run: run[1])
        runs = [(each, 1) for each in range(page, page + length)] if state.direct_map.arm64 else [(page, length)]
    return [Change(page, length, asked.set_bits, asked.clear_bits) for page, length in runs]


def trim(state: State) -> Decision:
    """A worker enters the shrinker, once at a time, because more whole blocks are idle than the pool keeps.

    It runs as long after the free as kswapd after it is woken: schedule_work() puts it on the CPU that frees.
    """
    fast = state.tally.fast
    spare, fast[SPARE_BLOCKS] = int(fast[SPARE_BLOCKS]), -1
    yield Wait(state.allocator.features.kswapd_ns)
    yield from enter_shrinker(state)
    fast[SPARE_BLOCKS] = spare
