"""Pages that lie in no zone: the page allocator has nothing to do with them, whatever the recording does to them."""

import numpy as np
import pytest
from accounts import assert_consistent
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from toy_machine import OTHER, TOY, demand_of, finished, machine_of
from toy_runs import BLOCK, TOY_PBA, events

from replay.kernel.buddy import build_free_lists
from replay.kernel.mmzone import HOLE, USED, ZONE_NORMAL, page_allocator
from replay.machine.boot import DoesNotFitError
from replay.machine.tally import UNKNOWN_FREES
from replay.start.pages import Pages
from replay.start.recorded_machine import leave_out_strangers
from replay.start.zones import outside
from replay.strategies.unprotected import Unprotected

PAGES = 64


def machine_with(bounds, tables=()):
    """The toy machine with these zones, its strangers left out; what was said of it."""
    zones = np.array([[first, last, ZONE_NORMAL, 0] for first, last in bounds], np.int64)
    start = machine_of(PAGES)
    start.allocator = a = page_allocator(PAGES, zones, TOY, cpus=2)
    free = np.arange(PAGES) % 3 == 0
    free[list(tables)] = False
    a.kind[:] = USED + 1
    a.kind[list(tables)] = USED
    said = []
    pages = Pages(np.ones(PAGES, np.bool_), free, free, free, np.array(tables, np.int64), None, "before")
    demand = demand_of([("free", page, 0, OTHER) for page in range(PAGES)])
    demand.first_seen[:PAGES] = 0
    start.page_tables = leave_out_strangers(a, pages, demand, said)
    build_free_lists(a, free)
    return start, said


def test_strangers_are_counted_and_said():
    start, said = machine_with([(8, 31), (40, 55)], tables=(3, 9, 41, 60))
    assert start.page_tables.tolist() == [9, 41]
    strangers = [*range(8), *range(32, 40), *range(56, 64)]
    assert np.flatnonzero(start.allocator.kind == HOLE).tolist() == strangers
    assert said == [
        "Left out: 24 pages that the recording frees and 2 page tables alive at its start, because they lie in no zone "
        "of zoneinfo: they are not the page allocator's."
    ]
    assert machine_with([(0, 63)])[1] == []


bounds = st.lists(st.integers(0, PAGES), min_size=2, max_size=6, unique=True).map(
    lambda ends: [(first, after - 1) for first, after in zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False)]
)


@pytest.mark.parametrize("strategy", [Unprotected(), BLOCK, TOY_PBA], ids=lambda strategy: type(strategy).__name__)
@settings(max_examples=30, deadline=None)
@given(
    bounds, st.lists(st.integers(0, PAGES - 1), max_size=4, unique=True), events, st.sampled_from(["none", "moderate"])
)
def test_no_program_touches_them_or_hangs(strategy, bounds, tables, script, reclaim):
    start, _ = machine_with(bounds, sorted(tables))
    strangers = outside(start.allocator.zones, PAGES)
    touched = {page for _, first, order, _ in script for page in range(first, first + (1 << order))}
    script = script + [("free", page, 0, OTHER) for page in range(PAGES)]
    try:
        machine = finished(start, demand_of(script), strategy, reclaim)
    except DoesNotFitError:
        reject()
    assert (machine.state.allocator.kind[strangers] == HOLE).all()
    untouched = set(np.flatnonzero(strangers)) - touched
    assert machine.state.tally.counts[UNKNOWN_FREES] >= len(untouched), "the program frees each of them once"
    assert_consistent(machine)
