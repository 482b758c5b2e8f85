"""Conversion cost: what permission changes cost, and how sure that is."""

from typing import Any

import duckdb
import pandas as pd
from matplotlib.figure import Figure

from ptpool.vocabulary import BUILT_IN
from reports.case import Case
from reports.formats import duration, span
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, colour, duration_rows, written
from reports.tables import frame


def bands_of(case: Case, costs: str = BUILT_IN) -> list[dict[str, Any]]:
    """The rows of `conversion_bands` of one cost profile."""
    return [row for row in case.answers["conversion_bands"].records() if row["costs"] == costs]


def caption(case: Case) -> str:
    """The finding of the figure."""
    costs = {row["strategy"]: row["conversion_ns"] for row in bands_of(case) if row["conversion_ns"]}
    if not costs:
        return "No strategy changes a permission: there is nothing to draw."
    return (
        f"Key changes take {span(costs, duration)} in the whole recording, at assumed prices. Thick: flushes at a "
        "tenth and at ten times their price; thin: every price at its lowest and at its highest."
    )


def draw(bands: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One row per strategy, cheapest first.

    Args:
        bands: strategy, conversion_ns and its ends: low_ns, high_ns, flush_tenth_ns, flush_tenfold_ns; all above 0.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    figure = Figure(figsize=(WIDTH, 0.27 * len(bands) + 1.0), layout="constrained")
    axis = figure.subplots()
    for y, row in enumerate(bands.to_dict("records")):
        ink = colour(str(row["strategy"]))
        axis.plot([row["low_ns"], row["high_ns"]], [y, y], color=ink, linewidth=1.2)
        axis.plot(
            [row["flush_tenth_ns"], row["flush_tenfold_ns"]], [y, y],
            color=ink, linewidth=6, alpha=0.5, solid_capstyle="butt",
        )  # fmt: skip
        axis.plot([row["conversion_ns"]], [y], marker="|", markersize=13, markeredgewidth=2.4, color=ink)
        axis.annotate(
            duration(row["conversion_ns"]), (row["high_ns"], y), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=8.5, color=INK,
        )  # fmt: skip
    low, high = float(bands["low_ns"].min()), float(bands["high_ns"].max())
    axis.set_xscale("log")
    axis.set(xlim=(low / 1.5, high * 8), ylim=(len(bands) - 0.4, -0.6))
    if seconds * 1e7 < high * 8:  # one per cent of the recording
        axis.axvline(seconds * 1e7, color=INK, linewidth=1.0, linestyle="dashed", zorder=1)
        axis.annotate(
            f"1 % of {seconds:.3g} {unit} on one CPU", (seconds * 1e7, -0.6), xytext=(0, 2),
            textcoords="offset points", va="bottom", ha="center", fontsize=8, color=INK, annotation_clip=False,
        )  # fmt: skip
    duration_rows(axis, bands["strategy"])
    axis.set_xlabel("time that permission changes take, whole recording (typical at the right)")
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["conversion_bands"]
    rows = frame(answer)
    rows = rows[(rows["costs"] == BUILT_IN) & (rows["conversion_ns"] > 0)]
    if rows.empty or not case.capture["seconds"]:
        return [Drawn(caption(case))]
    images = written(draw(rows, case.capture["seconds"], case.time_unit))
    return [Drawn(caption(case), "conversion-bands", answer, images)]


SECTION = Section("conversion", "What do key changes cost?", figures=_figures)
