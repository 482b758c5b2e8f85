"""Coverage over time: the share of the direct map that is mapped at 4K."""

import duckdb

from reports.case import Case
from reports.figures import coverage
from reports.findings import span
from reports.formats import listed, percent
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame

_NEARLY_ALL = 0.99


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["coverage_over_time"]
    ends = {row["strategy"]: row["share_4k"] for row in answer.records()}
    if not ends:
        return [Drawn("The replay recorded no share of the direct map over time: there is nothing to draw.")]
    whole = [name for name, share in ends.items() if share > _NEARLY_ALL]
    left_out = f" At 4K from the start, and not drawn: {listed(whole)}." if whole else ""
    if len(whole) == len(ends) or not case.capture["seconds"]:
        return [Drawn(f"{_finding(ends)}{left_out}")]
    samples = frame(answer).astype({"share_4k": "float64"})
    samples = samples[~samples["strategy"].isin(whole)]
    images = written(coverage.draw(samples, case.capture["seconds"], case.time_unit))
    shown = {name: share for name, share in ends.items() if name not in whole}
    return [Drawn(f"{_finding(shown)}{left_out}", "coverage-over-time", answer, "coverage-over-time", images)]


def _finding(ends: dict[str, float]) -> str:
    return f"Of the direct map, {span(ends, percent)} is mapped at 4K at the end."


SECTION = Section("coverage", figures=_figures)
