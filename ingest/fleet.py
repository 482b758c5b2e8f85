"""Captures of many machines as hive-partitioned Parquet: out of a warehouse, and into one.

A capture is a folder ``[KEY=VALUE/...]capture=NAME`` with one file for each table that an import fills. The keys are
the user's choice (``host=web1/date=2026-11-22``); an import puts their values in front of the name.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import duckdb

from ingest.bundle import is_name
from ingest.importer import Imported
from ptpool.errors import UsageError
from ptpool.files import PART
from ptpool.page_events import insert_page_events
from ptpool.warehouse import IMPORTED_TABLES, capture_row, delete_capture, transaction

Result = TypeVar("Result")

_IMPOSSIBLE = "pfn < 0 OR page_order NOT BETWEEN 0 AND 31 OR cpu < 0"
_ROWS = "FROM read_parquet(?, hive_partitioning = false)"
_AGAIN = "export it again: ptpool ingest export"


def export_captures(
    connection: duckdb.DuckDBPyConnection, names: Iterable[str], folder: Path, *, replace: bool = False
) -> list[Path]:
    """Write captures into folders ``capture=NAME``, each of them whole or not at all.

    Args:
        connection: a warehouse.
        names: of the captures.
        folder: where the folders go; made where it does not exist.
        replace: overwrite folders that exist.

    Raises:
        UsageError: there is no such capture, a folder exists already, or it cannot be written.
    """
    ids = {folder / f"capture={name}": capture_row(connection, name)["capture_id"] for name in names}
    for target, capture_id in ids.items():
        if target.exists() and not replace:
            raise UsageError(f"{target}: it exists already", "overwrite it with --replace, or name another folder")
        part = target.with_name(f".{target.name}{PART}")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for table in IMPORTED_TABLES:
                path = str(part / f"{table}.parquet").replace("'", "''")
                rows = f"FROM {table} WHERE capture_id = '{capture_id}'"
                connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
        except (OSError, duckdb.IOException) as error:
            shutil.rmtree(part, ignore_errors=True)
            reason = str(error).splitlines()[0]
            raise UsageError(f"{target}: cannot be written ({reason})", "make room, or name another folder") from error
    return list(ids)


class ExportedCapture(NamedTuple):
    """A capture in a folder that `export_captures` wrote."""

    folder: Path
    name: str
    capture_id: str
    events: int


def find_captures(connection: duckdb.DuckDBPyConnection, root: Path) -> list[ExportedCapture]:
    """The captures below a folder, by path.

    Raises:
        UsageError: there are none, a Parquet file is damaged, or folders and files contradict each other.
    """
    found: list[ExportedCapture] = []
    for path in sorted(root.rglob("capture=*/capture.parquet")) or sorted(root.glob("capture.parquet")):
        name = _name_of(path.parent, root)
        _check_columns(connection, path, "capture")
        rows = _read(connection, path, "SELECT capture_id, name, events").fetchall()
        if len(rows) != 1:
            raise UsageError(f"{path}: {len(rows)} captures instead of one", _AGAIN)
        capture_id, own, events = rows[0]
        if f"capture={own}" != path.parent.name:
            raise UsageError(f"{path}: it holds the capture {own}, but its folder is {path.parent.name}", _AGAIN)
        for other in found:
            if capture_id == other.capture_id:
                raise UsageError(f"{path.parent}: the same capture as {other.folder}", "remove one of the two")
            if name == other.name:
                raise UsageError(
                    f"{path.parent}: its name is {name}, like that of {other.folder}", "add a key such as host=NAME"
                )
        found.append(ExportedCapture(path.parent, name, capture_id, events))
    if not found:
        raise UsageError(
            f"{root}: it holds no captures", "write them with ptpool ingest export: folders [KEY=VALUE/...]capture=NAME"
        )
    return found


def import_fleet(
    connection: duckdb.DuckDBPyConnection,
    fleet: Iterable[ExportedCapture],
    *,
    replace: bool = False,
    on_done: Callable[[int], None] = lambda _: None,
) -> list[Imported]:
    """Read captures into an open warehouse, each in a transaction of its own; captures that are in it stay as they are.

    Args:
        connection: a warehouse open for writing.
        fleet: from `find_captures`.
        replace: drop another capture of the same name, with everything computed from it.
        on_done: called after each capture with the number of those done.

    Raises:
        UsageError: a file is missing, damaged, or of another ptpool, or another capture has the name.
    """
    done: list[Imported] = []
    for capture in fleet:
        rows = connection.execute(
            "SELECT capture_id, name FROM capture WHERE capture_id = ? OR name = ?", [capture.capture_id, capture.name]
        ).fetchall()
        known = dict(rows)
        if capture.capture_id in known:
            done.append(Imported(capture.capture_id, known[capture.capture_id], unchanged=True))
        else:
            if known and not replace:
                raise UsageError(
                    f"{capture.folder}: another capture has the name {capture.name}",
                    "replace it and its replays with --replace, or remove it: ptpool ingest remove",
                )
            with transaction(connection):
                for other in known:
                    delete_capture(connection, other)
                for table in IMPORTED_TABLES:
                    _insert(connection, capture, table)
            done.append(Imported(capture.capture_id, capture.name, unchanged=False))
        on_done(len(done))
    return done


def _name_of(folder: Path, root: Path) -> str:
    """The name of a capture: the values of all keys of its path."""
    parts = folder.relative_to(root).parts or (folder.name,)
    keys: dict[str, str] = {}
    for key, value in (match.groups() for part in parts if (match := re.fullmatch(r"(\w+)=(.+)", part))):
        if keys.setdefault(key, value) != value:
            raise UsageError(f"{folder}: {key} is both {keys[key]} and {value}", "use each key once in a path")
    name = "-".join(keys.values())
    if not is_name(name):
        raise UsageError(
            f"{folder}: {name!r} cannot be the name of a capture",
            "use letters, digits and . _ + - in the values of keys",
        )
    return name


def _insert(connection: duckdb.DuckDBPyConnection, capture: ExportedCapture, table: str) -> None:
    path = capture.folder / f"{table}.parquet"
    _check_columns(connection, path, table)
    connection.execute("SET VARIABLE called = ?", [capture.name])
    columns = "* REPLACE (getvariable('called') AS name)" if table == "capture" else "*"
    others = _read(connection, path, "SELECT count(*) FILTER (capture_id <> ?)", capture.capture_id).fetchall()
    if others != [(0,)]:
        raise UsageError(f"{path}: {others[0][0]:,} of its rows belong to another capture", _AGAIN)
    if table == "page_event":
        events, impossible = _read(connection, path, f"SELECT count(*), count(*) FILTER ({_IMPOSSIBLE})").fetchall()[0]
        if events != capture.events:
            raise UsageError(f"{path}: {events:,} events, but capture.parquet says {capture.events:,}", _AGAIN)
        if impossible:
            raise UsageError(f"{path}: {impossible:,} events have impossible pages, orders or CPUs", _AGAIN)
        _reading(path, lambda: insert_page_events(connection, f"SELECT * {_ROWS}", [str(path)]))
    else:
        _read(connection, path, f"INSERT INTO {table} BY NAME SELECT {columns}")


def _check_columns(connection: duckdb.DuckDBPyConnection, path: Path, table: str) -> None:
    """Refuse a file whose columns are not exactly those of the table; an ENUM is a text in Parquet."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file", _AGAIN)
    wanted = {name: "VARCHAR" if of.startswith("ENUM") else of for name, of, *_ in _described(connection, table)}
    there = {name: of for name, of, *_ in _read(connection, path, "DESCRIBE SELECT *").fetchall()}
    for name in [*wanted, *there]:
        if wanted.get(name) != there.get(name):
            what = "missing" if name not in there else f"{there[name]}, not {wanted.get(name, 'a column of it')}"
            raise UsageError(
                f"{path}: column {name} is {what}", f"the columns are those of table {table} (docs/tables.md); {_AGAIN}"
            )


def _described(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, ...]]:
    return connection.execute(f"DESCRIBE {table}").fetchall()


def _read(connection: duckdb.DuckDBPyConnection, path: Path, what: str, *values: object) -> duckdb.DuckDBPyConnection:
    """A statement on the rows of a file."""
    return _reading(path, lambda: connection.execute(f"{what} {_ROWS}", [*values, str(path)]))


def _reading(path: Path, work: Callable[[], Result]) -> Result:
    """What reads a file, which may be damaged."""
    try:
        return work()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        if "No space left" in reason:
            raise
        raise UsageError(f"{path}: cannot be read: {reason}", _AGAIN) from error
