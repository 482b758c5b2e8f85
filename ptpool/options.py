"""Options that many commands share, and how a command prints a table."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Db = Annotated[Path, typer.Option("--db", envvar="PTPOOL_DB", metavar="FILE", help="The warehouse, a DuckDB file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON, for machines.")]

DEFAULT_DB = Path("ptpool.duckdb")


def say(text: str) -> None:
    """One line of result on standard output."""
    sys.stdout.write(text + "\n")


def note(text: str, *, quiet: bool = False) -> None:
    """One line about the work on standard error."""
    if not quiet:
        sys.stderr.write(text + "\n")


def say_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool = False) -> None:
    """Print rows as an aligned table, or as a JSON list of objects."""
    if as_json:
        plain = [[_jsonable(cell) for cell in row] for row in rows]
        say(json.dumps([dict(zip(columns, row, strict=True)) for row in plain], indent=2, default=str))
    else:
        say(aligned(columns, rows))


def _jsonable(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int) or (isinstance(cell, float) and abs(cell) >= 1e6):
        return f"{cell:,.0f}"
    if isinstance(cell, float):
        return f"{cell:,.6g}"
    return "" if cell is None else str(cell)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A plain table: text to the left, numbers to the right, no trailing blanks."""
    cells = [[_shown(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    right = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows) and bool(rows)
        for i in range(len(columns))
    ]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)
        ).rstrip()

    return "\n".join([line(columns), line(["-" * w for w in widths]), *map(line, cells)])
