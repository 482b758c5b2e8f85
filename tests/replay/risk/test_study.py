"""A study of one capture."""

import pytest

from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.risk.study import run_study
from replay.start.pressed_machine import (
    AS_RECORDED,
)


def test_only_a_snapshot_from_before_tells_how_memory_lay(tmp_path):
    capture = {"capture_id": "c", "name": "mine"}
    said = "mine has no snapshot of its free memory before the recording"
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection, pytest.raises(UsageError, match=said):
        run_study(connection, capture, "recorded", ((), ()), (("none",), (AS_RECORDED,), 1), 1, lambda _: None)
