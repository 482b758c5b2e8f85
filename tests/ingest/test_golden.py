"""Golden tests: trace text in, CSV of a query out.

A folder under golden/ is a case: a trace (and the files next to it), and for each ``x.csv`` a query ``x.sql`` in the
folder or in golden/. A new case needs only empty CSV files; GOLDEN=write fills them, and then they have to be read.
"""

import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*/*.csv"))


@pytest.mark.parametrize("expected", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden(expected: Path, tmp_path: Path, ingest: Callable[..., int], db: Path) -> None:
    case = tmp_path / expected.parent.name
    shutil.copytree(expected.parent, case)
    assert ingest(case) == 0
    sql = expected.with_suffix(".sql")
    got = as_csv(db, (sql if sql.exists() else GOLDEN / sql.name).read_text())
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
