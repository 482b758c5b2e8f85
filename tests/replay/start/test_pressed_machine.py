"""Machines under pressure: how much is free, how it lies, and what a recording needs at its peak."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import OTHER, demand_of, machine_of

from ptpool.vocabulary import CMA, MOVABLE, UNMOVABLE
from replay.kernel.geometry import X86_64
from replay.kernel.mmzone import FREE_CMA, HOLE, USED, WMARK_MIN, ZONE_NORMAL
from replay.start.pressed_machine import (
    AS_RECORDED,
    Target,
    fragmentation_of,
    fragmentations,
    peak_net_demand,
    pressed,
    unusable_index,
    zones_to_fill,
)

PAGES = 1 << 15


def large():
    """A machine of 64 pageblocks with page tables alive, watermarks, and a hole at its end."""
    start = machine_of(PAGES, geometry=X86_64, tables=range(40))
    start.allocator.wmark[0, WMARK_MIN] = 300
    start.allocator.lowmem_reserve[0, 2] = 100
    demand = demand_of([("free", 41, 0, OTHER)], pages=100)
    demand.first_seen[41] = 0
    return start, demand


def usable_pages(state, reclaimable):
    """Free and reclaimable pages for UNMOVABLE above the min watermark, without CMA and ZONE_MOVABLE.

    A zone counts as far as a GFP_KERNEL request may use it: above its lowmem reserve as well.
    """
    a, usable = state.allocator, 0
    for place, (first, last, zone_class, _) in enumerate(a.zones.tolist()):
        if zone_class <= ZONE_NORMAL:
            types = a.block_type[np.arange(first, last + 1) >> a.pageblock_order]
            movable = int(((a.kind[first : last + 1] == USED + MOVABLE) & (types != CMA)).sum())
            kept = int(a.wmark[place, WMARK_MIN] + a.lowmem_reserve[place, ZONE_NORMAL])
            free = int(a.free_pages[place] - a.zone_state[place, FREE_CMA])
            usable += max(free + round(reclaimable * movable) - kept, 0)
    return usable - state.page_tables_elsewhere


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(fragmentations().values())),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(2000, 5000),
    st.integers(0, 3),
)
def test_a_machine_is_left_with_what_was_wanted(fragmentation, reclaimable, usable, seed):
    start, demand = large()
    wanted = Target(usable, reclaimable, fragmentation)
    assert wanted.fits(zones_to_fill(start), 40, 512)
    state = pressed(start, start, demand, wanted, seed)
    assert usable_pages(state, reclaimable) == pytest.approx(usable, abs=2)
    # What is left over of a pageblock cannot be free as a whole: it lies in the smaller chunks, in their proportions.
    left_over = 512 / state.allocator.free_pages[0]
    in_chunks = unusable_index(state.allocator, 9)
    assert in_chunks == pytest.approx(fragmentation.unusable_9, abs=left_over + 0.05)
    for order, index in ((2, fragmentation.unusable_2), (4, fragmentation.unusable_4)):
        expected = index / fragmentation.unusable_9 * in_chunks if index else 0
        assert unusable_index(state.allocator, order) == pytest.approx(expected, abs=0.05)
    again = pressed(start, start, demand, wanted, seed)
    assert (again.allocator.kind == state.allocator.kind).all()
    assert (again.allocator.link == state.allocator.link).all()
    assert state.page_tables_elsewhere == 40
    assert state.stands_for[41] >= 0, "a page stands for what the recording frees"


@pytest.mark.parametrize("name", fragmentations())
def test_memory_lies_as_it_was_recorded(name):
    """If the recorded machine is one that we have filled, we read back how we filled it."""
    start, demand = large()
    filled = pressed(start, start, demand, Target(4000, 0.5, fragmentations()[name]), 0)
    read = fragmentation_of(AS_RECORDED, "unmovable", filled)
    assert read.name == AS_RECORDED
    assert read[1:4] == tuple(unusable_index(filled.allocator, order) for order in (2, 4, 9))
    assert read.mixed == pytest.approx(fragmentations()[name].mixed, abs=0.2)


def test_a_number_stands_for_an_index_at_order_2():
    start, demand = large()
    found = fragmentation_of("0.275", "unmovable", start)
    assert found[1:] == (0.275, pytest.approx(0.565), pytest.approx(0.85), 1.0, UNMOVABLE)
    state = pressed(start, start, demand, Target(4000, 0.5, found), 0)
    assert unusable_index(state.allocator, 2) == pytest.approx(0.275, abs=0.06)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_holes_between_movable_pages_leave_as_much_that_can_be_used(share):
    start, demand = large()
    state = pressed(start, start, demand, Target(4000, share, fragmentation_of("0.4", "movable", start)), 0)
    kinds = state.allocator.kind
    assert (kinds == USED + UNMOVABLE).sum() < 512, "but for one pageblock"
    assert (kinds == USED + MOVABLE).sum() > 10_000, "the whole machine, not what is reclaimable only"
    assert usable_pages(state, state.reclaimable) == pytest.approx(4000, abs=2)


def test_pages_outside_all_zones_are_nobodys():
    start, demand = large()
    start.allocator.zones[0, 1] = PAGES - 101
    state = pressed(start, start, demand, Target(2000, 0.0, fragmentations()["severe"]), 0)
    assert (state.allocator.kind[-100:] == HOLE).all()
    assert (state.allocator.kind[:-100] != HOLE).all()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(0, 2)), max_size=40),
    st.sets(st.integers(0, 31), max_size=10),
)
def test_peak_net_demand_is_what_a_set_of_pages_says(events, before):
    rows = [("alloc" if alloc else "free", place << 2, order, OTHER) for alloc, place, order in events]
    demand = demand_of(rows, pages=32)
    demand.first_seen[sorted(before)] = 0
    there, most = set(before), len(before)
    for op, pfn, order, _ in rows:
        pages = set(range(pfn, pfn + (1 << order)))
        there = there | pages if op == "alloc" else there - pages
        most = max(most, len(there))
    assert peak_net_demand(machine_of(32), demand) == most - len(before)
