"""The data dictionary: every table, view and macro of a warehouse with its columns, from the comments in the schema."""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from ptpool.errors import UsageError, named
from ptpool.text import markdown_table
from ptpool.warehouse import create_schema, open_warehouse


@dataclass(frozen=True)
class Entry:
    """A table, view or table macro.

    Attributes:
        name: its name, with the parameters of a macro.
        kind: table, view or macro.
        meaning: its comment.
        columns: name, type and comment of each; none for macros.
    """

    name: str
    kind: str
    meaning: str
    columns: tuple[tuple[str, str, str], ...] = ()


def dictionary(db: Path | None = None) -> list[Entry]:
    """Everything in a warehouse, or in a new one: first the views, which users query most, then macros, then tables."""
    with open_warehouse(db) if db else duckdb.connect() as connection:
        if db is None:
            create_schema(connection)
        columns: dict[str, list[tuple[str, str, str]]] = {}
        for table, *column in connection.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY table_name, column_index"
        ).fetchall():
            columns.setdefault(table, []).append((column[0], _kind(column[1]), column[2]))
        rows = connection.execute("""
            SELECT view_name, 'view', comment, NULL, 1 FROM duckdb_views() WHERE NOT internal
            UNION ALL SELECT table_name, 'table', comment, NULL, 3 FROM duckdb_tables() WHERE NOT internal
            UNION ALL SELECT function_name, 'macro', comment, parameters, 2 FROM duckdb_functions() WHERE NOT internal
            ORDER BY 5, 1""").fetchall()
    return [
        Entry(name if parameters is None else f"{name}({', '.join(parameters)})", kind, comment,
              tuple(columns.get(name, ())))
        for name, kind, comment, parameters, _ in rows
    ]  # fmt: skip


def _kind(data_type: str) -> str:
    """A type in one word: ENUM without its values."""
    return "ENUM" if data_type.startswith("ENUM") else data_type


def entry(name: str, db: Path | None = None) -> Entry:
    """The entry of this name.

    Raises:
        UsageError: there is none.
    """
    known = {item.name.partition("(")[0]: item for item in dictionary(db)}
    if name not in known:
        raise UsageError(f"no table, view or macro named {name}", named(name, list(known)))
    return known[name]


def markdown() -> str:
    """The whole dictionary as a page."""
    lines = [
        "# Tables, views and macros of the warehouse",
        "",
        "Generated from the comments in the schema (`make docs`). `ptpool tables NAME` prints one of them, and DuckDB "
        "knows them as well: `FROM duckdb_columns()`. Times are nanoseconds on the capture's own clock. "
        "[cookbook.md](cookbook.md) has example queries.",
        "",
    ]
    entries = dictionary()
    for kind, title, about in (
        ("view", "Views", "Query these first."),
        ("macro", "Macros", "Questions with parameters: `FROM timeline_of('server-16g', 'pba', 'ptp_live')`."),
        ("table", "Tables", "What the stages write."),
    ):
        lines += [f"## {title}", "", about, ""]
        for item in (item for item in entries if item.kind == kind):
            lines += [f"### `{item.name}`", "", f"{item.meaning}.", ""]
            if item.columns:
                rows = [
                    (f"`{name}`", data_type, comment.replace("<", "&lt;")) for name, data_type, comment in item.columns
                ]
                lines += [markdown_table(("column", "type", "meaning"), rows), ""]
    return "\n".join(lines)
