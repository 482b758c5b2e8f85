"""Splits over time."""

import duckdb

from reports.case import Case
from reports.figures import splits
from reports.findings import run_time_splits, span
from reports.formats import listed, number
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, said = case.answers["splits_over_time"], caption(case)
    if not answer.rows or case.all_4k or not case.capture["seconds"]:
        return [Drawn(said)]
    images = written(splits.draw(frame(answer), case.capture["seconds"], case.time_unit))
    return [Drawn(said, "splits-over-time", answer, "splits-over-time", images)]


def caption(case: Case) -> str:
    """The finding of the splits figure."""
    if case.all_4k:
        return "The direct map is all 4K: splits are not applicable, and there is nothing to draw."
    totals = {name: run_time_splits(case, name) for name in case.metrics}
    drawn = {row["strategy"] for row in case.answers["splits_over_time"].records()}
    none = [name for name, total in totals.items() if total == 0 and name not in drawn]
    flat = [name for name, total in totals.items() if total is None and name not in drawn]
    text = (
        f"Splits at run time: {span({name: totals[name] or 0 for name in totals if name in drawn})}." if drawn else ""
    )
    text += f" No splits: {listed(none)}." if none else ""
    text += f" Not applicable: {listed(flat)}." if flat else ""
    warm = {
        name: sum(n for (_, cause), n in case.splits.get(name, {}).items() if cause == "warm_up") for name in totals
    }
    before = [f"{name} {number(n)}" for name, n in warm.items() if n]
    return text.strip() + (
        f" Before the first event, while placing the tables alive then (not in the curves): {listed(before)}."
        if before
        else ""
    )


SECTION = Section("splits", figures=_figures)
