"""What a capture's page says first: the answer in three sentences, and how far to trust it."""

from pathlib import Path

from ptpool.warehouse import open_warehouse
from reports.case import load_case
from reports.summary import answer, elsewhere, trust


def test_three_sentences_with_the_numbers_of_who_is_lowest_and_highest(warehouse: Path) -> None:
    with open_warehouse(warehouse) as connection:
        split, costs, failed = answer(load_case(connection, "server"))
        assert "18,420 page tables, at most 9,876 at once (38.6 MiB)" in split
        assert "split 0 (pte-mapped) to 38 (pba) large pages" in split and split.endswith("today's kernel splits 4.")
        assert "0.586 % (reserve-block) to 100 % (pte-mapped) of that map" in costs
        assert "67.9 ns per page table" in costs
        assert failed.startswith("No strategy failed") and "ptpool replay risk" in failed
        assert "all in small pages here" in answer(load_case(connection, "phone"))[0]


def test_runs_with_other_settings_get_a_sentence_and_leave_the_table_alone(warehouse: Path, tmp_path: Path) -> None:
    db = tmp_path / "w.duckdb"
    db.write_bytes(warehouse.read_bytes())
    with open_warehouse(db, write=True) as connection:
        assert elsewhere(load_case(connection, "server")) == []
        for name, change in (
            ("worn", "'worn-2g' AS machine, 'moderate' AS reclaim"),
            ("swept", "4 AS copies"),
            ("tuned", "params.replace('2', '64') AS params"),
        ):
            connection.execute(
                f"INSERT INTO run SELECT * REPLACE (run_id || '/{name}' AS run_id, false AS is_default, {change}) FROM run "
                "WHERE capture_id = 'id-of-server' AND is_default"
            )
            connection.execute(
                f"INSERT INTO run_metric SELECT * REPLACE (run_id || '/{name}' AS run_id, if(metric = 'splits_2m', value + 100, value) "
                "AS value) FROM run_metric WHERE run_id LIKE 'id-of-server/%' AND run_id NOT LIKE '%/%/%'"
            )
        connection.execute("INSERT INTO sweep SELECT 's', run_id FROM run WHERE copies = 4")
        connection.execute(
            "UPDATE run_metric SET value = 3 WHERE run_id = 'id-of-server/pba/worn' AND metric = 'oom_kills'"
        )
        case = load_case(connection, "server")
        assert {row["settings"] for row in case.answers["elsewhere"].records()} == {"machine worn-2g, reclaim moderate"}
        (said,) = elsewhere(case)
        assert said.startswith(
            "With `machine worn-2g, reclaim moderate`, they split 100 (pte-mapped) to 114 (reserve-block)"
        )
        assert said.endswith("; pba failed.")


def test_a_strategy_that_failed_is_named_and_not_among_the_lowest(warehouse: Path, tmp_path: Path) -> None:
    db = tmp_path / "w.duckdb"
    db.write_bytes(warehouse.read_bytes())
    with open_warehouse(db, write=True) as connection:
        connection.execute(
            "UPDATE run_metric SET value = 2 WHERE run_id = 'id-of-server/pte-mapped' AND metric = 'ptp_nulls'"
        )
        split, _, failed = answer(load_case(connection, "server"))
        assert "split 34 (reserve-block)" in split or "(pte-mapped)" not in split
        assert failed.startswith("Only pte-mapped (2 page tables not supplied) failed")


def test_losses_and_the_clock_come_first(warehouse: Path) -> None:
    with open_warehouse(warehouse) as connection:
        first, second = trust(load_case(connection, "server"))
        assert first == (
            "Recorded under emulation: the order of events is real, their rates and all waiting are not. "
            "12 of 123,468 events were lost (overrun 12)."
        )
        assert "ptpool replay validate" in second
