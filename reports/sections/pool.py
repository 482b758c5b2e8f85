"""Pools over time: how much of what each holds lies idle."""

import duckdb

from reports.case import Case
from reports.formats import size, span
from reports.section import Drawn, Section
from reports.style import over_time, written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, seconds, page = case.answers["pool_over_time"], case.capture["seconds"], case.capture["page_size"]
    idle = {name: pages * page for name, pages in case.over("pool_idle_pages_mean").items()}
    if not answer.rows or not idle:
        return [Drawn("No strategy with a pool has a time line: there is nothing to draw.")]
    if not seconds:
        return [Drawn("All events are of one moment: there is nothing to draw over time.")]
    said = f"Idle in pools, on average over time: {span(idle, size)}. Curves that look the same share a panel."
    drawn = over_time(frame(answer), seconds, case.time_unit, "idle pages in the pool")
    return [Drawn(said, "pool-over-time", answer, written(drawn))]


SECTION = Section("pool", "What do the pools hold?", figures=_figures)
