"""Who enters the shrinker of a strategy, at which priority, and when kswapd gives up."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_vmscan import ReferenceShrinker, balance_pgdat
from toy_machine import KERNEL, OTHER, PGTABLE, demand_of, finished, machine_of, toy_geometry
from toy_runs import TOY_PBA

from ptpool.vocabulary import UNMOVABLE
from replay.kernel.gfp import GFP_KERNEL
from replay.kernel.mmzone import BALANCE_DUE, BOOST, KSWAPD_DUE, NEVER, USED, WOKEN_CLASS, WOKEN_ORDER, ZONE_NORMAL
from replay.kernel.watermark import wake_kswapd
from replay.machine import vmscan
from replay.machine.reclaim import variants
from replay.machine.state import State
from replay.strategies.full_reserve import FullReserve
from replay.strategies.pba import Pba
from replay.strategies.unprotected import Unprotected


def to_the_end(decision):
    """What a decision returns whose actions have no result that it looks at."""
    while True:
        try:
            next(decision)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def entered(monkeypatch):
    """The priorities at which shrinkers are entered."""
    priorities = []

    def shrink_slab(state, priority):
        priorities.append(priority)
        return
        yield

    monkeypatch.setattr(vmscan, "shrink_slab", shrink_slab)
    return priorities


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from([2, 128, 512]),
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 12), st.lists(st.integers(0, 600), max_size=6)), max_size=20
    ),
)
def test_scans_are_those_of_do_shrink_slab(seeks, batch, rounds):
    """Each round: pages that could go, the priority, and what each scan frees, in the end nothing any more."""
    scans = []
    frees, freeable = [], 0

    def shrink(_):
        scans.append(len(scans))
        return [*frees, *[0] * len(scans)][scans[-1]]
        yield

    strategy = SimpleNamespace(
        seeks=seeks, shrink_batch=batch, shrinks=True, freeable=lambda _: freeable, shrink=shrink
    )
    running = SimpleNamespace(cause=0, reclaiming=False)
    state = SimpleNamespace(strategy=strategy, view=None, deferred=0, shrunk=0, running=running)
    reference = ReferenceShrinker(seeks, batch)
    for freeable, priority, frees in rounds:
        scans.clear()
        to_the_end(vmscan.shrink_slab(state, priority))
        expected = reference.shrink(freeable, priority, lambda nth, frees=frees: frees[nth] if nth < len(frees) else 0)
        assert len(scans) == len(expected)
        assert state.deferred == reference.nr_deferred


def woken(start, strategy=None, reclaim="none", order=0):
    state = State(start, demand_of([]), strategy or Unprotected(), reclaim)
    wake_kswapd(state.allocator, order, ZONE_NORMAL)
    return state


def checkered(pages=64, **options):
    return machine_of(pages, free=[page % 2 == 0 for page in range(pages)], **options)


def test_kswapd_sleeps_where_a_block_of_the_order_is_free(entered):
    to_the_end(vmscan.kswapd(woken(machine_of(64), order=2)))
    assert entered == []


def test_kswapd_gives_a_node_up_after_16_times_without_progress(entered):
    """Half of the memory is free, but no block: nothing can be reclaimed, so each time all priorities are tried."""
    state = woken(checkered(), order=2)
    for _ in range(20):
        wake_kswapd(state.allocator, 2, ZONE_NORMAL)
        to_the_end(vmscan.kswapd(state))
    assert entered == list(range(12, 0, -1)) * 16
    assert state.reclaim.failures.tolist() == [16]
    assert state.allocator.clock[[WOKEN_ORDER, WOKEN_CLASS]].tolist() == [0, 0]


def test_what_direct_reclaim_frees_makes_kswapd_try_again(entered):
    state = woken(checkered(), reclaim="optimistic", order=2)
    state.reclaim.failures[:] = 16
    to_the_end(vmscan.kswapd(state))
    assert entered == []
    to_the_end(vmscan.direct_reclaim(state, 0, KERNEL))
    assert state.reclaim.failures.tolist() == [0]


def test_kswapd_reclaims_twice_the_block_and_then_only_for_single_pages(entered, monkeypatch):
    """Of 512 pages in use it looks at 0, 0, 0, 1, 1, 3 and 7: with the last it has more than the eight that it wants."""
    state = woken(checkered(1024), reclaim="optimistic", order=2)
    monkeypatch.setattr(vmscan, "pgdat_balanced", lambda a, node, order, zone_class: order == 0)
    to_the_end(vmscan.kswapd(state))
    assert entered == [12, 11, 10, 9, 8, 7, 6]
    assert state.reclaim.done["kswapd"] == 12


def test_a_boost_is_taken_back_after_a_round_that_frees_nothing(entered):
    state = woken(machine_of(64))
    state.allocator.zone_state[0, BOOST] = 8
    to_the_end(vmscan.kswapd(state))
    assert entered == [12]
    assert state.allocator.zone_state[0, BOOST] == 0
    assert state.reclaim.failures.tolist() == [1]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 4),
    st.integers(0, 40),
    st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 80)), min_size=80, max_size=80),
)
def test_kswapd_goes_through_priorities_as_balance_pgdat_does(order, boost, machine):
    """Balanced or not, pages reclaimed and looked at, turn by turn; single pages are balanced half as hard."""
    start = machine_of(64)
    state = woken(start, order=order)
    state.allocator.zone_state[0, BOOST] = boost
    turns, priorities = iter(machine), []
    now = next(turns)

    def shrink(priority):
        nonlocal now
        answer, now = now[1:], next(turns, (True, 0, 0))
        priorities.append(priority)
        return answer

    patched = {
        "pgdat_balanced": lambda a, node, order, zone_class: now[0],
        "shrink_slab": lambda state, priority: iter(()),
    }
    state.reclaim.shrink_lists = lambda cpu, zones, priority, wanted, share: shrink(priority)
    with pytest.MonkeyPatch.context() as patch:
        for name, function in patched.items():
            patch.setattr(vmscan, name, function)
        to_the_end(vmscan.kswapd(state))
    seen = priorities.copy()
    turns, priorities = iter(machine), []
    now = next(turns)
    expected, failed = balance_pgdat(order, boost, lambda order: now[0], shrink, max(boost, 32))
    assert seen == expected
    assert state.reclaim.failures[0] == failed


def test_recorded_reclaim_stands_for_what_kswapd_finds(entered):
    """Of 1023 pages in use it would have looked at 0, 0, 0, 1, 3 and 7: eleven are more than the eight that it wants."""
    state = woken(machine_of(1024, free=[page == 0 for page in range(1024)]), order=2)
    state.reclaim.recorded = 100
    to_the_end(vmscan.kswapd(state))
    assert entered == [12, 11, 10, 9, 8, 7]
    assert (state.reclaim.recorded, state.reclaim.done["kswapd"]) == (100 - 11, 0)
    assert state.reclaim.failures.tolist() == [0]


def test_a_costly_request_leaves_a_zone_to_compaction_that_has_plenty(entered, monkeypatch):
    """512 of 1024 pages free, none of them neighbours: order 5 fails by fragmentation. Of 16 pages, by lack of memory."""
    geometry = toy_geometry(max_order=5)
    plenty = State(checkered(1024, geometry=geometry), demand_of([]), FullReserve(), "none")
    assert to_the_end(vmscan.direct_reclaim(plenty, 5, GFP_KERNEL)) == 1
    assert entered == []
    short = State(checkered(32, geometry=geometry), demand_of([]), FullReserve(), "none")
    assert to_the_end(vmscan.direct_reclaim(short, 5, GFP_KERNEL)) == 0
    assert entered == [12], "an empty pool: a higher priority finds no more"
    monkeypatch.setattr(vmscan, "_freeable", lambda state: 1)
    entered.clear()
    assert to_the_end(vmscan.direct_reclaim(short, 5, GFP_KERNEL)) == 0
    assert entered == list(range(12, -1, -1))


@dataclass(frozen=True)
class Noting(Pba):
    """Notes when it is scanned, and what is idle then."""

    def shrink(self, pool):
        SCANS.append(pool.idle)
        return (yield from super().shrink(pool))


SCANS: list[int] = []


def test_a_refill_that_finds_no_block_wakes_kswapd_which_enters_the_shrinker():
    """Half of each pageblock pair is free: order 3 fails each time, and what has become idle is given back later."""
    SCANS.clear()
    strategy = Noting(refill_orders=(3, 2), reserve=0, unshrinkable=0, shrink_block_min=1, shrink_batch=4)
    script = [("alloc", page, 0, PGTABLE) for page in range(10)] + [("free", page, 0, OTHER) for page in range(8)]
    demand = demand_of([*script, ("alloc", 300, 0, OTHER)])
    demand.program.ts[-1] = 60_000_000
    start = machine_of(256, free=[page % 8 < 4 for page in range(256)], level=1)
    machine = finished(start, replace(demand, last_ns=60_000_001), strategy)
    assert SCANS
    assert machine.state.shrunk > 0
    assert machine.state.stalls == machine.state.refill_attempts[3, 0] > 0
    assert min(machine.state.allocator.clock[[BALANCE_DUE, KSWAPD_DUE]]) == NEVER


@pytest.mark.parametrize(("gives_up", "served"), [(False, True), (True, False)])
def test_compaction_tries_with_full_effort_before_a_task_is_killed(monkeypatch, gives_up, served):
    """Only the blocks from page 200 on can be emptied, and a round looks at one: full effort looks at all of them.

    It comes after a round in which reclaim made progress; where nothing can be reclaimed there is no second round.
    """
    limited = replace(variants()["moderate"], sync_pageblocks=1, gap=False, page_cache=False, sync_movable=1.0)
    monkeypatch.setitem(variants(), "moderate", replace(limited, reclaimable=0.0 if gives_up else 0.05))
    start = checkered(256)
    start.allocator.kind[1:200:4] = USED + UNMOVABLE
    machine = finished(start, demand_of([("alloc", 400, 2, OTHER)]), Unprotected(), "moderate")
    assert (machine.state.tally.page_of[400] >= 0) == served
    assert ("oom_kill" in machine.state.incident_counts) != served


def test_kills_for_the_pool_are_counted_apart():
    start = machine_of(64, free=[page < 4 for page in range(64)])
    script = [("alloc", page, 0, PGTABLE) for page in range(5)] + [("alloc", 400, 2, OTHER)]
    machine = finished(start, demand_of(script), replace(TOY_PBA, reserve=2))
    kills = machine.state.incident_counts["oom_kill"]
    assert machine.state.kills_by_refill == kills - 1 > 0


def test_a_zone_above_the_class_that_kswapd_was_woken_for_does_not_balance_the_node():
    state = woken(machine_of(64))
    assert vmscan.pgdat_balanced(state.allocator, 0, 0, ZONE_NORMAL)
    assert not vmscan.pgdat_balanced(state.allocator, 0, 0, ZONE_NORMAL - 1)
