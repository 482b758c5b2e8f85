"""Options that many commands share, and how a command prints a table."""

import inspect
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ptpool.text import aligned, printable, tell

Db = Annotated[Path, typer.Option("--db", envvar="PTPOOL_DB", metavar="FILE", help="The warehouse, a DuckDB file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress on standard error.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]

DEFAULT_DB = Path("ptpool.duckdb")


@dataclass(frozen=True)
class Common:
    """The options of commands that work on a warehouse and print a result."""

    db: Db = DEFAULT_DB
    quiet: Quiet = False
    as_json: Json = False


def grouped(**groups: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command receive options in groups: each parameter named here takes a dataclass with an option per field."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature, parameters = inspect.signature(command, eval_str=True), []
        for name, own in signature.parameters.items():
            options = {name: (own.annotation, own.default)}
            if name in groups:
                hints = get_type_hints(groups[name], include_extras=True)
                options = {field.name: (hints[field.name], field.default) for field in fields(groups[name])}
            parameters += [
                inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                for option, (annotation, default) in options.items()
            ]

        @wraps(command)
        def with_options(**values: Any) -> None:
            made = {
                name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
                for name, kind in groups.items()
            }
            command(**values, **made)

        with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_options

    return decorate


def say(text: str) -> None:
    """Print one line of a result to standard output."""
    sys.stdout.write(printable(text) + "\n")


def note(text: str, *, quiet: bool = False) -> None:
    """Print one line about the work to standard error."""
    if not quiet:
        tell(text)


def say_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool = False) -> None:
    """Print rows as an aligned table, or as a JSON list of objects."""
    if as_json:
        plain = [_jsonable(columns, row) for row in rows]
        say(json.dumps(plain, indent=2, default=str))
    else:
        say(aligned(columns, rows))


def json_of(columns: Sequence[str], row: Sequence[Any]) -> str:
    """A row as a JSON object."""
    return json.dumps(_jsonable(columns, row), indent=2, default=str)


def _jsonable(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    plain = [None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in row]
    return dict(zip(columns, plain, strict=True))
