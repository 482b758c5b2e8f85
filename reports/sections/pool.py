"""Pool and reserve over time."""

import duckdb
import pandas as pd

from reports.case import Case
from reports.figures import pool, reserve
from reports.findings import span
from reports.formats import listed, number
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame

_FLOATS = dict.fromkeys(("ptp_live", "pool_held", "pool_idle", "reserve_low"), "float64")


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["pool_over_time"]
    if not answer.rows:
        return [Drawn("No strategy with a pool has a time line: there is nothing to draw.")]
    if not case.capture["seconds"]:
        return [Drawn(f"{_held(case)} All events are of one moment: there is nothing to draw over time.")]
    samples, seconds = frame(answer).astype(_FLOATS), case.capture["seconds"]
    drawn = [
        Drawn(
            _held(case),
            "pool-over-time",
            answer,
            "pool-over-time",
            written(pool.draw(samples, seconds, case.time_unit)),
        )
    ]
    if samples["reserve_low"].notna().any():
        images = written(reserve.draw(samples, seconds, case.reserve, case.time_unit))
        drawn.append(Drawn(_dips(case, samples), "reserve-over-time", answer, "pool-over-time", images))
    return drawn


def _held(case: Case) -> str:
    """The finding of the pool figure: who held most, and how much of it was page tables at the time of most demand."""
    held = {name: case.metrics[name]["pool_pages_peak"] for name in case.pools}
    held = {name: pages for name, pages in held.items() if pages is not None}
    idle = {name: case.metrics[name]["pool_idle_pages_mean"] for name in case.pools}
    idle = {name: round(pages) for name, pages in idle.items() if pages is not None}
    peak = next(iter(case.metrics.values()))["ptp_live_peak"]
    if not held or not idle:
        return "No pool was measured."
    text = f"The pools held at most {span(held)} pages" + (
        "" if peak is None else f" for {number(peak)} of page tables"
    )
    return f"{text}; what lay idle (hatched) was on average {span(idle)} pages."


def _dips(case: Case, samples: pd.DataFrame) -> str:
    """The finding of the reserve figure, from what it draws."""
    known = samples.dropna(subset=["reserve_low"])
    lowest = {str(name): float(part["reserve_low"].min()) for name, part in known.groupby("strategy", sort=False)}
    below = [
        f"{name} ({number(low)} of {number(case.reserve[name])})"
        for name, low in lowest.items()
        if low < case.reserve.get(name, 0)
    ]
    empty = [name for name, low in lowest.items() if not low]
    text = f"Below their reserve: {listed(below)}." if below else "No pool went below its reserve."
    return text + (f" Nothing left for a split at some moment: {listed(empty)}." if empty else " None was ever empty.")


SECTION = Section("pool", figures=_figures)
