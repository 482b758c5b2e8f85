"""Splits over time: how many large pages of the direct map each strategy has split so far."""

import duckdb

from reports.case import Case
from reports.formats import span
from reports.section import Drawn, Section
from reports.style import over_time, written
from reports.tables import frame


def caption(case: Case) -> str:
    """The finding of the figure."""
    if case.all_4k:
        return "The direct map is all in small pages: there is nothing to split."
    splits = {name: total for name in case.protecting if (total := case.run_time_splits(name)) is not None}
    if not any(splits.values()):
        return "No strategy that protects page tables split a large page at run time."
    return f"Large pages split since the recording began: {span(splits)}. Curves that look the same share a panel."


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, seconds = case.answers["splits_over_time"], case.capture["seconds"]
    if not answer.rows or case.all_4k or not seconds:
        return [Drawn(caption(case))]
    drawn = over_time(frame(answer), seconds, case.time_unit, "large pages split so far", from_0=True)
    return [Drawn(caption(case), "splits-over-time", answer, written(drawn))]


SECTION = Section("splits", "When is the direct map split, and by whom?", figures=_figures)
