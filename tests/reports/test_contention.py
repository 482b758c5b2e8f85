"""Contention: what is said, where the limit is crossed, and what stands where nothing was simulated."""

from pathlib import Path
from typing import Any

from ptpool.warehouse import open_warehouse
from reports.case import Case
from reports.questions import Answer, ask
from reports.sections import contention


def case(timing: str = "real", **answers: tuple[tuple[str, ...], list[tuple[Any, ...]]]) -> Case:
    asked = {name: Answer(name, "", columns, tuple(rows)) for name, (columns, rows) in answers.items()}
    return Case(capture={"timing": timing}, metrics={}, answers=asked)


def test_nothing_simulated_says_how_to() -> None:
    (said,) = contention.SECTION.figures(None, case(contention=((), [])))
    assert "ptpool replay contention" in said.caption


def test_a_limit_is_the_smallest_number_simulated_from_which_on_all_exceed(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        connection.execute(
            """INSERT INTO capture BY NAME SELECT 'id' AS capture_id, 'name' AS name, '' AS source, '' AS sha256,
               'ftrace' AS format, 4096 AS page_size, 4 AS cpus, 'real' AS timing, 0 AS first_ns, 9 AS last_ns,
               9 AS events, 0 AS lost_events, true AS has_stacks, '' AS code_version"""
        )
        for cpus, change_ns, share in (
            (2, 1000, 0.01), (4, 1000, 0.06), (8, 1000, 0.04), (16, 1000, 0.07), (32, 1000, 0.2),
            (2, 100_000, 0.06), (4, 100_000, 0.5), (2, 10_000, 0.01), (256, 10_000, 0.049),
        ):  # fmt: skip
            connection.execute(
                """INSERT INTO contention BY NAME SELECT 'id' AS capture_id, 'pba' AS strategy, '{}' AS params,
                   9 AS free_order, ? AS cpus, ? AS change_ns, 5 AS tables_per_s, '' AS basis, '' AS costs, 9 AS tables,
                   100 AS alloc_ns, 100 * ? AS lock_wait_ns, ? AS lock_wait_share, 10 * ? AS held_pages_mean,
                   0 AS held_pages_peak, 1 AS refills""",
                [cpus, change_ns, share, share, cpus],
            )
        (row,) = ask(connection, "contention_limits", capture="name").records()
    assert (row["variant"], row["refills_of"]) == ("pba", "2M blocks")
    assert row["cpus_at_1_us"] == 16, "4 CPUs exceed 5 %, but 8 do not"
    assert row["cpus_at_10_us"] is None
    assert row["cpus_at_100_us"] == 2
    assert (row["held_by_16_bytes"], row["held_by_64_bytes"]) == (160 * 4096, None)
