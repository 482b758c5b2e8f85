"""``ptpool sql`` and ``ptpool tables``: query the warehouse."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, json_of, note, say, say_rows
from ptpool.text import markdown_table

_MOST_SHOWN = 1000  # rows of a table
_BLOCK = 10_000  # rows in memory at a time
_READING = ("SELECT", "MULTI", "EXPLAIN", "PRAGMA", "CREATE", "SET")
"""Statements that change nothing in a warehouse opened read-only. MULTI is PIVOT; only what is TEMP can be created."""


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    parquet = "parquet"


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One or more SQL statements; - reads them from standard input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the query from a file; - is standard input.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
    db: Db = DEFAULT_DB,
    folder: Annotated[
        list[Path] | None, typer.Option("--read", metavar="DIR", help="A folder whose files the query may read.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Query the warehouse in SQL. It is opened read-only, and the query reads and writes no other file.

    csv, json and parquet print every row; table and markdown the first thousand, and say how many there are.

    Example: ptpool sql "SELECT capture, strategy, refills, splits_2m FROM strategy_summary"

    Example: ptpool sql "FROM page_event" --format parquet > events.parquet
    """
    from ptpool.warehouse import open_warehouse

    text, output = _read(query, file), Format.json if as_json else output
    with open_warehouse(db, folders=folder or ()) as connection, _explained(connection):
        answer = _answer(connection, text)
        if output is Format.parquet:
            _print_parquet(answer)
            return
        columns = _unique(answer.schema.names)
        blocks = (zip(*(column.to_pylist() for column in block.columns), strict=True) for block in answer)
        rows = (row for block in blocks for row in block)
        if output is Format.csv:
            _print_csv(columns, rows)
        elif output is Format.json:
            _print_json(columns, rows)
        else:
            _print_first(columns, rows, output)


def _print_csv(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    first = list(islice(rows, 1))  # an error of the query comes before anything is printed
    writer.writerow(columns)
    writer.writerows(first)
    writer.writerows(rows)


def _print_json(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    between = "[\n"
    for row in rows:
        sys.stdout.write(between + indent(json_of(columns, row), "  "))
        between = ",\n"
    say("[]" if between == "[\n" else "\n]")


def _print_parquet(answer: Any) -> None:
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise UsageError(
            "--format parquet prints bytes", 'write them into a file: ptpool sql "..." --format parquet > FILE'
        )
    with pq.ParquetWriter(sys.stdout.buffer, answer.schema, compression="zstd") as writer:
        for block in answer:
            writer.write_batch(block)


def _print_first(columns: list[str], rows: Iterator[tuple[Any, ...]], output: Format) -> None:
    shown = list(islice(rows, _MOST_SHOWN))
    if output is Format.markdown:
        say(markdown_table(columns, [["" if cell is None else str(cell) for cell in row] for row in shown]))
    else:
        say_rows(columns, shown)
    if more := sum(1 for _ in rows):
        note(f"the first {_MOST_SHOWN:,} of {_MOST_SHOWN + more:,} rows; --format csv prints all of them")


def tables(
    name: Annotated[str | None, typer.Argument(help="One table, view or macro, with its columns.")] = None,
    db: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Those of this warehouse [default: of any new one].")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the tables, views and macros that ptpool sql can query, and what their columns mean.

    Example: ptpool tables strategy_summary
    """
    from ptpool.dictionary import dictionary, entry

    if name is None:
        say_rows(("name", "kind", "meaning"), [(e.name, e.kind, e.meaning) for e in dictionary(db)], as_json=as_json)
        return
    found = entry(name, db)
    if not as_json:
        say(f"{found.name}: {found.meaning}\n")
    if found.columns:
        say_rows(("column", "type", "meaning"), found.columns, as_json=as_json)


def _answer(connection: Any, text: str) -> Any:
    """The rows of the last statement, a block at a time.

    Raises:
        UsageError: a statement does more than read.
    """
    for statement in connection.extract_statements(text):
        if statement.type.name not in _READING:
            what = statement.query.strip().split(None, 1)[0].upper()
            raise UsageError(
                f"ptpool sql only reads: {what} is refused",
                "write a result with --format csv, json or parquet; ptpool ingest and ptpool replay change a warehouse",
            )
    relation = connection.sql(text)
    if relation is None:  # a statement without rows
        relation = connection.sql("SELECT NULL AS nothing LIMIT 0")
    return relation.to_arrow_reader(_BLOCK)


@contextmanager
def _explained(connection: Any) -> Iterator[None]:
    """Turn errors of a query into ones that say what to do."""
    import duckdb
    import pyarrow as pa

    from ptpool.warehouse import is_damage

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        if isinstance(error, duckdb.Error) and is_damage(error):
            raise
        first, *rest = str(error).splitlines()
        hint = next((line for line in rest if line.startswith(("Did you mean", "Candidate"))), "")
        if (word := re.search(r'Referenced column "([^"]+)" not found', first)) and _is_a_value(connection, word[1]):
            hint = f"text goes in single quotes: '{word[1]}'"
        if "read-only" in first or "configuration has been locked" in first:
            hint = "ptpool sql only reads; ptpool ingest and ptpool replay write"
        if "file system operations are disabled" in first or "external extensions" in first:
            hint = "ptpool sql reads the warehouse only; --read DIR lets it read the files of a folder"
        hint = hint or "ptpool tables lists tables and views; ptpool tables NAME lists the columns of one"
        raise UsageError(first, hint) from error


def _unique(names: list[str]) -> list[str]:
    columns: list[str] = []
    for name in names:
        taken = sum(1 for column in columns if column == name or column.startswith(f"{name}:"))
        columns.append(f"{name}:{taken}" if taken else name)
    return columns


def _is_a_value(connection: Any, word: str) -> bool:
    """Whether a word is the name of a metric, a strategy or a capture."""
    known = "SELECT metric FROM metric_glossary UNION SELECT strategy FROM run UNION SELECT name FROM capture"
    return (word,) in connection.execute(known).fetchall()


def _read(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise UsageError(
            "ptpool sql needs a query: an argument or -f FILE", 'example: ptpool sql "FROM strategy_summary"'
        )
    if query == "-" or (file is not None and str(file) == "-"):
        text = sys.stdin.read()
    elif file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: {error}", "name a readable file that contains SQL") from error
    else:
        text = str(query)
    if not text.strip():
        raise UsageError("ptpool sql: the query is empty", 'example: ptpool sql "FROM strategy_summary"')
    return text
