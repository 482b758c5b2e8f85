"""The price of permission changes: its bands, where an order of two strategies turns, and what is said about it."""

from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from ptpool.page_events import insert_page_events
from ptpool.warehouse import open_warehouse
from reports.case import Case, load_case
from reports.sections import conversion

CONSTANTS = {"change_ns": (100, 500, 600), "split_ns": (0, 1000, 1000), "flush_base_ns": (10, 1000, 2000),
             "flush_per_cpu_ns": (0, 150, 150), "flush_all_ns": (0, 600, 5000), "receiver_ns": (200, 1000, 9000),
             "fork_ns": (5e6, 12e6, 20e6)}  # fmt: skip

COUNTS = {
    "a": {"permission_changes": 100, "splits_2m": 2, "splits_1g": 1, "tlb_flushes": 10},
    "b": {"permission_changes": 10, "splits_2m": 3, "splits_1g": 0, "tlb_flushes": 100},
    "c": {"permission_changes": 200, "splits_2m": None, "splits_1g": None, "tlb_flushes": 200},
    "c-too": {"permission_changes": 200, "splits_2m": None, "splits_1g": None, "tlb_flushes": 200},
    "broken": {"permission_changes": 0, "tlb_flushes": 0, "deadlocks": 1},
    "bound": {"permission_changes": 1, "tlb_flushes": None},
}


