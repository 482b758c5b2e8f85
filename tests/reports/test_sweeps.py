"""Sweeps in reports: what protects and what no other beats, from runs alone; no section without a sweep."""

import json

import pytest

from reports.sections import sweeps as figure
from reports.sections.sweeps import SECTION, sentences
from reports.tables import frame

POINTS = [  # machine, reserve, pages held, splits, ns, starved; by seed alike
    ("8G", 0, 90, 5, 100, 2),
    ("8G", 1, 100, 5, 100, 0),
    ("8G", 4, 100, 5, 100, 0),
    ("8G", 16, 120, 4, 100, 0),
    ("8G", 64, 130, 5, 100, 0),
    ("2G", 0, 10, 5, 100, 1),
]


def swept(connection):
    for nth, (machine, reserve, held, splits, ns, starved) in enumerate(POINTS):
        for seed in (0, 1):
            run_id = f"{nth}-{seed}"
            connection.execute(
                "INSERT INTO run BY NAME SELECT ? AS run_id, 'c' AS capture_id, 'pba' AS strategy, ?::JSON AS params, "
                "false AS is_default, ? AS machine, 'none' AS reclaim, 'built-in' AS costs, 1 AS copies, "
                "0 AS inject, ? AS seed, true AS metrics_only, 'v' AS code_version, [] AS assumptions",
                [run_id, json.dumps({"refill_orders": [9, 2], "reserve": reserve}), machine, seed],
            )
            values = {"pool_idle_pages_mean": held, "table_pages_direct_map": 0, "splits_1g": 0, "splits_2m": splits,
                      "splits_warm_up": 0, "stalls": 0, "conversion_ns": ns, "split_starvations": starved, "ptp_nulls": 0,
                      "deadlocks": 0, "unkeyed_page_seconds": 0}  # fmt: skip
            for metric, value in values.items():
                connection.execute("INSERT INTO run_metric VALUES (?, ?, ?, 'u')", [run_id, metric, value])
            connection.execute("INSERT INTO sweep VALUES ('how-many', ?)", [run_id])


def test_without_a_sweep_there_is_no_section(case):
    told, connection = case
    assert sentences(told) == []
    assert SECTION.figures(connection, told) == []


def test_what_protects_and_what_no_other_beats(case):
    told, connection = case
    swept(connection)
    assert sentences(told) == ["`how-many`: 6 points (2 seeds each), 4 protect, 3 unbeaten. Nothing protects on 2G."]
    points = frame(told.answers["sweep_points"])
    assert set(points.loc[points["on_front"], "brief"]) == {"1", "4", "16"}
    assert set(points["settings"]) == {f"reserve {n}" for n in (0, 1, 4, 16, 64)}
    shares = frame(told.answers["sweep_sensitivity"]).set_index(["setting", "metric"])["share"]
    assert shares["seed", "splits_2m"] == 0
    assert shares["reserve", "splits_2m"] == pytest.approx(1)
    assert 0 < shares["machine", "pool_idle_pages_mean"] < 1


def test_a_map_in_pages_has_no_splits(case):
    told, connection = case
    swept(connection)
    connection.execute(
        "UPDATE run_metric SET value = NULL WHERE metric IN ('splits_1g', 'splits_2m', 'splits_warm_up')"
    )
    points = frame(told.answers["sweep_points"])
    assert points["splits"].isna().all()
    (axis,) = figure.draw_fronts(points[points["replayed_on"] == "8G"]).axes
    assert [text.get_text() for text in axis.texts] == ["1; 4: map in pages"]


def test_equal_points_share_a_name_and_others_have_none(case):
    told, connection = case
    swept(connection)
    points = frame(told.answers["sweep_points"])
    (axis,) = figure.draw_fronts(points[points["replayed_on"] == "8G"]).axes
    assert sorted(text.get_text() for text in axis.texts) == ["16: 4 splits", "1; 4: 5 splits"]
    cells = figure.draw_shares(frame(told.answers["sweep_sensitivity"])).axes[0]
    assert [label.get_text() for label in cells.get_yticklabels()] == [
        "how-many: machine", "how-many: reserve", "how-many: seed",
    ]  # fmt: skip
