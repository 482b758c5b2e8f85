"""What is taken at boot is taken off a machine that has nothing on it yet."""

import numpy as np
import pytest
from accounts import metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of, tables
from toy_runs import BLOCK, TOY_PBA

from ptpool.vocabulary import CMA, MOVABLE, UNMOVABLE
from replay.kernel.mmzone import FREE, USED
from replay.machine.boot import DoesNotFitError
from replay.machine.machine import Machine
from replay.machine.pool import HELD, TABLE_KEYED
from replay.machine.state import State
from replay.machine.tally import PTP_LIVE
from replay.strategies.full_reserve import FullReserve
from replay.strategies.generic import Generic
from replay.strategies.pte_mapped import PteMapped
from replay.strategies.unprotected import Unprotected

RESERVE = FullReserve(refill_orders=(2, 0))
GENERIC = Generic(refill_orders=(2, 1), cache_order=1)


def worn(pages=64, every=4):
    """One page of each block is in use: no block is free."""
    return machine_of(pages, free=[page % every != 1 for page in range(pages)])


def state_of(start, strategy, reclaim="none"):
    return State(start, demand_of([]), strategy, reclaim)


@pytest.mark.parametrize("strategy", [BLOCK, TOY_PBA, GENERIC], ids=lambda strategy: type(strategy).__name__)
def test_the_first_refill_is_a_whole_block_however_the_machine_has_aged(strategy):
    machine = Machine(state_of(worn(), strategy))
    assert machine.state.pool.counts[HELD] == 4
    assert machine.state.incident_counts == {}


@pytest.mark.parametrize(("strategy", "pages"), [(RESERVE, 64 + 16), (PteMapped(), 64 + 16)], ids=["aside", "all 4K"])
def test_tables_for_the_whole_map_are_there_on_a_machine_without_a_free_block(strategy, pages):
    start = worn(256)
    plain, reserving = (Machine(state_of(start, each)).state for each in (Unprotected(), strategy))
    taken = reserving.boot_memory.pages

    assert taken == pages
    assert plain.allocator.free_pages[0] - reserving.allocator.free_pages[0] == taken
    assert reserving.incident_counts == {}
    incidents = finished(start, demand_of(tables(40)), strategy).state.incident_counts
    assert not {"unkeyed_table", "ptp_null", "split_starvation"} & set(incidents)


def test_a_table_of_the_direct_map_never_lacks_its_key_where_the_whole_map_is_reserved_for():
    """Many small blocks, each split for a page: the reserve covers the worst case."""
    script = [("change", 0, 0, OTHER), *tables(60)]
    state = finished(worn(256), demand_of(script), RESERVE).state
    assert "unkeyed_table" not in state.incident_counts
    assert metrics(finished(worn(256), demand_of(script), RESERVE))["unkeyed_split_tables"] == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([FREE, FREE, USED + UNMOVABLE, USED + MOVABLE]), min_size=64, max_size=64),
    st.lists(st.integers(0, 3), max_size=8),
)
def test_the_load_stays_the_same_and_free_memory_pays(kinds, orders):
    """Every recorded page still has a page of its own, of its kind, outside the memory taken; nothing is lost."""
    start = machine_of(64, free=[kind == FREE for kind in kinds])
    mine = np.array(kinds)
    start.allocator.kind[mine != FREE] = mine[mine != FREE]
    state = state_of(start, Unprotected())
    before, taken = state.allocator.free_pages.sum(), np.zeros(64, bool)
    used = np.flatnonzero(mine != FREE)
    for order in orders:
        try:
            pfn = state.boot_memory.take(order)
        except DoesNotFitError:
            break
        assert pfn % (1 << order) == 0
        assert not taken[pfn : pfn + (1 << order)].any()
        taken[pfn : pfn + (1 << order)] = True

    here = state.tally.page_of[used]
    assert len(set(here.tolist())) == len(used)
    assert not taken[here].any()
    assert (state.allocator.kind[here] == mine[used]).all()
    assert (state.tally.name_of[here] ^ here == used).all()
    a = state.allocator
    assert a.free_pages.sum() == before - taken.sum() == (a.kind == FREE).sum()
    heads = np.flatnonzero(a.order >= 0)
    listed = np.concatenate([[], *(np.arange(head, head + (1 << a.order[head])) for head in heads)])
    assert sorted(listed.tolist()) == np.flatnonzero(a.kind == FREE).tolist()
    assert (a.nr_free[0] << np.arange(a.max_order + 1)).sum() == a.free_pages[0]


def test_a_free_block_is_taken_before_one_in_use_and_of_several_that_at_an_end():
    start = machine_of(64, free=[page % 4 != 1 or 16 <= page < 24 for page in range(64)])
    state = state_of(start, Unprotected())
    assert [state.boot_memory.take(2, memblock=True) for _ in range(3)] == [20, 16, 60]
    assert state.boot_memory.moved == 1
    state = state_of(start, Unprotected())
    assert [state.boot_memory.take(2) for _ in range(3)] == [16, 20, 0]


def test_small_pieces_fill_a_block():
    state = state_of(machine_of(64), Unprotected())
    assert [state.boot_memory.take(order) for order in (1, 0, 0, 0)] == [0, 2, 3, 4]


def test_memory_of_cma_is_not_taken_at_boot():
    start = machine_of(64, types=[CMA] * 14 + [MOVABLE] * 2)
    state = state_of(start, Unprotected())
    assert [state.boot_memory.take(2) for _ in range(2)] == [56, 60]
    with pytest.raises(DoesNotFitError):
        state.boot_memory.take(2)


def test_a_machine_without_the_memory_is_refused_with_the_number():
    start = machine_of(256, free=[page < 50 for page in range(256)])
    with pytest.raises(DoesNotFitError, match="takes 80 pages at boot, and there are 50"):
        Machine(state_of(start, RESERVE))


def test_reclaim_makes_room_where_there_is_any():
    """All but 50 pages are movable and in use: there would be less page cache on such a machine."""
    start = machine_of(256, free=[page < 50 for page in range(256)])
    state = Machine(state_of(start, RESERVE, "optimistic")).state
    assert state.boot_memory.pages == 80
    assert state.incident_counts == {}


def test_a_pool_that_is_switched_on_later_asks_the_page_allocator_as_it_is():
    start = worn()
    start.switched_on = True
    state = Machine(state_of(start, BLOCK)).state
    assert state.boot_memory.pages == 0
    assert state.pool.counts[HELD] == 0  # no block of four is free


def test_page_tables_alive_lie_elsewhere_if_the_memory_taken_was_theirs():
    alive = range(0, 256, 4)
    state = Machine(state_of(machine_of(256, tables=alive), PteMapped())).state
    here = state.tally.page_of[list(alive)]

    assert state.boot_memory.moved == state.boot_memory.pages // 4 == 20
    assert len(set(here.tolist())) == state.tally.counts[PTP_LIVE] == 64
    assert (state.allocator.kind[here] == TABLE_KEYED).all()


def test_what_is_freed_later_is_found_where_it_lies_now():
    start = machine_of(64, free=[page % 4 != 1 for page in range(64)])
    script = [("free", page, 0, OTHER) for page in range(1, 64, 4)] + [("alloc", 100, 0, PGTABLE)]
    machine = finished(start, demand_of(script), BLOCK)
    assert machine.state.boot_memory.moved == 1
    assert machine.state.allocator.free_pages[0] + machine.state.allocator.pcp[:, 0].sum() == 64 - 4