def write(path: Path, counts: dict[str, dict[str, int | None]], arch: str = "x86_64") -> None:
    """A warehouse of one capture of four CPUs and two seconds, with runs of these counts."""
    with open_warehouse(path, write=True) as connection:
        connection.execute(
            """INSERT INTO capture BY NAME SELECT 'id' AS capture_id, 'name' AS name, '' AS source, '' AS sha256,
               'ftrace' AS format, ? AS arch, 4096 AS page_size, 4 AS cpus, 'real' AS timing, 0 AS first_ns,
               2000000000 AS last_ns, 9 AS events, 0 AS lost_events, true AS has_stacks, '' AS code_version""",
            [arch],
        )
        for number in range(4):
            insert_page_events(
                connection,
                """SELECT 'id' AS capture_id, ? AS seq, 0 AS ts_ns, 0 AS cpu, 1 AS pid,
                   'alloc' AS kind, 7 AS pfn, 0 AS page_order, 'pgtable_user' AS consumer, 'pgd' AS level""",
                [number],
            )
        for name, (low, typical, high) in CONSTANTS.items():
            for of in ("x86_64", "aarch64"):
                row = ["built-in", of, name, low, typical, high, "a test"]
                connection.execute("INSERT INTO cost_constant VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        for strategy, metrics in counts.items():
            connection.execute(
                """INSERT INTO run BY NAME SELECT ? AS run_id, 'id' AS capture_id, ? AS strategy, '{}' AS params,
                   true AS is_default, 'recorded' AS machine, 'none' AS reclaim, 'built-in' AS costs,
                   1 AS copies, 0 AS seed, '' AS code_version, [] AS assumptions""",
                [strategy, strategy],
            )
            for metric, value in (
                {"ptp_allocs": 50, "ptp_nulls": 0, "split_starvations": 0, "deadlocks": 0} | metrics
            ).items():
                connection.execute("INSERT INTO run_metric VALUES (?, ?, ?, '')", [strategy, metric, value])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    path = tmp_path_factory.mktemp("conversion") / "priced.duckdb"
    write(path, COUNTS)
    with open_warehouse(path) as connection:
        loaded = load_case(connection, "name")
        for name in ("conversion_bands", "conversion_order", "conversion_posted"):
            assert loaded.answers[name].rows
    return loaded


def test_bands_are_counts_times_constants(case: Case) -> None:
    rows = {row["strategy"]: row for row in conversion.bands_of(case)}
    assert list(rows) == ["broken", "a", "b", "c", "c-too"]  # a bound has no flushes
    a = rows["a"]
    assert a["conversion_ns"] == 100 * 500 + 3 * 1000 + 10 * (1000 + 3 * 150)
    assert (a["low_ns"], a["high_ns"]) == (100 * 100 + 10 * 10, 100 * 600 + 3 * 1000 + 10 * 2450)
    assert (a["flush_tenth_ns"], a["flush_tenfold_ns"]) == (53000 + 1450, 53000 + 145000)
    assert (a["per_second_ns"], a["per_table_ns"]) == (a["conversion_ns"] / 2, a["conversion_ns"] / 50)
    assert a["per_new_mm_ns"] == a["conversion_ns"] / 4
    assert a["receivers_per_table_ns"] is None  # nothing was interrupted
    assert rows["c"]["conversion_ns"] == 200 * 500 + 200 * 1450


def test_flushes_of_everything_cost_more_and_receivers_are_counted_apart(tmp_path: Path) -> None:
    full = COUNTS["a"] | {"tlb_full_flushes": 3, "tlb_ipis": 30}
    write(tmp_path / "w.duckdb", {"a": COUNTS["a"], "full": full})
    with open_warehouse(tmp_path / "w.duckdb") as connection:
        plain, dearer = conversion.bands_of(load_case(connection, "name"))
    assert dearer["conversion_ns"] - plain["conversion_ns"] == 3 * 600
    assert dearer["high_ns"] - plain["high_ns"] == 3 * 5000
    assert dearer["flush_tenfold_ns"] - plain["flush_tenfold_ns"] == 10 * 3 * 600
    assert dearer["receivers_per_table_ns"] == 30 * 1000 / 50


def test_only_an_order_that_turns_is_said_to_turn(case: Case) -> None:
    first, second, last = case.answers["conversion_order"].records()
    assert (first["strategies"], second["strategies"], last["strategies"]) == ("a", "b", "c, c-too")
    # b has 90 flushes more than a, and 90 changes less: 90 f = 90 c.
    assert first["turns_at_flush_ns"] == 500
    assert first["holds_for_flush_x10"] is False  # a tenth of 1450 is below that
    assert first["holds_in_all_ranges"] is False
    assert second["holds_for_flush_x10"] is True  # c has more of both
    assert second["turns_at_flush_ns"] is None


def test_what_holds_is_said_to_hold(tmp_path: Path) -> None:
    write(tmp_path / "w.duckdb", {name: COUNTS[name] for name in ("a", "c")})
    with open_warehouse(tmp_path / "w.duckdb") as connection:
        first, _ = load_case(connection, "name").answers["conversion_order"].records()
    assert (first["holds_for_flush_x10"], first["holds_in_all_ranges"]) == (True, True)
    assert first["flush_ns"] == 1450


def test_ranges_are_taken_each_for_itself(tmp_path: Path) -> None:
    """What is said to hold in all ranges does so at every corner, and what is not fails at one."""
    more = {"d": {"permission_changes": 150, "splits_2m": 0, "splits_1g": 0, "tlb_flushes": 8}}
    write(tmp_path / "w.duckdb", COUNTS | more)
    with open_warehouse(tmp_path / "w.duckdb") as connection:
        rows = load_case(connection, "name").answers["conversion_order"].records()
    for row, dearer in pairwise(rows):
        one, other = ({**COUNTS, **more}[r["strategies"].split(", ")[0]] for r in (row, dearer))
        assert row["holds_in_all_ranges"] is _holds(one, other)


def _holds(one: dict[str, int | None], other: dict[str, int | None]) -> bool:
    """Whether the least difference over the corners of the ranges is none."""
    d = [
        (other.get(m) or 0) - (one.get(m) or 0) for m in ("permission_changes", "splits_2m", "splits_1g", "tlb_flushes")
    ]
    row = duckdb.execute(
        """SELECT min(? * c + ? * s + ? * f) FROM unnest([100, 300, 600]) AS _(c), unnest([0, 500, 1000]) AS __(s),
           unnest([10, 1000, 2450]) AS ___(f)""",
        [d[0], d[1] + d[2], d[3]],
    ).fetchone()
    assert row is not None
    return bool(row[0] >= 0)


def test_the_posted_overhead_without_and_with_fitting(case: Case) -> None:
    ((row),) = case.answers["conversion_posted"].records()
    assert row["posted_points"] == pytest.approx(4.32)
    assert row["predicted_points"] == pytest.approx(100 * 515 * 1500 / 12e6)
    assert row["predicted_points_low"] == pytest.approx(100 * 515 * 110 / 20e6)
    assert row["predicted_points_high"] == pytest.approx(100 * 515 * 2600 / 5e6)
    assert row["fitted_ns"] == pytest.approx(0.0432 * 12e6 / 515)
    assert row["agrees"] is True
