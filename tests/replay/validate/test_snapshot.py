"""Replays compared with the snapshots that the machine made after its recording."""

import json

import numpy as np
import pytest

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.warehouse import capture_row, open_warehouse
from replay.validate.placement import Placement
from replay.validate.snapshot import Comparison, comparable, compare, keep

FRAG, BOOT = "sharedmem-frag-1g", "boot-512m"


def test_a_prediction_holds_within_a_quarter_of_the_change_or_32(tmp_path):
    def of(predicted, before=0.0, after=400.0, quantity="free_blocks"):
        return Comparison(quantity, "Normal", 0, before, after, predicted, predicted, predicted)

    for item, holds, better in (
        (of(300.0), True, True),
        (of(500.0), True, True),
        (of(299.0), False, True),
        (of(-1.0), False, False),
        (of(32.0, after=0.0), True, None),
        (of(33.0, after=0.0), False, None),
        (of(0.0, after=0.0), None, None),  # nothing changed, and nothing was predicted to
        (of(0.0, quantity="pcp_pages"), None, None),  # no target
    ):
        with open_warehouse(tmp_path / "w.duckdb", write=True) as fresh:
            keep(fresh, "c", [item], Placement(np.zeros(1, np.uint8), [], 0))
            found = fresh.execute("SELECT holds, better FROM validation_verdict WHERE capture = 'c'").fetchall()
        assert found == [(holds, better)], item
    assert (of(300.0).null_error, of(300.0).model_error, of(300.0).allowed_error) == (400, 100, 100)


def test_every_prediction_is_compared_with_what_was_recorded(recordings, capsys):
    arguments = ["replay", "validate", "--capture", FRAG, "--seeds", "2", "--quiet", "--json", "--db", str(recordings)]
    statuses = [run(arguments), run(arguments)]
    shown = json.loads(capsys.readouterr().out.split("]\n[")[0].rstrip("]\n") + "]")
    assert statuses == [0 if all(row["holds"] is not False for row in shown) else 1] * 2
    with open_warehouse(recordings) as connection:
        rows = connection.execute(
            """SELECT quantity, zone, page_order, recorded_after - recorded_before,
                      predicted BETWEEN predicted_low AND predicted_high,
                      null_error = abs(recorded_after - recorded_before) AND model_error = abs(recorded_after - predicted)
               FROM validation"""
        ).fetchall()
        recorded = connection.execute(
            "SELECT count(*) FROM free_blocks JOIN capture USING (capture_id) WHERE name = ? AND migratetype IS NULL",
            [FRAG],
        ).fetchone()
    assert len({row[:3] for row in rows}) == len(rows) == len(shown)  # the second call replaced the first one's
    assert all(between and right for *_, between, right in rows)
    assert sum(quantity == "free_blocks" for quantity, *_ in rows) == recorded[0] / 2
    change = {(quantity, zone): change for quantity, zone, order, change, *_ in rows if order is None}
    assert change["free_pages", "DMA32"] == 702
    assert change["splits_2m", None] == 0


def test_without_a_snapshot_from_after_there_is_nothing_to_compare_with(connection):
    assert comparable(connection) == [BOOT, FRAG]
    connection.execute("DELETE FROM free_blocks WHERE moment = 'after'")
    assert comparable(connection) == []
    with pytest.raises(UsageError, match="nothing to compare with"):
        compare(connection, capture_row(connection, FRAG), 1)


def test_a_part_of_a_recording_is_refused(recordings, capsys):
    with open_warehouse(recordings, write=True) as connection:
        connection.execute("UPDATE capture SET window_to_ns = last_ns WHERE name = ?", [FRAG])
    try:
        assert run(["replay", "validate", "--capture", FRAG, "--db", str(recordings)]) == 2
        assert "imported in part" in capsys.readouterr().err
    finally:
        with open_warehouse(recordings, write=True) as connection:
            connection.execute("UPDATE capture SET window_to_ns = NULL WHERE name = ?", [FRAG])
