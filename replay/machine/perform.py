"""What each action of a decision does to the simulated machine, and how long it takes."""

from typing import Any, assert_never

import numpy as np

from ptpool.vocabulary import MOVABLE
from replay.contract import actions
from replay.contract.actions import Action, Change, Chunk, Decision, Tables, Unlock, Wait, keying
from replay.kernel import direct_map as maps
from replay.kernel.buddy import free_one_page
from replay.kernel.compaction import isolate_freepages_block
from replay.kernel.mmzone import USED, zone_of
from replay.kernel.page_alloc import free_pages
from replay.machine import pool as pools
from replay.machine.slow_path import allocate
from replay.machine.state import State
from replay.machine.tally import LIST_HELD_UNTIL, change_key, count_flushes, counts_of_changes


def perform(state: State, action: Action) -> tuple[Any, int]:
    """Carry out an action of the decision that is running.

    Returns:
        Its result, or a decision that is entered first and whose result it is; and the ns that it takes.
    """
    gives = actions.Give | actions.GiveRest | actions.GiveBlock
    if state.costs.refill_ns and isinstance(action, gives) and _is_refill(state, action.chunk):
        return _after_refill(state, action), 0
    return _perform(state, action)


def _after_refill(state: State, action: Action) -> Decision:
    """Give what a refill brought, once the time of a whole refill is over."""
    yield Wait(state.costs.refill_ns)
    result, ns = _perform(state, action)
    yield Wait(ns)
    return result


def _perform(state: State, action: Action) -> tuple[Any, int]:
    pool, allocator = state.pool, state.allocator
    match action:
        case actions.Alloc():
            return _chunk(state, action), state.costs.alloc_ns
        case actions.Isolate(chunk):
            return _isolate(state, chunk), state.costs.alloc_ns
        case actions.Free(chunk, buddy):
            state.running.in_hand.discard(chunk)
            if buddy:
                free_one_page(allocator, zone_of(allocator, chunk.pfn), chunk.pfn, chunk.order)
            else:
                free_pages(allocator, state.cpu, chunk.pfn, chunk.order)
        case actions.SetKey(chunk, tables, unlock):
            return _change(state, keying(chunk), tables, own=True, unlock=unlock), 0
        case actions.ResetKey(chunk, tables, flush):
            change = Change(chunk.pfn, chunk.pages, 0, maps.KEYED)
            return _change(state, change, tables, own=True, flush=flush), 0
        case actions.Convert(change, tables, flush):
            return _change(state, change, tables, own=True, flush=flush), 0
        case actions.MapSmall(chunk, tables):
            return _change(state, Change(chunk.pfn, 1, maps.KERNEL_4K), tables, own=True, flush=False), 0
        case actions.Apply(change, tables):
            return _change(state, change, tables, own=False), 0
        case actions.Give(chunk, user):
            _give(state, chunk, user)
            return None, _list_held(state, chunk.pages)
        case actions.GiveRest(chunk, order):
            _give(state, chunk)
            pfn = int(pools.take(allocator, pool, order)) if order <= chunk.order else -1
            return (Chunk(pfn, order) if pfn >= 0 else None), _list_held(state, chunk.pages)
        case actions.Walk(pages):
            state.walked += pages
            return None, _list_held(state, pages)
        case actions.Warn(detail):
            state.incident("warn", None, detail)
        case actions.GiveBlock(chunk):
            before = int(pool.counts[pools.HELD])
            _give(state, chunk)
            pools.give_block(allocator, pool, chunk.pfn)
            return None, (int(pool.counts[pools.HELD]) - before) * state.costs.page_ns
        case actions.Mark(chunk, marked):
            pool.marked[chunk.pfn >> allocator.pageblock_order] = marked
        case actions.Take(order):
            pfn = int(pools.take(allocator, pool, order))
            return (Chunk(pfn, order) if pfn >= 0 else None), state.costs.page_ns
        case actions.Withdraw(chunk):
            done = bool(pools.withdraw(allocator, pool, chunk.pfn, chunk.pages))
            return done, (chunk.pages if done else 1) * state.costs.page_ns
        case actions.SetAside(pages):
            return _set_aside(state, pages), 0
        case Wait(ns):
            return None, ns
        case actions.Lock() | actions.Unlock():
            pass  # the schedule's
        case _:
            assert_never(action)
    return None, 0


