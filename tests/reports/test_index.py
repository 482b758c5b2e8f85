"""The index: which machines it compares, what each cell says, and the five answers, against hand-made rows."""

import json
import shutil
from pathlib import Path

import pytest

from ptpool.warehouse import open_warehouse
from reports.answers import replies
from reports.index import index_page
from reports.questions import Answers


@pytest.fixture
def filled(warehouse: Path, tmp_path: Path):
    """The pair of captures; the strategies searched, drawn under pressure, simulated, and run on a worn machine."""
    db = tmp_path / "w.duckdb"
    shutil.copy(warehouse, db)
    with open_warehouse(db, write=True) as connection:
        for strategy, params, default, tasks, others, holds, kind, steps in (
            ("pba", "{}", True, 1, 0, True, None, None),
            ("pba", "{}", True, 2, 4, False, "split_starvation", 9),
            ("reserve-block", '{"mutex": false}', True, 1, 0, True, None, None),
            ("reserve-block", '{"mutex": false}', True, 2, 0, False, "split_starvation", 7),
            ("reserve-block", '{"mutex": true}', False, 2, 0, True, None, None),
            ("pte-mapped", "{}", True, 2, 4, True, None, None),
        ):
            connection.execute(
                "INSERT INTO strategy_check VALUES (?, ?, ?, ?, ?, 10, ?, false, ?, ?, [], 99, 'v')",
                [strategy, params, default, tasks, others, holds, kind, steps],
            )
        for strategy, headroom in (("unprotected", 1.0), ("pba", 1.5), ("reserve-block", 3.0)):
            for reclaim, times in (("none", 1.0), ("moderate", 2.0)):
                connection.execute(
                    "INSERT INTO risk_threshold SELECT 'id-of-server', strategy, params, 'recorded', 0.9, 'severe', 'unmovable', "
                    "?, 0, ?, false, 0.8, 0.9, 1, 'oom_kill', 2, 10, 5, 4, 1 FROM run WHERE run_id = ?",
                    [reclaim, headroom * (times if strategy == "pba" else 1), f"id-of-server/{strategy}"],
                )
        connection.execute(
            "INSERT INTO run SELECT * REPLACE (run_id || '/worn' AS run_id, 'worn-2g' AS machine, false AS is_default) FROM run "
            "WHERE capture_id = 'id-of-server'"
        )
        connection.execute(
            "INSERT INTO run_metric SELECT * REPLACE (run_id || '/worn' AS run_id, if(metric = 'splits_2m', value + 100, value) AS value) "
            "FROM run_metric WHERE run_id LIKE 'id-of-server/%'"
        )
        connection.execute(
            "INSERT INTO run_order SELECT * REPLACE (run_id || '/worn' AS run_id, refill_attempts AS refill_failures) FROM run_order "
            "WHERE run_id LIKE 'id-of-server/%'"
        )
        connection.execute(
            "UPDATE run_metric SET value = 3 WHERE run_id = 'id-of-server/pba/worn' AND metric = 'ptp_nulls'"
        )
        yield connection


def test_the_comfortable_and_the_worn_machine_are_found_by_their_refills(filled) -> None:
    rows = {row["strategy"]: row for row in Answers(filled)["strategies"].records()}
    assert (rows["pba"]["easy_capture"], rows["pba"]["easy_machine"]) == ("server", "recorded")
    assert (rows["pba"]["worn_capture"], rows["pba"]["worn_machine"], rows["pba"]["worn_whole_share"]) == (
        "server",
        "worn-2g",
        0,
    )
    assert rows["pba"]["worn_splits"] == rows["pba"]["easy_splits"] + 100
    assert (rows["pba"]["easy_failures"], rows["pba"]["worn_failures"]) == (0, 3)
    assert next(iter(rows)) == "unprotected" and next(reversed(rows)) == "pba", "what failed comes last"


def test_what_a_search_found_is_the_simplest_way_to_break_it(filled) -> None:
    rows = {row["strategy"]: row for row in Answers(filled)["strategies"].records()}
    assert (
        rows["pba"]["holds"],
        rows["pba"]["broken_tasks"],
        rows["pba"]["broken_with_others"],
        rows["pba"]["steps"],
    ) == (False, 2, True, 9)
    assert (rows["reserve-block"]["broken_tasks"], rows["reserve-block"]["broken_with_others"]) == (2, False)
    assert (rows["pte-mapped"]["holds"], rows["pte-mapped"]["depth"]) == (True, 10)
    assert rows["unprotected"]["holds"] is None
    named = [(row["strategy"], row["settings"], row["holds"]) for row in Answers(filled)["searched"].records()]
    assert ("reserve-block", "mutex=true", True) in named and ("reserve-block", None, False) in named


def test_memory_wanted_is_over_todays_kernel_and_spans_the_variants_of_reclaim(filled) -> None:
    rows = {row["strategy"]: row for row in Answers(filled)["strategies"].records()}
    assert [rows["pba"][name] for name in ("times", "times_low", "times_high", "draws")] == [2.25, 1.5, 3.0, 1]
    assert rows["pte-mapped"]["times"] is None


def test_five_answers_with_numbers_ranges_and_links(filled) -> None:
    out, order, cpus, keys, small = replies(Answers(filled))
    assert "no sequence of 10 steps breaks pte-mapped and reserve-block with mutex=true;" in out.answer
    assert "can run out: reserve-block (2 tasks, 7 steps) and pba (2 tasks and others, 9 steps)" in out.answer
    assert "In the replays pba failed to supply a table." in out.answer
    assert "fails at 3 times the free memory" in order.answer and order.page == "server/pressure.md"
    assert "ptpool replay contention" in cpus.answer and not cpus.page
    assert "for each page table" in keys.answer
    assert "of the kernel's map in small pages" in small.answer and small.page == "server/mapping-cost.md"


def test_the_page_says_it_all_and_links_only_to_pages_that_are_built(filled) -> None:
    files = index_page(filled, {"phone"})
    text = files["README.md"].decode()
    assert "can run out: 2 tasks and others, 9 steps" in text and "**✓ holds (10 steps)**" in text
    assert "2.2 (1.5 to 3)" in text or "2.3 (1.5 to 3)" in text
    assert "(server/" not in text and "[phone](phone/README.md)" in text
    assert "Its page is not built yet: `ptpool report build --capture server`." in text
    assert {"strategies.csv", "strategies.sql", "check.md", "real-kernel.md", "published.md", "glossary.md"} <= set(
        files
    )
    assert json.dumps(files["strategies.sql"].decode()).count("WITH") >= 1
