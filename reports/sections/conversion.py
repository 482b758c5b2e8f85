"""Conversion cost: what permission changes cost, and how sure that is."""

import duckdb

from reports import conversion
from reports.case import Case
from reports.figures import conversion as bands
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, caption = case.answers["conversion_bands"], conversion.caption(case)
    rows = frame(answer)
    rows = rows[(rows["costs"] == conversion.BUILT_IN) & (rows["conversion_ns"] > 0)]
    if rows.empty or not case.capture["seconds"]:
        return [Drawn(caption)]
    images = written(bands.draw(rows, case.capture["seconds"], case.time_unit))
    return [Drawn(caption, "conversion-bands", answer, "conversion-bands", images)]


SECTION = Section(
    "conversion",
    values=lambda case: {
        "order": conversion.order(case),
        "posted": conversion.posted(case),
        "per_new_mm": conversion.per_new_mm(case),
    },
    figures=_figures,
)