def _chunk(state: State, wanted: actions.Alloc) -> Decision:
    """A chunk of the page allocator for a strategy; None where there is none."""
    order, request, compacts = wanted
    most = state.start.geometry.max_order
    if order > most:
        raise ValueError(f"order {order} is above this machine's MAX_PAGE_ORDER, {most}")
    if state.booting:
        pfn = state.boot_memory.take(order)
    else:
        state.refill_attempts[order, 0] += 1
        if request is None:
            pfn = yield from allocate(state, order, for_pool=True)
        else:
            pfn = yield from allocate(state, request, for_pool=True, block=order, compacts=compacts)
    if pfn < 0:
        state.refill_attempts[order, 1] += 1
        return None
    state.running.in_hand.add(chunk := Chunk(pfn, order))
    return chunk


def _isolate(state: State, chunk: Chunk) -> tuple[Chunk, ...]:
    """isolate_freepages_block() of the pageblock of a chunk."""
    order = state.allocator.pageblock_order
    rows = np.empty((1 << order, 2), np.int64)
    count = isolate_freepages_block(state.allocator, chunk.pfn >> order << order, rows)
    found = tuple(Chunk(*row) for row in rows[:count].tolist())
    state.running.in_hand.update(found)
    state.running.isolated.update(found)
    first = chunk.pfn >> order << order
    if (state.allocator.kind[first : first + (1 << order)] == USED + MOVABLE).any():
        state.isolated_movable += sum(each.pages for each in found)
    return found


def _list_held(state: State, pages: int) -> int:
    """The lock of the shared list is held for so many pages: others that want it meanwhile wait. Returns ns."""
    ns = pages * state.costs.page_ns
    state.list_held_ns = max(state.list_held_ns, ns)
    state.tally.counts[LIST_HELD_UNTIL] = max(int(state.tally.counts[LIST_HELD_UNTIL]), state.now + ns)
    return ns


def _set_aside(state: State, pages: int) -> Decision:
    """Take whole 2M chunks and key them page by page, with tables out of what is set aside."""
    pool, order = state.pool, state.allocator.pageblock_order
    chunks = -(-pages >> order)
    if state.booting:
        state.boot_memory.check(chunks << order)
    for _ in range(chunks):
        first = state.boot_memory.take(order, memblock=True) if state.booting else (yield from allocate(state, order))
        if first < 0:
            state.incident("split_starvation", order, "no 2M block to set aside at boot")
            return
        chunk = Chunk(first, order)
        state.allocator.kind[first : first + chunk.pages] = pools.SPLIT_TABLE
        for place in (pools.ASIDE, pools.SET_ASIDE, pools.HELD):
            pool.counts[place] += chunk.pages
        pool.used[first >> order] += chunk.pages
        for page in range(first, first + chunk.pages):
            yield from _change(state, keying(Chunk(page, 0)), Tables.ASIDE, own=True)


def _is_refill(state: State, chunk: Chunk) -> bool:
    """Whether a chunk is what a refill asked for; not when a shrinker puts back what it could not free."""
    return chunk in state.running.in_hand and chunk not in state.running.isolated


