"""Page tables freed after RCU grace periods: when, by which name, and how a recording tells what its kernel did."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_copies import lifetimes as lives
from reference_rcu import lifetimes, when_freed

from ptpool.vocabulary import CONSUMERS
from replay.demand.demand import demand_of
from replay.demand.events import Events
from replay.demand.others import GUESS, Recorded
from replay.demand.program import MOVE
from replay.demand.rcu import DELAYED, GRACE_NS, RECORDED, ends_of_grace, freed

PAGES = 6
NONE = np.empty(0, np.int64)
NO_CHANGES = Recorded(NONE, NONE.astype(np.int16), NONE, NONE, NONE, (GUESS,), {})


@st.composite
def recordings(draw):
    """Rows (time, is it a free, page, does it wait): only free pages are allocated and only used ones freed."""
    used, rows, ts = set(), [], 1
    steps = st.tuples(st.integers(0, PAGES - 1), st.integers(0, 2 * GRACE_NS), st.booleans())
    for page, wait, waits in draw(st.lists(steps, max_size=40)):
        ts += wait + 1
        rows.append((ts, page in used, page, page in used and waits))
        used ^= {page}
    return rows


def demand(rows, rcu, last):
    ts, is_free, pfn, waits = np.array(rows, np.int64).reshape(-1, 4).T
    nothing, mask = np.zeros(len(ts), np.int64), np.zeros(len(ts), np.bool_)
    events = Events(
        ts=ts,
        cpu=(pfn % 2).astype(np.int16),
        pid=nothing + 7,
        is_free=is_free.astype(np.bool_),
        failed=mask,
        pfn=pfn,
        order=nothing.astype(np.int8),
        migratetype=nothing.astype(np.uint8),
        context=nothing.astype(np.uint16),
        consumer=(nothing + CONSUMERS.index("pgtable_user")).astype(np.uint8),
        self_inflicted=mask,
        by_compaction=mask,
        by_reclaim=mask,
        by_kworker=mask,
        has_stack=~mask,
        by_gather=waits.astype(np.bool_),
        after_grace=mask,
        of_table=is_free.astype(np.bool_),
    )
    capture = {"first_ns": 0, "last_ns": last, "timing": "real"}
    return demand_of(events, NO_CHANGES, np.ones(events.pages + 1, np.bool_), capture, rcu)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), max_size=30).map(sorted))
def test_grace_periods_follow_each_other_while_tables_wait(queued):
    scale = GRACE_NS // 10
    due = ends_of_grace(np.array(queued, np.int64) * scale)
    assert due.tolist() == [end * scale for end in when_freed(queued, 10)]


@settings(deadline=None)
@given(recordings(), st.integers(1, 30 * GRACE_NS))
def test_each_table_lives_until_its_grace_period_ends_whatever_others_get_its_page(rows, more):
    """No two tables of the recording share a page of the replay, and nobody else lives longer or shorter."""
    last = (rows[-1][0] if rows else 0) + more
    expected = lifetimes([row[:3] for row in rows], [row[3] for row in rows], GRACE_NS, last)
    began = {("event", place): ts for place, (ts, *_) in enumerate(rows)}
    delayed = demand(rows, DELAYED, last)
    found = {begin: end for _, _, _, begin, _, _, end, _, _ in lives(delayed) if end >= 0}
    assert found == {began[owner]: end for owner, end in expected.items()}
    assert (np.diff(delayed.program.ts) >= 0).all()
    assert delayed.moves == (delayed.program.op == MOVE).sum()
    assert MOVE not in demand(rows, RECORDED, last).program.op


def test_the_idle_task_of_the_cpu_that_unmapped_a_table_frees_it():
    freed_at = 10 + GRACE_NS
    program = demand([(1, 0, 3, 0), (10, 1, 3, 1), (20, 0, 3, 0)], DELAYED, 2 * GRACE_NS).program
    assert program.ts.tolist() == [1, 10, 20, freed_at]
    assert program.cpu.tolist() == [1, 1, 1, 1]
    assert program.task.tolist() == [1, 1, 1, 0]


STACKS = {
    "at once": (True, False),
    "burst": (False, True),
    "burst in a gather": (True, True),
    "elsewhere": (False, False),
}


@pytest.mark.parametrize(
    ("stacks", "pids", "at_once", "after_grace"),
    [
        (["at once", "burst", "burst in a gather", "elsewhere"], [5, 5, 5, 5], [0], [1, 2]),
        ([None, None], [5, 6], [0, 1], []),
        ([None, None, None], [5, 0, 6], [], [0, 1, 2]),  # no gather is the idle task's
    ],
)
def test_stacks_tell_how_the_recorded_kernel_freed_or_the_idle_task_does(stacks, pids, at_once, after_grace):
    gather, grace = np.array([STACKS.get(stack, (False, False)) for stack in stacks]).T
    has_stack = np.array([stack is not None for stack in stacks])
    found = freed(np.ones(len(pids), np.bool_), has_stack, gather, grace, np.array(pids))
    assert [np.flatnonzero(mask).tolist() for mask in found] == [at_once, after_grace]
