"""OOM risk in reports: nothing is ranked that does not hold in every draw and variant; the figure draws what there is."""

import pytest

from ptpool.warehouse import open_warehouse
from reports.case import Case
from reports.figures import risk as figure
from reports.questions import Answers
from reports.sections.risk import sentences
from reports.tables import frame

PLAIN, SINGLE = "{}", '{{"pgd": "bypass", "refill_orders": [{}]}}'


@pytest.fixture
def case(tmp_path):
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        connection.execute(
            "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'c' AS name, 's' AS source, 'h' AS sha256, "
            "'ftrace' AS format, 4096 AS page_size, 1 AS cpus, 'unknown' AS timing, 0 AS first_ns, 9 AS last_ns, "
            "0 AS events, 0 AS lost_events, false AS has_stacks, 'v' AS code_version"
        )
        yield Case({"name": "c"}, {}, answers=Answers(connection, capture="c")), connection


def draws(connection, strategy, params, values, *, reclaim="none", censored=False):
    for seed, headroom in enumerate(values):
        connection.execute(
            "INSERT INTO risk_threshold VALUES ('c', ?, ?, 'recorded', ?, 'severe', ?, ?, ?, 'oom_kill', 2, 10, 5, 4, 1)",
            [strategy, params, reclaim, seed, headroom, censored],
        )


def test_nothing_measured_says_nothing(case):
    assert sentences(case[0]) == []


def test_the_order_of_refills_and_what_holds_in_all_variants(case):
    told, connection = case
    for reclaim in ("none", "moderate", "optimistic"):
        draws(connection, "unprotected", PLAIN, [1, 1, 1, 1.1, 1.1, 1.2], reclaim=reclaim)
        draws(connection, "pba", PLAIN, [2, 2, 2, 2.5, 3, 3], reclaim=reclaim)
        draws(connection, "freetype", PLAIN, [2, 2, 2, 2, 2, 1.2 if reclaim == "none" else 2], reclaim=reclaim)
        draws(connection, "full-reserve", SINGLE.format(0), [1] * 6, reclaim=reclaim)
        draws(connection, "full-reserve", SINGLE.format(2), [2] * 6, reclaim=reclaim)
        draws(connection, "full-reserve", SINGLE.format(9), [17] * 6, reclaim=reclaim, censored=True)
    said = sentences(told)
    assert said[2] == (
        "Memory severe, reclaim optimistic: the same pool needs, with refills of order 0 1 (1 to 1), "
        "order 2 2 (2 to 2) and order 9 more than 17 (17 to 17); `unprotected` 1 (1 to 1.2)."
    )
    assert "refills of order 9, pba and refills of order 2." in said[3], said[3]
    assert "freetype" not in said[3], "it does not hold under none"
    assert "in 108 of 432 further runs" in said[4]
    assert "6 draws each" in said[4]
    drawn = figure.draw(frame(told.answers["risk"]))
    assert len(drawn.axes) == 3


def test_few_draws_rank_nothing(case):
    told, connection = case
    for reclaim in ("none", "moderate", "optimistic"):
        draws(connection, "unprotected", PLAIN, [1] * 5, reclaim=reclaim)
        draws(connection, "pba", PLAIN, [2] * 5, reclaim=reclaim)
    assert any("fewer than 6 draws, so nothing is ranked" in sentence for sentence in sentences(told))
