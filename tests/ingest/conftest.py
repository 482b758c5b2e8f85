from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_machine import FakeMachine

from ingest.recorder.tracefs import Tracefs
from ptpool.cli import run


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "test.duckdb"


@pytest.fixture
def ingest(db: Path) -> Callable[..., int]:
    """Import paths into a fresh warehouse, quietly; the exit status."""

    def do(*arguments: str | Path) -> int:
        return run(["ingest", "trace", *map(str, arguments), "--db", str(db), "--quiet"])

    return do


@pytest.fixture
def query(db: Path) -> Callable[[str], Sequence[tuple[Any, ...]]]:
    """Rows of a query on the warehouse."""
    import duckdb

    def do(sql: str) -> Sequence[tuple[Any, ...]]:
        with duckdb.connect(str(db), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    return do


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    (tmp_path / "root").mkdir()
    made = FakeMachine(tmp_path / "root")
    monkeypatch.setattr(Tracefs, "create", made.create)
    monkeypatch.setattr(Tracefs, "remove", made.remove)
    return made
