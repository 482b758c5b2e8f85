"""The warehouse: one DuckDB file in which the stages meet.

Schema and views are the ``.sql`` and ``.csv`` files of ``ptpool/schema``. Every write is one transaction: a capture or
a run is stored completely or not at all.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb

from ptpool.cache import cache_folder
from ptpool.errors import UsageError, named
from ptpool.files import PART
from ptpool.run_settings import COLUMNS, DEFAULTS

SCHEMA_VERSION = 9

_TICK_S = 0.05
_NEW: dict[str, str | bool | int | float | list[str]] = {
    "default_block_size": "65536"
}  # bytes, of new files: a quarter of DuckDB's own leaves less of them empty

IMPORTED_TABLES = (
    "capture",
    "page_event",
    "stack",
    "import_stat",
    "free_blocks",
    "pageblocks",
    "snapshot_value",
    "pageset",
    "page_flags",
    "free_list",
    "pageblock_type",
    "memory_range",
    "direct_map_recorded",
    "permission_change",
)
"""What an import fills: tables, and page_event, the view of tables event, task and call."""

_DAMAGE = (duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)

_DATA = {
    "metric_glossary": "metrics.csv",
    "published_source": "published_source.csv",
    "published_measurement": "published_measurement.csv",
    "measured_fragmentation": "measured_fragmentation.csv",
}
"""Tables that come with ptpool."""

_SUMMARY_COLUMNS = {
    "strategy": "Strategy, at default parameters",
    "run_id": "Run that the row was taken from",
    "block_failures": "Failed allocations of a whole block (2M with 4K pages), also those of the recorded workload",
    "huge_blocks_free_delta_vs_unprotected": "Free 2M blocks after the last event, minus those of the unprotected run",
    "mapping_cost_pct_low": "Mapping cost: pte_share_mean times the smallest published figure of mapping_cost_basis; "
    "NULL below a share of 1 %, for which nothing is published",
    "mapping_cost_pct_median": "The same with the median published figure",
    "mapping_cost_pct_high": "The same with the largest published figure",
    "mapping_cost_basis": "Architecture and metric of those figures: "
    "the capture's own architecture, if figures are published for it",
}


_WITH_SETTINGS = ("run", "provenance", "design_point", "pareto_front")
"""Tables and views that have a column for each setting of a run."""


def _sql(name: str) -> str:
    """SQL of the schema, with what follows from `RunSettings` filled in."""
    text = files("ptpool").joinpath("schema", name).read_text(encoding="utf-8")
    columns, values, words = [], [], ["machine"]
    for setting, (kind, *_) in COLUMNS.items():
        default = f"'{DEFAULTS[setting]}'::{kind}"
        columns.append(f"{setting} {kind} NOT NULL DEFAULT {default}")
        values.append(f"{{setting: '{setting}', value: {setting}::VARCHAR, default_value: {default}::VARCHAR}}")
        if setting not in ("machine", "seed"):
            words.append(f"CASE WHEN {setting} <> {default} THEN '{setting} ' || {setting} END")
    text = text.replace("/* columns of the settings */", ", ".join(columns))
    text = text.replace("/* values of the settings */", ", ".join(values))
    text = text.replace("/* settings in words */", f"concat_ws(', ', {', '.join(words)})")
    return re.sub(r"/\* (\w+\.)?settings \*/", lambda match: settings_but_seed(match[1] or ""), text)


def settings_but_seed(prefix: str = "") -> str:
    """Names of the columns that have a run's settings, without its seed, each with `prefix` before it."""
    return ", ".join(prefix + setting for setting in COLUMNS if setting != "seed")


