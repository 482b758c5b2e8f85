"""Copies until something fails: the search held against brute force, what is written, and what is said of it."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy_machine import OTHER, PGTABLE, demand_of, machine_of
from toy_runs import BLOCK, TOY_PBA

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from replay.demand.copies import scaled
from replay.kernel.gfp import GFP_KERNEL
from replay.risk import study
from replay.risk.exhaustion import OUTLAST, Load, exhaust
from replay.risk.report import exhaustion_rows
from replay.risk.search import Ground
from replay.risk.store import parameters_of, write_exhaustion
from replay.risk.trial import trial
from replay.start.pressed_machine import peak_net_demand
from replay.strategies.pba import Pba
from replay.strategies.unprotected import Unprotected

MOST = 9
STRATEGIES = (Unprotected(), TOY_PBA, BLOCK)


def ground_of(pages, tables, others):
    """A process of so many page tables and other pages, which it keeps for a while, on a machine of so many free pages."""
    wanted = [("alloc", 300 + page, 0, PGTABLE) for page in range(tables)]
    wanted += [("alloc", 320 + page, 0, OTHER) for page in range(others)]
    demand = demand_of(wanted + [("free", pfn, 0, OTHER) for _, pfn, _, _ in wanted], pages=512)
    demand.program.context[:] = GFP_KERNEL
    start = machine_of(256, free=[page < pages for page in range(256)])
    return Ground(demand, start, start, peak_net_demand(start, demand))


def least_failing(outcomes, place):
    return min(
        (copies for (which, copies), outcome in outcomes.items() if which == place and outcome.failed), default=0
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(20, 80), st.integers(2, 12), st.integers(2, 12), st.integers(0, 3))
def test_the_search_finds_what_brute_force_finds(pages, tables, others, seed):
    ground = ground_of(pages, tables, others)
    every = {
        (place, copies): trial(ground.start, scaled(ground.demand, copies, seed, 256), strategy, "none")
        for place, strategy in enumerate(STRATEGIES)
        for copies in range(1, MOST + 1)
    }
    least = [least_failing(every, place) for place in range(len(STRATEGIES))]
    for (place, copies), outcome in every.items():
        assume((outcome.failed is not None) == (copies >= (least[place] or MOST + 1)))
    if least[0]:
        least = [copies if copies <= OUTLAST * least[0] else 0 for copies in least]
    found = exhaust(ground, Load("none", seed, MOST, STRATEGIES))
    assert [least_failing(found, place) for place in range(len(STRATEGIES))] == least
    assert found.items() <= every.items()
    if least[0]:
        assert all((place, least[0]) in found for place in range(len(STRATEGIES))), "all meet at the first one's number"
    assert len(found) <= len(STRATEGIES) * 8, "fewer runs than there are numbers"


@pytest.fixture
def warehouse(tmp_path):
    """A capture that was recorded under emulation, and nothing of it replayed."""
    path = tmp_path / "w.duckdb"
    with open_warehouse(path, write=True) as connection:
        connection.execute(
            "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'toy' AS name, 's' AS source, 'h' AS sha256, "
            "'ftrace' AS format, 4096 AS page_size, 1 AS cpus, 'emulated' AS timing, 0 AS first_ns, 9 AS last_ns, "
            "0 AS events, 0 AS lost_events, false AS has_stacks, 'v' AS code_version"
        )
    return path


def tried(strategy, seed, copies, seconds=None, reclaim="none"):
    name = "pba" if isinstance(strategy, Pba) else "unprotected"
    when = None if seconds is None else int(seconds * 1e9)
    about = ["c", name, parameters_of(strategy), "recorded", reclaim, seed]
    return [*about, copies, when and "oom_kill", 2 if when else None, when]


TRIED = [
    *(tried(Unprotected(), seed, copies, at) for seed in (0, 1) for copies, at in ((4, None), (5, 3.0 + seed))),
    *(tried(Pba(), 0, copies, at) for copies, at in ((3, None), (4, 6.5), (5, 2.0))),
    *(tried(Pba(), 1, copies, at) for copies, at in ((2, 7.0), (3, None), (5, 2.5))),
]


def test_ranges_are_over_seeds_and_contradictions_are_counted(warehouse):
    with open_warehouse(warehouse, write=True) as connection:
        for _ in range(2):
            write_exhaustion(connection, TRIED)
        columns, rows, sentences = exhaustion_rows(connection, "c", "recorded")
    pba, unprotected = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (pba["copies_low"], pba["copies_high"], pba["low_s"], pba["high_s"]) == (2, 4, 6.5, 7.0)
    assert (pba["then_low_s"], pba["then_high_s"]) == (2.0, 2.5), "with as many copies as make unprotected fail"
    assert (pba["fails_with"], pba["seeds"], pba["failing"], pba["contradicted"]) == ("oom_kill order 2", 2, 2, 1)
    assert (unprotected["copies_low"], unprotected["then_high_s"], unprotected["contradicted"]) == (5, 4.0, 0)
    assert sentences[0] == "Take fewer copies than unprotected to fail, in every seed: pba."
    assert sentences[1].endswith("none.")


@pytest.mark.parametrize(
    ("mine", "others", "said"),
    [
        ((4, 5), (5, 5), (False, False)),  # only one seed differs
        ((6, 6), (5, 5), (False, True)),
        ((6, None), (5, 5), (False, True)),  # None: does not fail with as many as were tried
        ((6, 6), (None, None), (True, False)),
        ((None, None), (None, None), (False, False)),
    ],
)
def test_who_takes_fewer_copies_does_so_in_every_seed(warehouse, mine, others, said):
    rows = []
    for strategy, least in ((Pba(), mine), (Unprotected(), others)):
        for seed, copies in enumerate(least):
            rows += [tried(strategy, seed, 1), *([tried(strategy, seed, copies, 1.0)] if copies else [])]
    with open_warehouse(warehouse, write=True) as connection:
        write_exhaustion(connection, rows)
        _, _, (fewer, more, _) = exhaustion_rows(connection, "c", "recorded")
    assert (fewer.endswith(": pba."), more.endswith(": pba.")) == said


def test_the_command_prints_rows_and_what_they_are_worth(warehouse, capsys, monkeypatch):
    def write(connection, capture, machine, named, grid, jobs, on_done):
        assert (capture["name"], machine, grid, jobs) == ("toy", "recorded", (["none"], 2, 9), 1)
        assert list(named[0]) == ["unprotected", "pba"]
        write_exhaustion(connection, TRIED)
        on_done(1)
        return ["none, seed 1: broke off"]

    monkeypatch.setattr(study, "study_copies", write)
    arguments = ["replay", "exhaust", "--capture", "toy", "--strategy", "pba", "--reclaim", "none", "--seeds", "2"]
    arguments += ["--most", "9", "--jobs", "1", "--db", str(warehouse)]
    assert run(arguments) == 1, "a draw broke off"
    told = capsys.readouterr()
    assert "Sensitivity, not a finding: this was recorded under emulation" in told.out
    assert "2 strategies, 2 draws of when copies start, reclaim none, up to 9 copies" in told.err
    assert "none, seed 1: broke off" in told.err
    assert run([*arguments, "--json", "--quiet"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["strategy"], row["copies_low"], row["clock"]) for row in rows] == [
        ("pba", 2, "emulated"),
        ("unprotected", 5, "emulated"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--capture", "x"], "no capture named x"),
        (["--capture", "toy", "--most", "0"], "--most"),
        (["--capture", "toy", "--reclaim", "some"], "--reclaim some"),
        (["--capture", "toy", "--strategy", "oracle"], "a bound has nothing that could fail"),
        (["--capture", "toy", "--machine", "8GB"], "8GB"),
    ],
)
def test_bad_input_is_said_in_plain_lines(warehouse, arguments, said, capsys):
    assert run(["replay", "exhaust", *arguments, "--db", str(warehouse)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 3
    with open_warehouse(warehouse) as connection:
        assert connection.execute("SELECT count(*) FROM exhaustion").fetchone() == (0,)
