"""The verdict: which strategies are beaten, and what would change that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_case import facts, pool

from ptpool.warehouse import open_warehouse
from reports.case import Case, load_case
from reports.questions import Answer
from reports.sections import verdict
from reports.sections.answer import answer

SOUND = {
    "ptp_allocs": 100, "splits_1g": 0, "splits_2m": 5, "pte_share_mean": 0.02, "conversion_ns": 1000, "ptp_alloc_p99_ns": 45,
    "pool_idle_pages_mean": 100, "table_pages_direct_map": 10, "unkeyed_page_seconds": 0, "unkeyed_split_tables": 0, "unkeyed_incidents": 0,
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
                   true AS is_default, 'recorded' AS machine, 'none' AS reclaim, 'built-in' AS costs,
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
        for name in ("verdict", "conversion_order", "break_even", "contention_limits", "mapping_basis", "risk"):
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


def test_what_wins_is_said(case: Case) -> None:
    assert verdict.wins(case) == (
        "Of 6 strategies that key page tables, 5 supplied everything. Unbeaten, all costs considered: pba and "
        "reserve-block (indistinguishable); self-split; pte-mapped."
    )


def test_the_answer_begins_with_who_is_not_beaten(case: Case) -> None:
    assert answer(case)[1].startswith(
        "Unbeaten, all costs considered: pba and reserve-block (indistinguishable); self-split; pte-mapped. "
        "No pool is recommended: each pool took 3 refills"
    )


def test_what_is_not_measured_is_said_and_how_to(case: Case) -> None:
    would = " ".join(verdict.would_change(case))
    assert "Memory pressure: **not measured**; run `ptpool replay risk`" in would
    assert "More CPUs: **not simulated**; run `ptpool replay contention`" in would
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
        assert "Memory pressure: some fail up to a headroom of 1.5 (pba)" in " ".join(verdict.would_change(case))


def test_prices_that_matter_are_named(case: Case) -> None:
    columns = ("strategies", "next_dearer", "holds_in_all_ranges")
    order = Answer("conversion_order", "", columns, (("pba", "freetype", True), ("freetype", "pte-mapped", False)))
    limits = Answer(
        "contention_limits", "", ("variant", "refills_of", "cpus_at_1_us"),
        (("pba", "2M blocks", 6.4), ("reserve-block-percpu, a block each", "2M blocks", None)),
    )  # fmt: skip
    changed = replace(case, answers={**case.answers, "conversion_order": order, "contention_limits": limits, "break_even": Answer("", "", (), ())})  # fmt: skip
    said = verdict.would_change(changed)
    assert said[0].endswith("may turn within the constants' ranges: freetype before pte-mapped.")
    assert "from about 6 that do nothing but fill page tables" in said[-1]


def test_many_pools_are_said_as_a_range() -> None:
    few = verdict.contrast(facts(unprotected={"splits_2m": 2}, pba=pool(20, 5), reserve_block=pool(0)))
    assert few == (
        "The pools took, at run time: pba 20 refills and 5 splits of the direct map; reserve-block no refills and no "
        "splits of the direct map. Unprotected, without any keys, took 2 splits."
    )
    many = verdict.contrast(
        facts(pba=pool(20, 5), reserve_block=pool(9, 5), self_split=pool(30, 5), generic=pool(40, 5))
    )
    assert (
        many == "The pools took 9 (reserve-block) to 40 (generic) refills and 5 splits of the direct map at run time."
    )


def recorded(splits_2m: tuple[int, int, int], splits_1g: tuple[int, int, int]) -> list[dict[str, Any]]:
    columns = ("quantity", "recorded_before", "recorded_after", "replayed_after")
    rows = (("free pages", 9, 8, 1), ("2M splits since boot", *splits_2m), ("1G splits since boot", *splits_1g))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_splits_are_compared_with_those_of_the_recorded_machine() -> None:
    told = facts(unprotected={"splits_2m": 25}, pba=pool(5, 21), reserve_block=pool(5, 20))
    text = verdict.contrast(replace(told, agreement=recorded((5, 33, 30), (0, 1, 0))))
    assert "took 25 splits; the recorded machine counted 29 (28 of 2M and 1 of 1G). " in text
    assert text.endswith("The model is off by 4 splits; no more than that separates unprotected from pba.")
    exact = verdict.contrast(replace(told, agreement=recorded((5, 30, 30), (0, 0, 0))))
    assert exact.endswith("took 25 splits; the recorded machine counted 25 (25 of 2M).")
    none = verdict.contrast(replace(told, agreement=recorded((5, 5, 5), (0, 0, 0))))
    assert none.endswith("the recorded machine counted none.")


def test_errors_of_opposite_sign_do_not_cancel() -> None:
    told = facts(unprotected={"splits_2m": 25}, pba=pool(5, 23))
    text = verdict.contrast(replace(told, agreement=recorded((0, 24, 25), (0, 1, 0))))
    assert "The model is off by 2 splits" in text
    assert text.endswith("no more than that separates unprotected from every pool.")