def metrics(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Names and units of every metric, in the order of ``schema/metrics.csv``."""
    return connection.execute("SELECT metric, unit FROM metric_glossary ORDER BY rowid").fetchall()


def _known_metrics() -> set[str]:
    text = files("ptpool").joinpath("schema", "metrics.csv").read_text(encoding="utf-8")
    return {line.partition(",")[0] for line in text.splitlines()[1:]}


def _lacks(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a metric, table or view of this version is missing: it was added under the same number."""
    schema = "".join(_sql(name) for name in ("tables.sql", "views.sql", "sweeps.sql", "answers.sql"))
    known = set(re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", schema, re.MULTILINE))
    names = "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
    there = {name for (name,) in connection.execute(names).fetchall()}
    return not known <= there or not _known_metrics() <= {metric for metric, _ in metrics(connection)}


def create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create everything in a new warehouse: tables, views, macros, and the data that comes with ptpool."""
    connection.execute(_sql("tables.sql"))
    for table, source in _DATA.items():
        path = str(files("ptpool").joinpath("schema", source))
        connection.execute(
            f"INSERT INTO {table} FROM read_csv(?, header = true, nullstr = '', all_varchar = true)", [path]
        )
    connection.execute(_sql("views.sql"))
    connection.execute(_sql("sweeps.sql"))
    connection.execute(_sql("answers.sql"))
    _create_strategy_summary(connection)
    connection.execute(_sql("macros.sql"))
    _comment_the_rest(connection)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])


def _comment(connection: duckdb.DuckDBPyConnection, comments: Iterable[tuple[str, str, str]]) -> None:
    """Comment columns: table or view, column, comment."""
    for table, column, comment in comments:
        quoted = comment.replace("'", "''")
        connection.execute(f"COMMENT ON COLUMN {table}.{column} IS '{quoted}'")


def _comment_the_rest(connection: duckdb.DuckDBPyConnection) -> None:
    """Comment the settings, and give every column without a comment that of the first one of its name and type."""
    columns = connection.execute("""
        SELECT table_name, column_name, comment,
               first_value(comment IGNORE NULLS) OVER (PARTITION BY column_name, data_type ORDER BY table_oid) AS first
        FROM duckdb_columns() WHERE NOT internal ORDER BY ALL""").fetchall()
    _comment(connection, ((table, name, first) for table, name, comment, first in columns if first and not comment))
    settings = ((table, name) for table, name, *_ in columns if table in _WITH_SETTINGS and name in COLUMNS)
    _comment(connection, ((table, name, COLUMNS[name].comment) for table, name in settings))


def _create_strategy_summary(connection: duckdb.DuckDBPyConnection) -> None:
    """One row per capture and strategy at default parameters, with a column per metric and some derived ones."""
    glossary = connection.execute("SELECT metric, meaning FROM metric_glossary ORDER BY rowid").fetchall()
    pivot = ",\n".join(f"max(value) FILTER (metric = '{metric}') AS {metric}" for metric, _ in glossary)
    columns = ", ".join(metric for metric, _ in glossary)
    connection.execute(f"""
        CREATE VIEW strategy_summary AS
        WITH default_run AS (SELECT * FROM run WHERE is_default),
        pivoted AS (SELECT run_id, {pivot} FROM run_metric GROUP BY run_id),
        huge AS (SELECT run_id, sum(failures) AS block_failures
                 FROM run_order JOIN run USING (run_id) JOIN capture USING (capture_id)
                 WHERE page_order = log2(page_bytes(page_size) // 8)::INTEGER GROUP BY run_id)
        SELECT capture.capture_id, capture.name AS capture, strategy, run_id, {columns},
               coalesce(block_failures, 0) AS block_failures,
               huge_blocks_free_end - max(huge_blocks_free_end) FILTER (strategy = 'unprotected')
                   OVER (PARTITION BY capture.capture_id) AS huge_blocks_free_delta_vs_unprotected,
               CASE WHEN pte_share_mean >= 0.01 THEN pte_share_mean * low_pct END AS mapping_cost_pct_low,
               CASE WHEN pte_share_mean >= 0.01 THEN pte_share_mean * median_pct END AS mapping_cost_pct_median,
               CASE WHEN pte_share_mean >= 0.01 THEN pte_share_mean * high_pct END AS mapping_cost_pct_high,
               basis.arch || ', time' AS mapping_cost_basis
        FROM default_run JOIN capture USING (capture_id) JOIN mapping_basis basis USING (capture_id)
             JOIN pivoted USING (run_id) LEFT JOIN huge USING (run_id)
        ORDER BY capture, strategy""")
    connection.execute(
        "COMMENT ON VIEW strategy_summary IS "
        "'One row per capture and strategy at default parameters; one column per metric'"
    )
    described = {**_SUMMARY_COLUMNS, **dict(glossary)}
    _comment(connection, (("strategy_summary", column, meaning) for column, meaning in described.items()))


@contextmanager
def open_warehouse(
    path: Path, *, write: bool = False, create: bool = True, folders: Sequence[Path] = (), patience: float = 3.0
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a warehouse. Whoever made it, its views and macros read and write no other file, and load no extension.

    With `write`, a missing one is created unless `create` is False; it is removed again if nothing was committed.

    Args:
        path: the file.
        write: whether it can be changed. One process at a time has it open so, and nobody reads it meanwhile.
        create: see above.
        folders: whose files SQL may read and write, for an import or export.
        patience: seconds to wait while another process has it open.

    Raises:
        UsageError: no such file, not a DuckDB file, damaged, not a warehouse, another schema version, locked by another
            process, a view of it reads other files, or the disk is full.
    """
    for each in (path, *folders):
        _check_name(each)
    fresh = not path.exists()
    if fresh and not (write and create):
        raise UsageError(f"{path}: no such warehouse", "import a trace first: ptpool ingest trace FILE")
    if fresh and not path.absolute().parent.is_dir():
        raise UsageError(
            f"{path}: the folder for the warehouse does not exist", "create it, or name another file with --db"
        )
    finished = not fresh
    try:
        with _connect(path, write=write, patience=patience) as connection:
            if fresh:
                _create(connection)
            _close_off(connection, folders)
            if not fresh:
                _check_schema(connection, path)
            yield connection
            finished = True
    except duckdb.Error as error:
        if (explained := _explain(error, path)) is None:
            raise
        raise explained from error
    finally:
        if not finished and _is_empty(path):
            for leftover in (path, path.with_name(path.name + ".wal")):
                leftover.unlink(missing_ok=True)


def _create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the schema from an empty warehouse that is kept, which takes a tenth of the time of its statements."""
    template = Path(cache_folder("schema")) / "empty.duckdb"
    if not template.exists():
        part = template.with_name(f"{os.getpid()}{PART}")
        with duckdb.connect(str(part)) as made, transaction(made):
            create_schema(made)
        part.replace(template)
    try:
        quoted = str(template).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS \"an empty warehouse\" (READ_ONLY)")
    except duckdb.Error:  # damaged, or of a later DuckDB
        with transaction(connection):
            create_schema(connection)
        return
    ((name,),) = connection.execute("SELECT current_database()").fetchall()
    with transaction(connection):
        connection.execute('COPY FROM DATABASE "an empty warehouse" TO "{}"'.format(name.replace('"', '""')))
    connection.execute('DETACH "an empty warehouse"')


def _is_empty(path: Path) -> bool:
    """Whether a new file holds no capture, or was not created completely."""
    try:
        with _connect(path, write=False) as connection:
            _close_off(connection)
            return connection.execute("SELECT count(*) FROM capture").fetchall() == [(0,)]
    except duckdb.Error:
        return True


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path}: DuckDB reads and writes only files whose names are UTF-8", "give it another name"
        ) from error


def _connect(path: Path, *, write: bool, patience: float = 0.0) -> duckdb.DuckDBPyConnection:
    end = time.monotonic() + patience
    while True:
        try:
            connection = duckdb.connect(str(path), read_only=not write, config=_NEW)
            break
        except duckdb.IOException as error:
            if _holder(error) is None or time.monotonic() > end:
                raise
        time.sleep(_TICK_S)
    connection.execute("SET preserve_insertion_order = true; SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


def _close_off(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path] = ()) -> None:
    """Let SQL reach no file outside the warehouse and these folders, until the connection ends."""
    quoted = ", ".join("'" + str(folder.absolute()).replace("'", "''") + "'" for folder in folders)
    connection.execute(
        f"SET allowed_directories = [{quoted}]; SET autoinstall_known_extensions = false; "
        "SET autoload_known_extensions = false; SET enable_external_access = false; SET lock_configuration = true"
    )


def _check_schema(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        rows = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
    except duckdb.CatalogException:
        rows = []
    if not rows:
        raise UsageError(f"{path}: a DuckDB file, but not a ptpool warehouse", "name another file with --db")
    version = int(rows[0][0])
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path}: written by a newer ptpool (schema {version}, this one knows {SCHEMA_VERSION})",
            "upgrade ptpool, or name another file with --db",
        )
    if version < SCHEMA_VERSION or _lacks(connection):
        raise UsageError(
            f"{path}: written by an older ptpool (schema {version}, this one needs {SCHEMA_VERSION} and its tables)",
            "make it again: import its traces into a new file (ptpool ingest trace PATH --db FILE)",
        )


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what the block does, or undo all of it if it raises."""
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


class InUseError(UsageError):
    """Another process has the warehouse open."""


def _holder(error: duckdb.Error) -> str | None:
    """The process that has the file open, if that is why it cannot be opened."""
    found = re.search(r"PID (\d+)", str(error)) if "lock" in str(error) else None
    return found[1] if found else None


def is_damage(error: duckdb.Error) -> bool:
    """Whether the file is not as DuckDB wrote it."""
    return isinstance(error, _DAMAGE) or "Corrupt database" in str(error)


def _explain(error: duckdb.Error, path: Path) -> UsageError | None:
    """The error as one that a user can correct; None: it is a bug, and its traceback is shown."""
    text = str(error)
    if holder := _holder(error):
        return InUseError(
            f"{path}: in use by another process (PID {holder})",
            "wait for it to finish, or name another file with --db",
        )
    if "No space left" in text or "disk is full" in text.lower() or "Could not write" in text:
        return UsageError(
            f"{path}: the disk is full; nothing was changed",
            "free some space, or put the warehouse elsewhere with --db",
        )
    if "not a valid DuckDB database" in text:
        return UsageError(f"{path}: not a DuckDB file", "name another file with --db")
    if isinstance(error, duckdb.PermissionException) and "file system operations" in text:
        return UsageError(
            f"{path}: a view or macro of it wants to read another file: {text.splitlines()[0]}",
            "it was changed by somebody: make it again from the traces, or get it from one you trust",
        )
    if is_damage(error):
        return UsageError(
            f"{path}: damaged: {text.splitlines()[0]}",
            "copy it again, or make it again: ptpool ingest trace PATH --db FILE, then ptpool replay run",
        )
    if isinstance(error, duckdb.IOException):
        return UsageError(
            f"{path}: {text.splitlines()[0]}",
            "check the folder and its permissions, or put the warehouse elsewhere with --db",
        )
    return None


def capture_row(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """The row of ``capture`` with this name.

    Raises:
        UsageError: there is none; the message lists all names.
    """
    cursor = connection.execute("SELECT * FROM capture WHERE name = ?", [name])
    columns = [column[0] for column in cursor.description]
    row = cursor.fetchone()
    if row is None:
        raise UsageError(
            f"no capture named {name} in this warehouse",
            named(name, capture_names(connection)),
        )
    return dict(zip(columns, row, strict=True))


def capture_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all captures, sorted."""
    return [name for (name,) in connection.execute("SELECT name FROM capture ORDER BY name").fetchall()]


def delete_capture(connection: duckdb.DuckDBPyConnection, capture_id: str) -> None:
    """Remove a capture and everything that was computed from it."""
    runs = connection.execute("SELECT run_id FROM run WHERE capture_id = ?", [capture_id]).fetchall()
    run_ids = [run_id for (run_id,) in runs]
    delete_runs(connection, run_ids)
    connection.execute("DELETE FROM sweep WHERE run_id IN (SELECT unnest(?::VARCHAR[]))", [run_ids])
    connection.execute(
        "DELETE FROM event WHERE call_id IN (SELECT call_id FROM call WHERE capture_id = ?)", [capture_id]
    )
    for table in _tables_with(connection, "capture_id"):
        connection.execute(f"DELETE FROM {table} WHERE capture_id = ?", [capture_id])


def delete_runs(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> None:
    """Remove runs from every result table; a sweep keeps the names of its runs."""
    for table in set(_tables_with(connection, "run_id")) - {"sweep"} if run_ids else ():
        connection.execute(f"DELETE FROM {table} WHERE run_id IN (SELECT unnest(?::VARCHAR[]))", [run_ids])


def _tables_with(connection: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    """The warehouse's own tables that have this column."""
    found = """SELECT table_name FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (database_name, table_name)
               WHERE column_name = ? AND database_name = current_database()"""
    return [name for (name,) in connection.execute(found, [column]).fetchall()]
