"""What `replay check` keeps, and what it does not search again."""

import pytest

from ptpool.cli import run
from ptpool.warehouse import open_warehouse

CHECK = ["replay", "check", "self-split", "full-reserve", "--cpus", "1", "--depth", "4", "--quiet"]


@pytest.fixture
def db(tmp_path):
    return tmp_path / "w.duckdb"


def kept(db, what="strategy, tasks, outside_tables, holds, kind, steps, len(way)"):
    with open_warehouse(db) as connection:
        return connection.execute(f"SELECT {what} FROM strategy_check WHERE is_default ORDER BY ALL").fetchall()


def test_verdicts_are_kept_and_printed_the_same_from_there(db, capsys, monkeypatch):
    assert run(CHECK) == 1
    fresh = capsys.readouterr().out
    assert run([*CHECK, "--db", str(db)]) == 1
    assert capsys.readouterr().out == fresh
    assert ("self-split", 1, 0, False, "unkeyed_table", 3, 4) in kept(db)
    assert ("full-reserve", 1, 4, True, None, None, 0) in kept(db)

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("replay.check.search.search", fail)
    monkeypatch.setattr("replay.check.searches.search", fail)  # what is known is not searched
    assert run([*CHECK, "--db", str(db)]) == 1
    assert capsys.readouterr().out == fresh


def test_a_deeper_search_replaces_and_other_parameters_stand_beside(db):
    assert run([*CHECK, "--db", str(db)]) == 1
    deeper = [
        "replay",
        "check",
        "full-reserve",
        "reserve-block",
        "--cpus",
        "1",
        "--depth",
        "5",
        "--quiet",
        "--db",
        str(db),
    ]
    assert run(deeper) == 0
    assert {depth for (depth,) in kept(db, "DISTINCT depth")} == {3, 5} or {5} < {
        depth for (depth,) in kept(db, "depth")
    }
    assert len(kept(db)) == 9
    assert run([*deeper, "--set", "reserve-block.mutex=false"]) == 0
    with open_warehouse(db) as connection:
        rows = connection.execute(
            "SELECT is_default, settings FROM strategy_search WHERE strategy = 'reserve-block'"
        ).fetchall()
    assert rows == [(True, None), (False, "mutex=false")]
    assert run([*deeper, "--set", "reserve-block.mutex=true"]) == 0, "which is the default"
    with open_warehouse(db) as connection:
        again = connection.execute("SELECT is_default, settings FROM strategy_search WHERE strategy = 'reserve-block'")
        assert again.fetchall() == rows


def test_without_a_warehouse_nothing_is_written(db, monkeypatch, tmp_path):
    monkeypatch.delenv("PTPOOL_DB", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(CHECK) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_an_older_version_found_is_searched_again(db, capsys):
    assert run([*CHECK, "--db", str(db)]) == 1
    with open_warehouse(db, write=True) as connection:
        connection.execute("UPDATE strategy_check SET code_version = 'old', holds = true, kind = NULL, way = []")
    assert run([*CHECK, "--db", str(db)]) == 1
    assert ("self-split", 1, 0, False, "unkeyed_table", 3, 4) in kept(db)
