"""``ptpool sql``: questions to the warehouse."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, say, say_rows


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def sql(
    query: Annotated[str | None, typer.Argument(help="One or more SQL statements; - reads standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the query from a file.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
    db: Db = DEFAULT_DB,
) -> None:
    """Ask the warehouse in SQL (read-only).

    Example: ptpool sql "SELECT capture, strategy, refills, splits_2m FROM strategy_summary"
    """
    import duckdb

    from ptpool.warehouse import open_warehouse

    text = _read(query, file)
    with open_warehouse(db) as connection:
        try:
            cursor = connection.execute(text)
            columns = [column[0] for column in cursor.description or []]
            rows = cursor.fetchall()
        except duckdb.Error as error:
            first, *rest = str(error).splitlines()
            hint = next(
                (line for line in rest if line.startswith(("Did you mean", "Candidate"))),
                "SHOW TABLES lists tables and views; FROM duckdb_columns() their columns",
            )
            raise UsageError(first, hint) from error
    if output is Format.csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif output is Format.markdown:
        cells = [["" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in rows]
        say("\n".join("| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *cells]))
    else:
        say_rows(columns, rows, as_json=output is Format.json)


def _read(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise UsageError(
            "ptpool sql needs a query or -f FILE, one of the two", 'example: ptpool sql "FROM strategy_summary"'
        )
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: {error}", "name a readable file with SQL in it") from error
    return sys.stdin.read() if query == "-" else str(query)
