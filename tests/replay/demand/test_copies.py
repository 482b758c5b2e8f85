"""Scaled demand: which pages a copy has, how long they live, and that no copy touches what is another's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_copies import lifetimes, rows, scaled_lifetimes
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of

from ptpool.errors import UsageError
from replay.demand.copies import SPREAD, scaled
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, FREE_EVENT, MOVE, OUTSIDE_CHANGE, Program
from replay.strategies.unprotected import Unprotected

PAGES, KWORKER, FREE_MOVED = 16, 2, 99

event = st.tuples(
    st.sampled_from([ALLOC, ALLOC, FREE_EVENT, MOVE, FREE_MOVED, OUTSIDE_CHANGE]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([OTHER, PGTABLE]),
    st.integers(0, 2),
    st.integers(0, 30),
)


@st.composite
def demands(draw) -> Demand:
    """Of three tasks, of which KWORKER has no page tables; with frees of moved pages and of what is free."""
    events, ts, moves, freed = [], 0, 0, 0
    for drawn, place, order, consumer, task, wait in draw(st.lists(event, min_size=10, max_size=60)):
        ts += wait
        op, pfn, pages = drawn, place << 2, order
        if op == MOVE:
            moves, pages = moves + 1, 0
        elif op == FREE_MOVED:
            op = FREE_EVENT
            if freed < moves:
                pfn, pages, freed = PAGES + 1 + freed, 0, freed + 1
        events.append((op, ts, pfn, pages, 0, 0, OTHER if task == KWORKER else consumer, place % 3, task))
    types = (np.uint8, np.int64, np.int64, np.int8, np.uint8, np.uint16, np.uint8, np.int16, np.int32)
    columns = np.array(events, np.int64).reshape(-1, 9).T
    program = Program(*(column.astype(dtype) for column, dtype in zip(columns, types, strict=True)))
    return Demand(program, 0, ts, PAGES, np.full(PAGES, -1, np.int8), 3, {}, moves=moves)


@settings(deadline=None)
@given(demands(), st.integers(1, 4), st.integers(0, 3), st.sampled_from([0, 25, 100]))
def test_copies_live_as_the_reference_says(demand, copies, seed, first_name):
    late = np.random.default_rng(seed).integers(0, demand.last_ns // SPREAD + 1, copies - 1).tolist()
    whole = scaled(demand, copies, seed, first_name)
    assert lifetimes(whole) == scaled_lifetimes(demand, PGTABLE, late)
    assert (np.diff(whole.program.ts) >= 0).all()
    assert whole.last_ns == demand.last_ns + max(late, default=0)
    named = whole.program.pfn[whole.program.op != OUTSIDE_CHANGE]
    between = (named >= demand.pages) & (named < max(demand.pages, first_name))
    assert copies == 1 or not between.any()
    assert whole.program.task.max(initial=0) < whole.tasks
    assert whole.moves == (whole.program.op == MOVE).sum()


def test_one_copy_is_the_recording():
    demand = demand_of([("alloc", 3, 0, PGTABLE)])
    assert scaled(demand, 1, 5) is demand


def test_changes_by_others_are_copied_with_the_task_that_makes_them():
    events = [("alloc", 3, 0, PGTABLE), ("change", 0, 0, OTHER), ("change", 0, 0, OTHER)]
    whole = scaled(demand_of(events, tasks=[0, 0, 1]), 3, 0)
    assert sorted(row[6] for row in rows(whole.program) if row[0] == OUTSIDE_CHANGE) == [0, 1, 2, 3]


def test_copies_take_nothing_from_what_was_in_use_before():
    free = np.zeros(256, np.bool_)
    free[64:] = True
    events = [("alloc", page, 0, consumer) for page in range(8) for consumer in (PGTABLE, OTHER)]
    events += [("free", page, 0, OTHER) for page in range(8)]
    start = machine_of(256, free=free)
    demand = demand_of(events, pages=8)
    machine = finished(start, scaled(demand, 4, 0, len(start.mapped)), Unprotected())
    used = machine.state.allocator.kind >= 3
    assert used.sum() == 64 - 8, "the pages that the recording frees are gone, no others"


def test_copies_that_would_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 64)
    with pytest.raises(UsageError, match="--copies 500"):
        scaled(demand_of([("alloc", 3, 0, PGTABLE)] * 100), 500, 0)
