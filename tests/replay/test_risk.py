"""Risk under pressure: machines filled as wanted, what counts as a failure, where failures begin, and what is said of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import KERNEL, OTHER, PGTABLE, demand_of, machine_of

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.kernel.geometry import X86_64
from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM, NORETRY
from replay.kernel.mmzone import HOLE, WMARK_MIN
from replay.risk.estimate import failing_only, median, sooner, wilson
from replay.risk.report import risk_rows
from replay.risk.search import Draw, Found, Tried, headroom, threshold
from replay.risk.store import write_risk
from replay.risk.study import study
from replay.risk.trial import Outcome, trial
from replay.start.pressed_machine import (
    AS_RECORDED,
    Wanted,
    fragmentation_of,
    fragmentations,
    peak_net_demand,
    pressed,
    unusable_index,
    usable_pages,
    zones_to_fill,
)
from replay.strategies.freetype import Freetype
from replay.strategies.pba import Pba
from replay.strategies.unprotected import Unprotected

PAGES = 1 << 15


def large():
    """A machine of 64 pageblocks with page tables alive, watermarks, and a hole at its end."""
    start = machine_of(PAGES, geometry=X86_64, tables=range(40))
    start.allocator.wmark[0, WMARK_MIN] = 300
    start.allocator.lowmem_reserve[0, 2] = 100
    demand = demand_of([("free", 41, 0, OTHER)], pages=100)
    demand.first_seen[41] = 0
    return start, demand


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(fragmentations().values())),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(2000, 5000),
    st.integers(0, 3),
)
def test_a_machine_is_left_with_what_was_wanted(fragmentation, reclaimable, usable, seed):
    start, demand = large()
    wanted = Wanted(usable, reclaimable, fragmentation)
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
    """A machine filled in a way, taken for the recorded one, tells the way it was filled."""
    start, demand = large()
    filled = pressed(start, start, demand, Wanted(4000, 0.5, fragmentations()[name]), 0)
    told = fragmentation_of(AS_RECORDED, filled)
    assert told.name == AS_RECORDED
    assert told[1:4] == tuple(unusable_index(filled.allocator, order) for order in (2, 4, 9))
    assert told.mixed == pytest.approx(fragmentations()[name].mixed, abs=0.2)


def test_only_a_snapshot_from_before_tells_how_memory_lay(tmp_path):
    capture = {"capture_id": "c", "name": "mine"}
    said = "mine has no snapshot of its free memory from before"
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection, pytest.raises(UsageError, match=said):
        study(connection, capture, "recorded", ((), ()), (("none",), (AS_RECORDED,), 1), 1, lambda _: None)


def test_pages_outside_all_zones_are_nobodys():
    start, demand = large()
    start.allocator.zones[0, 1] = PAGES - 101
    state = pressed(start, start, demand, Wanted(2000, 0.0, fragmentations()["severe"]), 0)
    assert (state.allocator.kind[-100:] == HOLE).all()
    assert (state.allocator.kind[:-100] != HOLE).all()


@given(st.integers(-30, 50), st.lists(st.integers(-30, 50), min_size=1, max_size=20))
def test_the_least_step_that_passes_is_found_from_any_guesses(least_passing, guesses):
    tried = []
    found = threshold(lambda step: tried.append(step) or step >= least_passing, guesses, -24, 40)
    assert found == min(max(least_passing, -24), 41)
    assert len(tried) == len(set(tried)), "no step is tried twice"
    between_guesses = np.ceil(np.log2(2 * len(guesses) + 1))
    right = found in {min(max(guess, -24), 41) for guess in guesses}
    assert len(tried) <= between_guesses + (0 if right else 2 * np.log2(66))


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


def pressed_toy(pages: int):
    free = np.zeros(256, np.bool_)
    free[:pages] = True
    return machine_of(256, free=free)


def test_an_oom_kill_ends_a_trial_at_its_time():
    demand = demand_of([("alloc", 300 + page, 0, OTHER) for page in range(20)])
    demand.program.context[:] = GFP_KERNEL
    outcome = trial(pressed_toy(8), demand, Unprotected(), "none")
    assert (outcome.failed, outcome.page_order, outcome.allocations) == ("oom_kill", 0, 8)
    assert outcome.at_ns == 108_000, "the ninth allocation, and the round of reclaim before it kills"
    assert trial(pressed_toy(20), demand, Unprotected(), "none").failed is None


def test_null_is_a_failure_only_for_those_who_rely_on_being_served():
    demand = demand_of([("alloc", 300 + page, 0, OTHER) for page in range(20)])
    for context, failed in (
        (KERNEL & ~MAY_RECLAIM, None),
        (KERNEL | NORETRY, None),
        (2 | MAY_RECLAIM, "livelock"),  # GFP_NOIO: it kills nobody and loops
        (1 | MAY_RECLAIM, "null"),  # __GFP_DMA32: nobody is killed for lowmem
    ):
        demand.program.context[:] = context
        assert trial(pressed_toy(8), demand, Unprotected(), "none").failed == failed


def test_a_refill_of_four_pages_kills_as_any_small_request_does():
    demand = demand_of([("alloc", 300 + page, 0, PGTABLE) for page in range(20)])
    pool = Freetype(block_order=2, pcp_batch=1)
    outcome = trial(pressed_toy(16), demand, pool, "none")
    assert (outcome.failed, outcome.page_order) == ("oom_kill", 2)
    assert trial(pressed_toy(64), demand, pool, "none").failed is None


def test_intervals():
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(10, 10) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    assert median([3, 1, 2, 5, 4]) == (3, None, None)
    assert median([6, 1, 2, 3, 4, 5]) == (3, 1, 6)
    assert median(list(range(20))) == (9, 5, 14)


def test_a_ranking_needs_enough_seeds_that_differ():
    assert sooner([2] * 6, [1] * 6) == 1
    assert sooner([1] * 6, [2] * 6) == -1
    assert sooner([2] * 5, [1] * 5) == 0
    assert sooner([2] * 6 + [0], [1] * 6 + [1]) == 0
    assert failing_only([5, 3, 9], [3, 3, 4], 4) == (2, 0)
    assert failing_only([5, 3, 9], [3, 3, 4], 2) == (0, 3)


def found_of(thresholds, tried=()) -> Found:
    return Found(list(thresholds), 20, list(tried), {0: (0.1, 0.2, 0.3)})


def test_what_was_found_is_written_once_and_told(tmp_path):
    strategies = (Unprotected(), Pba())
    calm, late = Outcome(None, 0, None, 10, 1000), Outcome(None, 0, None, 30, 1000)
    kill = Outcome("oom_kill", 0, 2, 0, 0)
    tried = [Tried(0, 6, calm, False), Tried(1, 6, late, False), Tried(1, 5, kill, False), Tried(1, 9, kill, True)]
    draws = [(Draw("severe", "none", seed, strategies, False), found_of((0, 6), tried)) for seed in range(6)]
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        for _ in range(2):
            write_risk(connection, ("c", "recorded", "none"), "severe", ("unprotected", "pba"), draws)
        curve = connection.execute(
            "SELECT seeds, failures, failures_unprotected, excess_stalls_per_million, unusable_index_9 FROM risk "
            "WHERE strategy = 'pba' AND abs(headroom - ?) < 1e-9",
            [headroom(6)],
        ).fetchall()
        assert curve == [(6, 0, 0, 20_000.0, 0.3)]
        below = connection.execute(
            "SELECT failures, p_low, failures_unprotected FROM risk WHERE strategy = 'pba' AND abs(headroom - ?) < 1e-9",
            [headroom(5)],
        ).fetchall()
        assert below == [(6, pytest.approx(0.6097, abs=1e-4), 0)]
        columns, rows, sentences = risk_rows(connection, "c", "recorded")
    pba = dict(zip(columns, rows[0], strict=True))
    assert (pba["strategy"], pba["headroom"], pba["times_unprotected"]) == ("pba", 1.41, 1.41)
    assert (pba["fails_sooner"], pba["first_failure"], pba["seeds"]) == ("yes", "oom_kill order 2", 6)
    assert (pba["checked"], pba["contradicted"]) == (6, 6)
    assert sentences == [], "nothing is said of all variants when there is one"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["risk", "--capture", "x", "--fragmentation", "sever"], "--fragmentation sever"),
        (["risk", "--capture", "x", "--reclaim", "some"], "--reclaim some"),
        (["risk", "--capture", "x", "--strategy", "oracle"], "a bound has nothing that could fail"),
        (["exhaust", "--capture", "x"], "no such warehouse\n  import a trace first"),
    ],
)
def test_bad_input_is_said_in_plain_lines(arguments, said, tmp_path, capsys):
    assert run(["replay", *arguments, "--db", str(tmp_path / "none.duckdb")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 3
    assert not list(tmp_path.iterdir())
