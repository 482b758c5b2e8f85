"""Sweeps over this capture: what no other point beats, and which settings matter."""

from typing import Any

import duckdb
import pandas as pd

from reports.case import Case
from reports.figures import sweeps
from reports.formats import count, listed
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame

_PANELS, _ROWS = 8, 30


def _points(case: Case) -> pd.DataFrame:
    return frame(case.answers["sweep_points"])


def sentences(case: Case) -> list[str]:
    """What each sweep consisted of, how much of it protects, and where nothing does."""
    said = []
    points = _points(case)
    for sweep, mine in points.groupby("sweep", sort=False):
        places = mine.groupby("replayed_on", sort=False)["protects"]
        none = [str(place) for place, protects in places if not protects.any()]
        least, most = int(mine["runs"].min()), int(mine["runs"].max())
        seeds = f"{least} to {most} seeds" if least < most else count(most, "seed")
        said.append(
            f"`{sweep}`: {count(len(mine), 'point')} ({seeds} each), {int(mine['protects'].sum())} protect, "
            f"{int(mine['on_front'].sum())} beaten by no other."
            + (f" Nothing protects on {listed(none)}." if none else "")
        )
    return said


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    points = _points(case)
    if points.empty:
        return []
    drawn = []
    fronts = points[points.groupby(["sweep", "replayed_on"])["on_front"].transform("any")]
    most = list(fronts.groupby(["sweep", "replayed_on"], sort=False).groups)[:_PANELS]
    left_out = fronts.groupby(["sweep", "replayed_on"]).ngroups - len(most)
    fronts = fronts[[pair in most for pair in zip(fronts["sweep"], fronts["replayed_on"], strict=True)]]
    if most:
        caption = (
            "Grey: points that protect. In colour: those that no other beats in memory held, splits, stalls and "
            "conversion time together; their splits in words (a map in pages cannot be split: its tables count "
            "instead), and stalls where there are any. A cross failed to protect."
        ) + (f" {left_out} more in the data, by sweep and machine." if left_out else "")
        drawn.append(
            Drawn(
                caption,
                "sweep-fronts",
                case.answers["sweep_points"],
                "sweep-points",
                written(sweeps.draw_fronts(fronts)),
            )
        )
    answer = case.answers["sweep_sensitivity"]
    rows = frame(answer)
    shown = list(rows.groupby(["sweep", "setting"], sort=False).groups)[:_ROWS]
    rows = rows[[pair in shown for pair in zip(rows["sweep"], rows["setting"], strict=True)]]
    if not rows.empty:
        caption = (
            "How much of a metric's variance each setting explains by itself, the mean over the strategies that have "
            "it; a dot: none. What settings do only together is in no row, and the seed's share is luck."
        )
        drawn.append(
            Drawn(caption, "sweep-sensitivity", answer, "sweep-sensitivity", written(sweeps.draw_shares(rows)))
        )
    return drawn


def _values(case: Case) -> dict[str, Any]:
    return {"sentences": sentences(case)}


SECTION = Section("sweeps", values=_values, figures=_figures)
