"""Pool and reserve over time."""

import duckdb

from reports.case import Case
from reports.figures import pool
from reports.figures.style import written
from reports.formats import listed, number
from reports.section import Drawn, Section
from reports.tables import frame

_FLOATS = dict.fromkeys(("ptp_live", "pool_held", "pool_idle", "reserve_low"), "float64")


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["pool_over_time"]
    if not answer.rows:
        return [Drawn("No strategy with a pool has a time line: there is nothing to draw.")]
    if not case.capture["seconds"]:
        return [Drawn(f"{caption(case)} All events are of one moment: there is nothing to draw over time.")]
    samples = frame(answer).astype(_FLOATS)
    images = written(pool.draw(samples, case.capture["seconds"], case.reserve, case.time_unit))
    return [Drawn(caption(case), "pool-over-time", answer, "pool-over-time", images)]


def caption(case: Case) -> str:
    """The finding of the pool figure."""
    dips = []
    for name in case.pools:
        low, reserve = case.metrics[name]["reserve_pages_min"], case.reserve.get(name)
        if low is not None and reserve is not None:
            dips.append(f"{name} {number(low)} (reserve {number(reserve)})")
        elif low is not None:
            dips.append(f"{name} {number(low)}")
    held = [f"{name} {number(case.metrics[name]['pool_pages_peak'])}" for name in case.pools
            if case.metrics[name]["pool_pages_peak"] is not None]  # fmt: skip
    text = f"Most pages held: {listed(held)}." if held else ""
    return f"{text} Fewest pages cached at any time: {listed(dips)}." if dips else text


SECTION = Section("pool", figures=_figures)
