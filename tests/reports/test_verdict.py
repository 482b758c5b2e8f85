"""The verdict: who is beaten by whom, and what is said about what would change it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptpool.warehouse import open_warehouse
from reports.case import Case, load_case
from reports.questions import Answer
from reports.sections import verdict
from reports.sections.answer import answer

SOUND = {
    "ptp_allocs": 100, "splits_1g": 0, "splits_2m": 5, "pte_share_mean": 0.02, "conversion_ns": 1000, "ptp_alloc_p99_ns": 45,
    "pool_idle_pages_mean": 100, "table_pages_direct_map": 10, "unkeyed_page_seconds": 0, "unkeyed_split_tables": 0,
    "ptp_nulls": 0, "split_starvations": 0, "deadlocks": 0, "stalls": 0, "refills": 3,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "unprotected": {"conversion_ns": 0, "splits_2m": 0, "pool_idle_pages_mean": None, "refills": None, "table_pages_direct_map": 8},
    "pba": {},
    "reserve-block": {"pool_idle_pages_mean": 100.4},  # the same to two digits
    "self-split": {"splits_2m": 4, "unkeyed_page_seconds": 7},  # better in one, worse in another
    "freetype": {"unkeyed_split_tables": 3},
    "small-reserve": {"splits_2m": 0, "conversion_ns": 1, "split_starvations": 1},  # cheapest, and fails
    "pte-mapped": {"splits_2m": None, "splits_1g": None, "pte_share_mean": 1, "conversion_ns": 9e6, "pool_idle_pages_mean": None,
                   "table_pages_direct_map": 42, "refills": None},
    "oracle": {"conversion_ns": None, "ptp_alloc_p99_ns": None},
}  # fmt: skip


def write(path: Path, risk: tuple[tuple[str, float, int], ...] = ()) -> None:
    with open_warehouse(path, write=True) as connection:
        connection.execute(
            """INSERT INTO capture BY NAME SELECT 'id' AS capture_id, 'name' AS name, '' AS source, '' AS sha256,
               'ftrace' AS format, 'x86_64' AS arch, 4096 AS page_size, 4 AS cpus, 'emulated' AS timing, 0 AS first_ns,
               2000000000 AS last_ns, 9 AS events, 0 AS lost_events, true AS has_stacks, '' AS code_version"""
        )
        for strategy, metrics in RUNS.items():
            connection.execute(
                """INSERT INTO run BY NAME SELECT ? AS run_id, 'id' AS capture_id, ? AS strategy, '{}' AS params,
                   true AS is_default, 'recorded' AS machine, 'policy' AS mode, 'none' AS reclaim, 'built-in' AS costs,
                   1 AS copies, 0 AS seed, '' AS code_version, [] AS assumptions""",
                [strategy, strategy],
            )
            for metric, value in (SOUND | metrics).items():
                connection.execute("INSERT INTO run_metric VALUES (?, ?, ?, '')", [strategy, metric, value])
        for strategy, headroom, failures in risk:
            columns = connection.execute("SELECT * FROM risk LIMIT 0").description or []
            fill = {
                "capture_id": "id",
                "strategy": strategy,
                "headroom": headroom,
                "failures": failures,
                "params": "{}",
                "machine": "recorded",
            }
            plain = {"seeds": 20, "failures_unprotected": 0}
            row = {
                name: fill.get(name, plain.get(name, "none" if kind == "VARCHAR" else None))
                for name, kind, *_ in columns
            }
            connection.execute(f"INSERT INTO risk VALUES ({', '.join('?' * len(row))})", list(row.values()))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    path = tmp_path_factory.mktemp("verdict") / "w.duckdb"
    write(path)
    with open_warehouse(path) as connection:
        loaded = load_case(connection, "name")
        for name in ("verdict", "conversion_order", "break_even", "contention_limits", "mapping_cost", "risk"):
            assert loaded.answers[name].columns
    return loaded


def standings(case: Case) -> dict[str, tuple[str, str | None]]:
    return {row["strategy"]: (row["standing"], row["beaten_by"]) for row in case.answers["verdict"].records()}


def test_who_is_beaten(case: Case) -> None:
    assert standings(case) == {
        "unprotected": ("no key: today's kernel", None),
        "pba": ("none beats it", None),
        "reserve-block": ("none beats it", None),
        "self-split": ("none beats it", None),
        "pte-mapped": ("none beats it", None),  # it holds less
        "freetype": ("beaten", "pba, reserve-block"),
        "small-reserve": ("did not supply everything", None),
    }
    held = {row["strategy"]: row["held_bytes"] for row in case.answers["verdict"].records()}
    assert (held["unprotected"], held["pba"], held["pte-mapped"]) == (0, 102 * 4096, 34 * 4096)


def test_what_wins_is_said_with_what_it_costs(case: Case) -> None:
    said = verdict.wins(case)
    assert said[0] == (
        "Of 6 strategies with a key 5 supplied everything. No other is as good in every column and better in one than: "
        "pba and reserve-block (not told apart); self-split; pte-mapped."
    )
    assert "splits 4 (self-split) to 5" in said[1]
    assert "memory held 136 KiB (pte-mapped) to 410 KiB" in said[1]
    assert said[2] == (
        "Against `pte-mapped`, pba holds 272 KiB more (the tables of a map at 4K counted) and spends 1 µs in permission "
        "changes instead of 9 ms, with 2 % of the map at 4K instead of 100 %."
    )


def test_the_answer_begins_with_who_is_not_beaten(case: Case) -> None:
    assert answer(case)[1].startswith(
        "Beaten by no other, all costs taken together: pba and reserve-block (not told apart); self-split; pte-mapped. "
        "No recommendation among the pools: they took equally many refills"
    )


def test_what_is_not_measured_is_said_and_how_to(case: Case) -> None:
    would = " ".join(verdict.would_change(case))
    assert "Memory pressure: **not measured**. `ptpool replay risk`" in would
    assert "More CPUs: **not simulated**. `ptpool replay contention`" in would
    cannot = " ".join(verdict.cannot_tell(case))
    for words in ("took 3 to 3 refills", "its clock is not that", "no allocation stalled", "no snapshot"):
        assert words in cannot


def test_risk_decides_where_it_was_measured(tmp_path: Path) -> None:
    write(tmp_path / "w.duckdb", (("pba", 1.5, 2), ("pba", 3.0, 0), ("reserve-block", 1.5, 0), ("unprotected", 1.0, 0)))
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        connection.execute(
            "INSERT INTO risk SELECT * REPLACE ('reserve-block' AS strategy, '{\"reserve\": 9}' AS params) "
            "FROM risk WHERE strategy = 'pba'"
        )  # with other parameters it is another pool
        case = load_case(connection, "name")
        assert standings(case)["pba"] == ("beaten", "reserve-block")
        assert "Memory pressure: pba fails up to a headroom of 1.5" in " ".join(verdict.would_change(case))


def test_prices_that_matter_are_named(case: Case) -> None:
    columns = ("strategies", "next_dearer", "holds_in_all_ranges")
    order = Answer("conversion_order", "", columns, (("pba", "freetype", True), ("freetype", "pte-mapped", False)))
    limits = Answer(
        "contention_limits", "", ("variant", "refills_of", "cpus_at_1_us"),
        (("pba", "2M blocks", 6.4), ("reserve-block-percpu, a block each", "2M blocks", None)),
    )  # fmt: skip
    changed = replace(case, answers={**case.answers, "conversion_order": order, "contention_limits": limits, "break_even": Answer("", "", (), ())})  # fmt: skip
    said = verdict.would_change(changed)
    assert said[0].endswith("within the ranges of the constants these turn: freetype before pte-mapped.")
    assert "from about 6 that do nothing but fill page tables" in said[-1]