def _give(state: State, chunk: Chunk, user: int | None = None) -> None:
    state.refills += _is_refill(state, chunk)
    state.running.in_hand.discard(chunk)
    if user is not None:
        pools.give_to_user(state.allocator, state.pool, user, chunk.pfn, chunk.pages)
    elif state.allocator.kind[chunk.pfn] == pools.POOL_USED:  # taken from the list before
        pools.put(state.allocator, state.pool, chunk.pfn, chunk.pages)
    else:
        pools.give(state.allocator, state.pool, chunk.pfn, chunk.pages)
    if chunk.order >= state.allocator.pageblock_order:
        state.pool.whole[chunk.pfn >> state.allocator.pageblock_order] = True


def _change(
    state: State,
    change: Change,
    tables: Tables | tuple[Chunk, ...],
    *,
    own: bool,
    flush: bool = True,
    unlock: str = "",
) -> Decision:
    """Plan a permission change, get the tables it needs, apply it. Returns whether it was done."""
    if missing := (yield from _tables(state, change, tables)):
        if own:  # others get -ENOMEM
            state.incident("split_starvation", None, missing)
        return False
    d, tally = state.direct_map, state.tally
    before = counts_of_changes(d, tally)
    if not own:  # its time is in the recording already
        changed = maps.apply(d, *change, state.now, state.cause)
        count_flushes(d, tally, int(before[0]), change.pages, changed)
        return True
    change_key(d, tally, *change, state.now, state.cause, flush)
    splits, flushes, full = (counts_of_changes(d, tally) - before).tolist()
    costs, cpus = state.costs, state.start.cpus
    at_splits = maps.flushes_of_splits(d, splits)
    if splits:
        yield Wait(costs.conversion_ns(0, splits, at_splits, at_splits, cpus))
    if unlock:
        yield Unlock(unlock)
    yield Wait(costs.conversion_ns(1, 0, flushes - at_splits, full - at_splits, cpus))
    return True


def _tables(state: State, change: Change, tables: Tables | tuple[Chunk, ...]) -> Decision:
    """Spend the tables of a permission change. Returns what was missing, if anything: nothing is spent then."""
    kind, pool, needed = state.allocator.kind, state.pool, state.view.tables_needed(change)
    if isinstance(tables, tuple):
        for chunk in tables:
            state.running.in_hand.discard(chunk)
            kind[chunk.pfn] = pools.SPLIT_TABLE
    elif tables is Tables.POOL:
        if needed > state.view.cached:
            return f"{needed} tables needed, {state.view.cached} cached"
        for _ in range(needed):
            pools.take_split_table(state.allocator, pool)
    elif tables is Tables.OWN:
        if needed > change.pages:
            return f"{needed} tables needed, {change.pages} pages to take them from"
        if needed:
            state.incident("unkeyed_table", None, f"{needed} tables could be written to before they were linked")
        kind[change.pfn : change.pfn + needed] = pools.SPLIT_TABLE
    elif tables is Tables.ASIDE and needed <= pool.counts[pools.ASIDE]:
        pools.take_aside(pool, needed)
    elif tables in (Tables.BUDDY, Tables.ASIDE):
        if tables is Tables.ASIDE:
            state.incident("unkeyed_table", None, "what was set aside is used up: an unprotected direct map table")
        return (yield from _ordinary_tables(state, change))
    return ""


def _ordinary_tables(state: State, change: Change) -> Decision:
    """Take the tables of a change from the page allocator, all of them or none. Returns what was missing, if anything.

    No lock is held meanwhile (split_large_page(), 6.18), and a shrinker that is entered may split the same leaves: so
    the plan is made again after each page, and pages too many go back.
    """
    taken: list[int] = []
    while len(taken) < (needed := state.view.tables_needed(change)):
        if (pfn := (yield from allocate(state, 0))) < 0:
            break
        taken.append(pfn)
    kept = needed if len(taken) >= needed else 0
    state.allocator.kind[taken[:kept]] = pools.SPLIT_TABLE
    state.unkeyed_split_tables += kept
    for pfn in taken[kept:]:
        free_pages(state.allocator, state.cpu, pfn, 0)
    return "" if len(taken) >= needed else "the page allocator has no page for a split"
