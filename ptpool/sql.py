"""``ptpool sql`` and ``ptpool tables``: query the warehouse."""

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, say, say_rows
from ptpool.text import markdown_table


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One or more SQL statements; - reads them from standard input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the query from a file; - is standard input.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Query the warehouse in SQL; it is opened read-only.

    Example: ptpool sql "SELECT capture, strategy, refills, splits_2m FROM strategy_summary"
    """
    from ptpool.warehouse import open_warehouse

    text = _read(query, file)
    with open_warehouse(db) as connection:
        columns, rows = _answer(connection, text)
    output = Format.json if as_json else output
    if output is Format.csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif output is Format.markdown:
        say(markdown_table(columns, [["" if cell is None else str(cell) for cell in row] for row in rows]))
    else:
        say_rows(columns, rows, as_json=output is Format.json)


def tables(
    name: Annotated[str | None, typer.Argument(help="One table, view or macro, with its columns.")] = None,
    as_json: Json = False,
) -> None:
    """List the tables, views and macros that ptpool sql can query, and what their columns mean.

    Example: ptpool tables strategy_summary
    """
    from ptpool.dictionary import dictionary, entry

    if name is None:
        say_rows(("name", "kind", "meaning"), [(e.name, e.kind, e.meaning) for e in dictionary()], as_json=as_json)
        return
    found = entry(name)
    if not as_json:
        say(f"{found.name}: {found.meaning}\n")
    if found.columns:
        say_rows(("column", "type", "meaning"), found.columns, as_json=as_json)


def _answer(connection: Any, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns (made unique) and rows of the last statement."""
    import duckdb

    try:
        relation = connection.sql(text)
        if relation is None:
            return [], []
        table = relation.to_arrow_table()
    except duckdb.Error as error:
        first, *rest = str(error).splitlines()
        hint = next((line for line in rest if line.startswith(("Did you mean", "Candidate"))), "")
        if (word := re.search(r'Referenced column "([^"]+)" not found', first)) and _is_a_value(connection, word[1]):
            hint = f"text goes in single quotes: '{word[1]}'"
        if "read-only" in first:
            hint = "ptpool sql only reads; ptpool ingest and ptpool replay write"
        hint = hint or "ptpool tables lists tables and views; ptpool tables NAME lists the columns of one"
        raise UsageError(first, hint) from error
    columns: list[str] = []
    for name in table.column_names:
        taken = sum(1 for column in columns if column == name or column.startswith(f"{name}:"))
        columns.append(f"{name}:{taken}" if taken else name)
    return columns, list(zip(*(column.to_pylist() for column in table.columns), strict=True))


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
