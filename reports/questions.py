"""The questions of a report: each file of ``reports/queries`` is run, and printed next to what it gave."""

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import duckdb


@dataclass(frozen=True)
class Answer:
    """The rows that the warehouse gave, and the SQL that gives them again."""

    name: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def csv(self) -> str:
        """The rows as ``ptpool sql --format csv`` prints them."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return out.getvalue()


def ask(connection: duckdb.DuckDBPyConnection, name: str, **values: str | int) -> Answer:
    """Ask the question ``reports/queries/NAME.sql`` with `values` written into it as literals.

    Args:
        connection: an open warehouse.
        name: name of the question.
        values: what replaces ``$key`` in the SQL.

    Returns:
        The answer, with the SQL that gave it.
    """
    sql = _question(name).substitute({key: _literal(value) for key, value in values.items()})
    cursor = connection.execute(sql)
    columns = tuple(column[0] for column in cursor.description or [])
    return Answer(name, sql, columns, tuple(cursor.fetchall()))


class Answers(dict[str, Answer]):
    """Answers by the name of their question, which is asked when it is first looked up."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, **values: str | int) -> None:
        super().__init__()
        self._connection, self._values = connection, values

    def __missing__(self, name: str) -> Answer:
        self[name] = answer = ask(self._connection, name, **self._values)
        return answer


@cache
def _question(name: str) -> Template:
    return Template(files("reports").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8").strip())


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
