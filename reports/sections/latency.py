"""Latency: how long a page-table allocation takes and waits."""

import duckdb

from reports import latency
from reports.case import Case
from reports.figures import latency as rows
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, caption = case.answers["latency"], latency.caption(case)
    if not answer.rows:
        return [Drawn(caption)]
    images = written(rows.draw(frame(answer), frame(case.answers["latency_quantiles"])))
    return [Drawn(caption, "latency", answer, "latency", images)]


SECTION = Section(
    "latency",
    values=lambda case: {"standing": latency.standing(case), "findings": latency.findings(case)},
    figures=_figures,
)
