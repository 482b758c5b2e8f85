"""The view risk_summary against the same statistics in Python, and the sentences on it."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_case import add_capture

from ptpool.statistics import median, sign_test
from ptpool.warehouse import create_schema
from replay.contract.strategy import parameters_json
from replay.machine.reclaim import variants
from replay.risk.printed import risk_rows
from replay.runs.store import write_strategies
from replay.strategies.full_reserve import FullReserve
from replay.strategies.pba import Pba


@pytest.fixture
def connection():
    with duckdb.connect() as fresh:
        create_schema(fresh)
        add_capture(fresh)
        yield fresh


def put(connection, strategy, params, values, *, reclaim="none", censored=()):
    for seed, value in enumerate(values):
        connection.execute(
            "INSERT INTO risk_threshold VALUES ('c', ?, ?, 'recorded', 0.9, 'severe', 'unmovable', ?, ?, ?, ?, 0.8, 0.9, 1, 'oom_kill', 2, 10, 5, 4, 1)",
            [strategy, params, reclaim, seed, float(value), seed in censored],
        )


@pytest.mark.slow
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
    assert risk_rows(connection, "c", "recorded")[2] == ["severe: fail sooner than unprotected in every variant: pba."]


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
            parameters_json(FullReserve(refill_orders=(order,))),
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
