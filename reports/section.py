"""A section of a capture's page: a template, the values that fill it, and figures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from reports.case import Case
from reports.questions import Answer


@dataclass(frozen=True)
class Drawn:
    """A figure, or the sentence that takes its place if there is nothing to draw.

    Attributes:
        caption: what it shows.
        name: stem of the files; empty when nothing was drawn.
        answer: the numbers behind it.
        data: stem of the CSV file that holds those numbers.
        images: bytes by file suffix.
        strategies: which strategies it shows, if not all.
    """

    caption: str
    name: str = ""
    answer: Answer | None = None
    data: str = ""
    images: dict[str, bytes] = field(default_factory=dict)
    strategies: str = ""


@dataclass(frozen=True)
class Section:
    """One section of a capture's page.

    Besides `values`, its template has ``capture`` (the row of ``capture.sql``) and ``figures``, and from ``macros.j2``
    ``shown("QUESTION")`` (a table with its CSV and SQL) and ``picture(figure)``; ``table("QUESTION").empty`` is true if
    there is nothing to show.

    Attributes:
        name: its template is ``templates/sections/NAME.md.j2``.
        values: what the template says apart from tables and figures.
        figures: draws the figures, in the house style.
    """

    name: str
    values: Callable[[Case], dict[str, Any]] = lambda case: {}
    figures: Callable[[duckdb.DuckDBPyConnection, Case], list[Drawn]] = lambda connection, case: []
