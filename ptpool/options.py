"""Options that many commands share, and how a command prints a table."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ptpool.text import aligned

Db = Annotated[Path, typer.Option("--db", envvar="PTPOOL_DB", metavar="FILE", help="The warehouse, a DuckDB file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress on standard error.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]

DEFAULT_DB = Path("ptpool.duckdb")


def say(text: str) -> None:
    """Print one line of a result to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str, *, quiet: bool = False) -> None:
    """Print one line about the work to standard error."""
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
