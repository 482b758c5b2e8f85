"""Golden tests: trace text in, CSV of a query out.

A folder under golden/ is a case: a trace (and the files next to it), and for each ``x.csv`` a query ``x.sql`` in the
folder or in golden/. A new case needs only empty CSV files; GOLDEN=write fills them, and then they have to be read.
"""

import csv
import io
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ptpool.cli import run

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*/*.csv"))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """A warehouse with a case in it, made once for all queries of the case."""

    @cache
    def do(case: Path) -> Path:
        folder = tmp_path_factory.mktemp("golden")
        shutil.copytree(case, folder / case.name)
        assert run(["ingest", "trace", str(folder / case.name), "--db", str(folder / "w.duckdb"), "--quiet"]) == 0
        return folder / "w.duckdb"

    return do


@pytest.mark.parametrize("expected", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden(expected: Path, imported: Callable[[Path], Path]) -> None:
    sql = expected.with_suffix(".sql")
    got = as_csv(imported(expected.parent), (sql if sql.exists() else GOLDEN / sql.name).read_text())
    if os.environ.get("GOLDEN") == "write":
        expected.write_text(got)
    assert got == expected.read_text()


def as_csv(db: Path, sql: str) -> str:
    import duckdb

    with duckdb.connect(str(db), read_only=True) as connection:
        cursor = connection.execute(sql)
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(column[0] for column in cursor.description)
        writer.writerows(cursor.fetchall())
    return out.getvalue()


def test_there_are_cases() -> None:
    assert len(CASES) > 20
