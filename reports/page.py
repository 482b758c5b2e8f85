"""The pages of one capture: Markdown, figures, CSV and SQL, as bytes by file name."""

import re
from collections.abc import Sequence
from typing import Any

import duckdb

from reports import ranking
from reports.case import Case, load_case
from reports.contents import CAPTURE
from reports.questions import Answer, Answers
from reports.render import file_stem, render
from reports.section import Drawn, Section
from reports.style import house_style
from reports.summary import answer, elsewhere, machine, recorded, trust
from reports.tables import Table, table

FIRST = ("where-the-choice-matters", "splits-over-time", "pool-over-time", "conversion-bands", "direct-map")
"""The figures that a capture's own page shows, if they were drawn."""


class Files(dict[str, bytes]):
    """Files by name, and what templates call to show a table or a figure; each leaves its CSV and SQL here."""

    def __init__(self, answers: Answers, *cases: Case) -> None:
        super().__init__()
        self._answers, self._cases = answers, cases

    def shown(self, question: str) -> Table:
        """The table of a question."""
        self.keep(self._answers[question])
        return table(self._answers[question], *self._cases)

    def keep(self, answer: Answer) -> None:
        """Write an answer's numbers, and the SQL that gives them again."""
        stem = file_stem(answer.name)
        self[f"{stem}.csv"], self[f"{stem}.sql"] = answer.csv().encode(), f"{answer.sql}\n".encode()

    def draw(self, figures: Sequence[Drawn]) -> None:
        """Write figures."""
        for figure in figures:
            self.update({f"{figure.name}.{suffix}": image for suffix, image in figure.images.items()})
            if figure.answer:
                self.keep(figure.answer)

    def page(self, section: Section, **values: Any) -> None:
        """Write a page below this folder's README.md."""
        body = render(f"pages/{section.name}.md.j2", table=self.shown, **values)
        self[page_name(section)] = render("page.md.j2", title=section.title, body=body).encode()

    def front(self, template: str, **values: Any) -> None:
        """Write README.md."""
        self["README.md"] = render(template, table=self.shown, **values).encode()


def page_name(section: Section) -> str:
    """File of a section's page."""
    return f"{file_stem(section.name)}.md"


def capture_page(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, bytes]:
    """Write the pages of a capture.

    Args:
        connection: an open warehouse.
        name: a capture with at least one run at default parameters.

    Returns:
        Contents by file name: ``README.md``, a page per section, the figures, and the CSV and SQL behind every table
        and figure.
    """
    case = load_case(connection, name)
    files = Files(case.answers, case)
    drawn: dict[str, tuple[Section, Drawn]] = {}
    for section in CAPTURE:
        with house_style(case.looks):
            figures = section.figures(connection, case)
        files.draw(figures)
        drawn |= {figure.name: (section, figure) for figure in figures if figure.name}
        files.page(section, capture=case.capture, figures=figures, **section.values(case))
    rows = case.answers["capture_strategies"]
    files.keep(rows)
    files.front(
        "capture.md.j2",
        capture=case.capture,
        machine=machine(case),
        recorded=recorded(case),
        answer=[*answer(case), *elsewhere(case)],
        trust=trust(case),
        strategies=ranking.markdown(rows.records(), ranking.CAPTURE),
        legend=ranking.LEGEND,
        figures=[(page_name(section), figure) for section, figure in (drawn[name] for name in FIRST if name in drawn)],
        pages=[(section.title, page_name(section)) for section in CAPTURE],
    )
    return dict(files)


def anchor(heading: str) -> str:
    """The link to a heading, as forges make it: lower case, dashes for blanks, no punctuation."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
