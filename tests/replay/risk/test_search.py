"""Risk under pressure: how machines are filled, what counts as a failure, where failures begin, and the views on it."""

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import KERNEL, OTHER, PGTABLE, demand_of, machine_of

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.statistics import median, median_rank, sign_test, wilson
from ptpool.vocabulary import CMA, MOVABLE
from ptpool.warehouse import create_schema, open_warehouse
from replay.contract.strategy import parameters_json
from replay.kernel.geometry import X86_64
from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM, NORETRY
from replay.kernel.mmzone import FREE_CMA, HOLE, USED, WMARK_MIN, ZONE_NORMAL
from replay.machine.reclaim import variants
from replay.risk.report import risk_rows
from replay.risk.search import Draw, Thresholds, Trial, headroom, threshold
from replay.risk.store import failing_only, write_risk
from replay.risk.study import run_study
from replay.risk.trial import Outcome, trial
from replay.runs.store import write_strategies
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
from replay.strategies.freetype import Freetype
from replay.strategies.full_reserve import FullReserve
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


def usable_pages(state, reclaimable):
    """Free and reclaimable pages for UNMOVABLE above the min watermark, without CMA and ZONE_MOVABLE.

    A zone counts as far as a GFP_KERNEL request may use it: above its lowmem reserve, too.
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
    """A machine filled in a way, taken for the recorded one, tells the way it was filled."""
    start, demand = large()
    filled = pressed(start, start, demand, Target(4000, 0.5, fragmentations()[name]), 0)
    told = fragmentation_of(AS_RECORDED, filled)
    assert told.name == AS_RECORDED
    assert told[1:4] == tuple(unusable_index(filled.allocator, order) for order in (2, 4, 9))
    assert told.mixed == pytest.approx(fragmentations()[name].mixed, abs=0.2)


def test_only_a_snapshot_from_before_tells_how_memory_lay(tmp_path):
    capture = {"capture_id": "c", "name": "mine"}
    said = "mine has no snapshot of its free memory before the recording"
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection, pytest.raises(UsageError, match=said):
        run_study(connection, capture, "recorded", ((), ()), (("none",), (AS_RECORDED,), 1), 1, lambda _: None)


def test_pages_outside_all_zones_are_nobodys():
    start, demand = large()
    start.allocator.zones[0, 1] = PAGES - 101
    state = pressed(start, start, demand, Target(2000, 0.0, fragmentations()["severe"]), 0)
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


def test_null_is_a_failure_only_for_requests_that_rely_on_being_served():
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


def test_a_failure_counts_where_unprotected_does_not_fail():
    assert failing_only([5, 3, 9], [3, 3, 4], 4) == (2, 0)
    assert failing_only([5, 3, 9], [3, 3, 4], 2) == (0, 3)


def add_capture(connection):
    connection.execute(
        "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'mine' AS name, '' AS source, '' AS sha256, 'ftrace' AS format, "
        "4096 AS page_size, 1 AS cpus, 'real' AS timing, 0 AS first_ns, 9 AS last_ns, 0 AS events, 0 AS lost_events, "
        "false AS has_stacks, '' AS code_version"
    )


@pytest.fixture
def connection():
    with duckdb.connect() as fresh:
        create_schema(fresh)
        add_capture(fresh)
        yield fresh


def put(connection, strategy, params, values, *, reclaim="none", censored=()):
    for seed, value in enumerate(values):
        connection.execute(
            "INSERT INTO risk_threshold VALUES ('c', ?, ?, 'recorded', ?, 'severe', ?, ?, ?, 'oom_kill', 2, 10, 5, 4, 1)",
            [strategy, params, reclaim, seed, float(value), seed in censored],
        )


def test_sql_knows_the_ranks_that_python_knows():
    with duckdb.connect() as connection:
        create_schema(connection)
        ranks = connection.execute("SELECT n, median_rank(n) FROM range(0, 200) AS t(n)").fetchall()
        (last,) = connection.execute("SELECT median_rank(1000)").fetchone()
    assert ranks == [(n, median_rank(n)) for n in range(200)]
    assert last == median_rank(1000) == 468


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=24))
def test_the_view_says_what_python_says(pairs):
    mine, base = [own for own, _ in pairs], [other for _, other in pairs]
    with duckdb.connect() as connection:
        create_schema(connection)
        add_capture(connection)
        put(connection, "pba", "{}", mine)
        put(connection, "unprotected", "{}", base)
        found = connection.execute(
            "SELECT headroom, low, high, least, most, fails_sooner, times_unprotected FROM risk_summary WHERE strategy = 'pba'"
        ).fetchone()
    significant = sign_test(own - other for own, other in pairs) <= 0.05
    more = sum(own > other for own, other in pairs) > sum(own < other for own, other in pairs)
    expected = ("yes" if more else "later") if significant else "not seen"
    assert found == (*median(mine), min(mine), max(mine), expected, median(mine).value / median(base).value)


@pytest.mark.parametrize(
    ("mine", "base", "said"),
    [
        ([2] * 6, [1] * 6, "yes"),
        ([1] * 6, [2] * 6, "later"),
        ([2] * 5, [1] * 5, "not seen"),
        ([2] * 6 + [0.5], [1] * 6 + [1], "not seen"),
        ([2] * 8, [1] * 6, "yes"),  # only the seeds in common are paired
        ([2] * 6, [], None),
    ],
)
def test_failing_sooner_takes_enough_seeds_that_differ(connection, mine, base, said):
    put(connection, "pba", "{}", mine)
    put(connection, "unprotected", "{}", base)
    found = connection.execute(
        "SELECT fails_sooner, fails_sooner_in_all FROM risk_summary WHERE strategy = 'pba'"
    ).fetchall()
    assert found == [(said, None)]


def test_failing_sooner_in_all_takes_three_variants(connection):
    assert len(variants()) == 3
    for reclaim in variants():
        put(connection, "unprotected", "{}", [1] * 6, reclaim=reclaim)
        put(connection, "pba", "{}", [2] * 6, reclaim=reclaim)
        put(connection, "freetype", "{}", [2] * 6 if reclaim != "none" else [1] * 6, reclaim=reclaim)
    found = connection.execute("SELECT DISTINCT label FROM risk_summary WHERE fails_sooner_in_all").fetchall()
    assert found == [("pba",)]
    assert risk_rows(connection, "c", "recorded")[2] == [
        "severe: fail sooner than unprotected in all three variants of reclaim: pba."
    ]


def test_a_median_over_censored_draws_is_a_lower_bound(connection):
    put(connection, "pba", "{}", [5, 7, 9], censored=(0, 2))  # the first may be anything from 5 on
    put(connection, "freetype", "{}", [5, 7, 9], censored=(2,))
    assert connection.execute(
        "SELECT label, headroom, or_more, never_enough FROM risk_summary ORDER BY label"
    ).fetchall() == [
        ("freetype", 7, False, 1),
        ("pba", 7, True, 2),
    ]


def test_a_strategy_is_called_by_what_differs_from_its_defaults(connection):
    write_strategies(connection)
    defaults = parameters_json(Pba())
    put(connection, "pba", defaults, [2])
    put(connection, "pba", parameters_json(Pba(refill_orders=(9, 2), reserve=8)), [3])
    for order, values in ((0, [1, 2]), (2, [2, 5]), (9, [4, 6])):
        put(
            connection,
            "full-reserve",
            parameters_json(FullReserve(refill_orders=(order,), pgd="bypass")),
            values,
            censored=(1,) * (order == 9),
        )
    rows = connection.execute(
        "SELECT label, refill_order, times_order_0, times_or_more, times_least, times_most FROM risk_summary ORDER BY label"
    ).fetchall()
    assert rows == [
        ("pba", None, None, False, None, None),
        ("pba refill_orders=9+2 reserve=8", None, None, False, None, None),
        ("refills of order 0", 0, None, False, None, None),
        ("refills of order 2", 2, 2.0, False, 2.0, 2.5),
        ("refills of order 9", 9, 3.0, True, 3.0, 4.0),
    ]
    (said,) = risk_rows(connection, "c", "recorded")[2]
    assert said.endswith("2.00 (2.00 to 2.50) with order 2, > 3.00 (3.00 to 4.00) with order 9.")


def found_of(steps, trials=()) -> Thresholds:
    return Thresholds(list(steps), 20, list(trials), {0: (0.1, 0.2, 0.3)})


def test_results_are_written_once_and_summarized(tmp_path):
    strategies = (Unprotected(), Pba())
    calm, late = Outcome(None, 0, None, 10, 1000), Outcome(None, 0, None, 30, 1000)
    kill = Outcome("oom_kill", 0, 2, 0, 0)
    trials = [Trial(0, 6, calm, False), Trial(1, 6, late, False), Trial(1, 5, kill, False), Trial(1, 9, kill, True)]
    draws = [(Draw("severe", "none", seed, strategies, False), found_of((0, 6), trials)) for seed in range(6)]
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
        add_capture(connection)
        write_strategies(connection)
        columns, rows, sentences = risk_rows(connection, "c", "recorded")
    pba = dict(zip(columns, rows[0], strict=True))
    assert (pba["strategy"], pba["headroom"], pba["times_unprotected"]) == ("pba", 1.41, 1.41)
    assert (pba["fails_sooner"], pba["first_failure"], pba["seeds"]) == ("yes", "oom_kill order 2", 6)
    assert (pba["checked"], pba["contradicted"]) == (6, 6)
    assert sentences == [], "one variant of reclaim says nothing about all three"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["risk", "--capture", "x", "--fragmentation", "sever"], "--fragmentation sever"),
        (["risk", "--capture", "x", "--reclaim", "some"], "--reclaim some"),
        (["risk", "--capture", "x", "--strategy", "oracle"], "a bound has nothing that could fail"),
        (["risk", "--capture", "x"], "no such warehouse\n  import a trace first"),
    ],
)
def test_bad_input_is_said_in_plain_lines(arguments, said, tmp_path, capsys):
    assert run(["replay", *arguments, "--db", str(tmp_path / "none.duckdb")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 3
    assert not list(tmp_path.iterdir())
