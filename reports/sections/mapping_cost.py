"""Mapping cost: what it costs that the direct map is not in large pages."""

import duckdb

from reports import cost
from reports.case import Case
from reports.figures import mapping_cost
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    shares, published = case.answers["mapping_weightings"], case.answers["published_mapping"]
    caption = cost.mapping_short(case)
    if not shares.rows:
        return [Drawn(caption)]
    images = written(mapping_cost.draw(frame(shares), frame(published), cost.UNMEASURED))
    return [Drawn(caption, "mapping-cost", shares, "mapping-weightings", images)]


SECTION = Section(
    "mapping_cost",
    values=lambda case: {
        "basis": cost.basis(case),
        "unmeasured": cost.UNMEASURED,
        "weightings": cost.other_weightings(case),
        "lost_1g": cost.lost_1g(case),
        "break_even": cost.break_even(case),
        "calibrated": cost.calibrated(case),
    },
    figures=_figures,
)
