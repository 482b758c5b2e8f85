"""A page of a report: the question that is its title, a template, the values that fill it, and figures."""

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
        answer: the numbers behind it; its name gives the stem of their CSV and SQL files.
        images: bytes by file suffix.
    """

    caption: str
    name: str = ""
    answer: Answer | None = None
    images: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One page below a capture's.

    Besides `values`, its template ``templates/pages/NAME.md.j2`` has ``capture`` (the row of ``capture.sql``) and
    ``figures``, and from ``macros.j2`` ``shown("QUESTION")`` (a table with its CSV and SQL) and ``picture(figure)``;
    ``table("QUESTION").empty`` is true if there is nothing to show.

    Attributes:
        name: of the template; with dashes, the stem of the page.
        title: the question that the page answers.
        values: what the template says apart from tables and figures.
        figures: draws the figures, in the house style.
    """

    name: str
    title: str
    values: Callable[[Case], dict[str, Any]] = lambda case: {}
    figures: Callable[[duckdb.DuckDBPyConnection, Case], list[Drawn]] = lambda connection, case: []
