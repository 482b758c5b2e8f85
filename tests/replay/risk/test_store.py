"""Results of draws in the warehouse."""

import pytest
from risk_case import add_capture

from ptpool.warehouse import open_warehouse
from replay.risk.printed import risk_rows
from replay.risk.search import Draw, Thresholds, Trial, headroom
from replay.risk.store import failing_only, write_risk
from replay.risk.trial import Outcome
from replay.runs.store import write_strategies
from replay.strategies.pba import Pba
from replay.strategies.unprotected import Unprotected


def test_a_failure_counts_where_unprotected_does_not_fail():
    assert failing_only([5, 3, 9], [3, 3, 4], 4) == (2, 0)
    assert failing_only([5, 3, 9], [3, 3, 4], 2) == (0, 3)


def found_of(steps, trials=()) -> Thresholds:
    return Thresholds(list(steps), 20, list(trials), {0: (0.1, 0.2, 0.3)})


def test_results_are_written_once_and_summarized(tmp_path):
    strategies = (Unprotected(), Pba())
    calm, late = Outcome(None, 0, None, 10, 1000), Outcome(None, 0, None, 30, 1000)
    kill = Outcome("oom_kill", 0, 2, 0, 0)
    trials = [Trial(0, 6, calm, False), Trial(1, 6, late, False), Trial(1, 5, kill, False), Trial(1, 9, kill, True)]
    draws = [
        (Draw("severe", "unmovable", "none", seed, strategies, False), found_of((0, 6), trials)) for seed in range(6)
    ]
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        for _ in range(2):
            write_risk(connection, ("c", "recorded", 0.9), ("unprotected", "pba"), draws)
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
