"""What a section of a capture's page is made of: a template, the values it is filled with, and figures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from reports.case import Case
from reports.questions import Answer


@dataclass(frozen=True)
class Drawn:
    """A figure, or the sentence that stands where there is nothing to draw.

    Attributes:
        caption: what it shows.
        name: stem of the files; empty when nothing was drawn.
        answer: the numbers behind it.
        data: stem of the CSV file that holds those numbers.
        images: bytes by file suffix.
        strategies: whose it is, where a figure is not of all.
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

    Its template has, beside `values`: ``capture`` (the row of ``capture.sql``), ``figures``, and of ``macros.j2``
    ``shown("QUESTION")`` (a table with its CSV and SQL) and ``picture(figure)``; ``table("QUESTION").empty`` says
    whether there is anything to show.

    Attributes:
        name: its template is ``templates/sections/NAME.md.j2``.
        values: what the template says beside tables and figures.
        figures: draws what there is to draw, in the house's style.
    """

    name: str
    values: Callable[[Case], dict[str, Any]] = lambda case: {}
    figures: Callable[[duckdb.DuckDBPyConnection, Case], list[Drawn]] = lambda connection, case: []
