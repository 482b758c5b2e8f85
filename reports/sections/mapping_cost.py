"""Mapping cost: what it costs that the direct map is not in large pages."""

import duckdb

from reports import cost
from reports.case import Case
from reports.figures import mapping_cost
from reports.figures.style import written
from reports.section import Drawn, Section
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["mapping_cost"]
    basis = next((row["mapping_cost_basis"] for row in answer.records()), None)
    scale = next(
        (row for row in case.answers["mapping_scale"].records() if f"{row['arch']}, {row['metric']}" == basis), None
    )
    if scale is None:
        return [Drawn(cost.mapping_short(case))]
    limits = (scale["low_pct"], scale["median_pct"], scale["high_pct"])
    images = written(mapping_cost.draw(frame(answer), limits, scale["arch"], cost.UNMEASURED))
    return [Drawn(cost.mapping_short(case), "mapping-cost", answer, "mapping-cost", images)]


SECTION = Section(
    "mapping_cost", values=lambda case: {"basis": cost.basis(case), "unmeasured": cost.UNMEASURED}, figures=_figures
)
