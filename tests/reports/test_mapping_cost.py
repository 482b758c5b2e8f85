"""Mapping cost: the break-even by hand, and split 1G leaves."""

from pathlib import Path

import pytest

from ptpool.warehouse import open_warehouse
from reports.questions import ask

SECOND = 1_000_000_000
PRICES = {
    "change_ns": 1000,
    "split_ns": 0,
    "flush_base_ns": 0,
    "flush_per_cpu_ns": 0,
    "flush_all_ns": 0,
    "receiver_ns": 0,
}


def warehouse(path: Path, changes: dict[str, int], *, spread: int = 1) -> Path:
    """One second on two CPUs; each strategy's permission changes, 1 µs each, or `spread` times less and more."""
    with open_warehouse(path, write=True) as connection:
        connection.execute(
            "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'n' AS name, 's' AS source, 'h' AS sha256, 'ftrace' AS format, "
            "'aarch64' AS arch, 4096 AS page_size, 2 AS cpus, 'real' AS timing, 0 AS first_ns, ? AS last_ns, 0 AS events, "
            "0 AS lost_events, false AS has_stacks, 'v' AS code_version", [SECOND])  # fmt: skip
        for name, typical in PRICES.items():
            connection.execute("INSERT INTO cost_constant VALUES ('built-in', 'aarch64', ?, ?, ?, ?, 'test')",
                               [name, typical / spread, typical, typical * spread])  # fmt: skip
        for strategy, number in changes.items():
            connection.execute(
                "INSERT INTO run BY NAME SELECT ? AS run_id, 'c' AS capture_id, ? AS strategy, '{}' AS params, true AS is_default, "
                "'recorded' AS machine, 'none' AS reclaim, 'built-in' AS costs, 1 AS copies, 0 AS seed, "
                "'v' AS code_version, [] AS assumptions", [strategy, strategy])  # fmt: skip
            share = 1.0 if strategy == "pte-mapped" else 0.02
            for metric, value in (("permission_changes", number), ("tlb_flushes", 0), ("pte_share_mean", share)):
                connection.execute("INSERT INTO run_metric VALUES (?, ?, ?, '')", [strategy, metric, value])
    return path


def even(path: Path) -> dict[str, tuple[float, float]]:
    with open_warehouse(path) as connection:
        return {row["strategy"]: (row["break_even_share"], row["break_even_share_least"])
                for row in ask(connection, "break_even", capture="n").records()}  # fmt: skip


def test_break_even_is_where_both_costs_are_equal(tmp_path: Path) -> None:
    # 20,000 changes of 1 µs are 1 % of two CPUs' second; the scale is 2.68, 2.96, 4.86 % for a map all at 4K
    found = even(warehouse(tmp_path / "w.duckdb", {"pte-mapped": 20_000, "pba": 0, "dear": 40_000, "unprotected": 0}))
    assert set(found) == {"pba", "dear"}  # today's kernel keeps no key: nothing to compare
    assert found["pba"] == pytest.approx((1 + 1 / 2.96, 1 + 1 / 4.86))
    assert found["dear"] == pytest.approx((1 - 1 / 2.96, 1 - 1 / 2.68))


def test_the_least_break_even_is_over_all_prices(tmp_path: Path) -> None:
    found = even(warehouse(tmp_path / "w.duckdb", {"pte-mapped": 20_000, "pba": 0, "dear": 21_000}, spread=10))
    assert found["pba"] == pytest.approx((1 + 1 / 2.96, 1 + 0.1 / 4.86))  # cheap changes: little is saved
    assert found["dear"] == pytest.approx((1 - 0.05 / 2.96, 1 - 0.5 / 2.68))  # dear ones: it loses most


def test_1g_leaves_lost_are_counted_from_the_map(warehouse: Path) -> None:
    with open_warehouse(warehouse) as connection:
        rows = {row["strategy"]: row for row in ask(connection, "mapping_cost", capture="server").records()}
        pages = dict(connection.execute(
            "SELECT leaf, sum(last_pfn - first_pfn + 1) FROM direct_map WHERE run_id = 'id-of-server/pba' AND moment = 'end' "
            "GROUP BY leaf").fetchall())  # fmt: skip
    assert rows["pba"]["pmd_share_end"] == pytest.approx(pages["2M"] / sum(pages.values()))
    assert rows["pba"]["pud_share_lost"] == 0  # the synthetic splits are below 1 GiB
    assert rows["pte-mapped"]["pmd_share_end"] == 0
