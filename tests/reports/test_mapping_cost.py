"""Mapping cost: the break-even by hand, other weightings, split 1G leaves, and what a calibration adds."""

from pathlib import Path

import pandas as pd
import pytest

from ptpool.warehouse import open_warehouse
from reports.case import Case
from reports.questions import Answer, ask
from reports.sections import mapping_cost

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


def case(**answers: Answer) -> Case:
    return Case(capture={"timing": "real", "page_size": 4096, "arch": "x86_64"}, metrics={}, answers=answers)


def answer(columns: str, *rows: tuple[object, ...]) -> Answer:
    return Answer("", "", tuple(columns.split()), rows)


WEIGHTED = (
    "strategy pte_share_mean pte_share_kernel_end pte_share_activity mapping_cost_pct_by_bytes "
    "mapping_cost_pct_by_kernel_memory mapping_cost_pct_by_activity"
)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("pba", 0.004, 0.03, 0.2, None, 0.09, 0.6), ("pte-mapped", 1.0, 1.0, 1.0, 3.0, 3.0, 3.0)], "up to 0.60 %"),
        (
            [("pba", 0.03, 0.07, 0.0, 0.09, 0.2, None), ("x", 0.04, None, 0.0, 0.12, None, None)],
            "3 % to 4 % of the bytes, 7 % of",
        ),
        ([("pba", 0.004, 0.009, None, None, None, None), ("x", 0.2, 0.3, 0.4, 1, 1, 1)], "same side of 1 %"),
        ([("pba", None, None, None, None, None, None)], "same side of 1 %"),
    ],
)
def test_other_weightings_matter_where_they_cross_one_percent(rows: list[tuple[object, ...]], said: str) -> None:
    assert said in mapping_cost.other_weightings(case(mapping_weightings=answer(WEIGHTED, *rows)))


def test_1g_leaves_lost_are_counted_from_the_map(warehouse: Path) -> None:
    with open_warehouse(warehouse) as connection:
        rows = {row["strategy"]: row for row in ask(connection, "mapping_cost", capture="server").records()}
        pages = dict(connection.execute(
            "SELECT leaf, sum(last_pfn - first_pfn + 1) FROM direct_map WHERE run_id = 'id-of-server/pba' AND moment = 'end' "
            "GROUP BY leaf").fetchall())  # fmt: skip
    assert rows["pba"]["pmd_share_end"] == pytest.approx(pages["2M"] / sum(pages.values()))
    assert rows["pba"]["pud_share_lost"] == 0  # the synthetic splits are below 1 GiB
    assert rows["pte-mapped"]["pmd_share_end"] == 0


def costs(share: float, median: float | None) -> Case:
    scale = "arch measurements low_pct median_pct high_pct platforms"
    return case(
        mapping_cost=answer("strategy pte_share_mean mapping_cost_pct_median", ("pba", share, median)),
        mapping_basis=answer(scale, ("aarch64", 4, 2.68, 3.91, 12.77, "AmpereOne")),
        mapping_beside=answer("benchmark metric platform gain_pct note"),
    )


@pytest.mark.parametrize(
    ("share", "median", "said"),
    [
        (0.0099, None, "Below what anyone has measured (`pte_share` under 1 %): pba."),
        (0.01, 0.0268, "At the median of the published scale: pba 0.03 %."),
    ],
)
def test_below_one_percent_no_cost_is_given(share: float, median: float | None, said: str) -> None:
    assert mapping_cost.caption(costs(share, median)) == said


def test_the_scale_of_another_architecture_is_said_to_be_one() -> None:
    text = mapping_cost.basis(costs(0.5, 1.0))
    assert "2.68 % (low), 3.91 % (median) and 12.77 % (high)" in text
    assert "another architecture's" in text
    assert "nobody has published a difference in time for whole workloads on x86_64" in text


def test_what_is_larger_than_the_scale_is_named_beside_it(tmp_path: Path) -> None:
    with open_warehouse(warehouse(tmp_path / "w.duckdb", {"pba": 0})) as connection:
        answers = {name: ask(connection, name, capture="n") for name in ("mapping_basis", "mapping_beside")}
    text = mapping_cost.basis(case(**answers))
    assert "(aarch64, AmpereOne;" in text
    assert "kernbench syst-192 (system time) 12.8 %" in text and "lowest (throughput) 90 %" in text
    assert 'camera workloads (CPU power) "double digit %" more' in text


def test_shares_by_every_reading_are_drawn_next_to_the_published_figures() -> None:
    shares = pd.DataFrame([("pba", 0.002, 0.03, 0.0), ("pte-mapped", 1.0, None, 1.0)],
                          columns=["strategy", "pte_share_mean", "pte_share_kernel_end", "pte_share_activity"])  # fmt: skip
    published = pd.DataFrame([("aarch64", "time", "a", 2.7), ("aarch64", "time", "b", 4.9), ("x86_64", "time", "c", -1.0)],
                             columns=["arch", "metric", "benchmark", "gain_pct"])  # fmt: skip
    left, right = mapping_cost.draw(shares, published).axes
    marks = {
        (x, y) for line in left.lines if line.get_marker() != "None" for x, y in zip(*line.get_data(), strict=True)
    }
    assert marks == {(0.002, 0), (0.03, 0), (1e-4, 0), (1.0, 1)}  # nothing stands at the left end, not measured nowhere
    assert [text.get_text() for text in right.get_yticklabels()] == ["time\n(aarch64)", "time\n(x86_64)"]
    assert right.get_xlim()[0] == -1.0 and left.get_xlim()[0] < 1e-4
