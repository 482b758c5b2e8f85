"""Conversion cost: what permission changes cost, and how sure that is."""

from typing import Any

import duckdb
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ptpool.vocabulary import BUILT_IN
from reports.case import Case
from reports.formats import duration, listed, number, points
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, colour, written
from reports.tables import frame


def order(case: Case) -> list[str]:
    """What stays true when the constants are wrong."""
    rows = case.answers["conversion_order"].records()
    steps = [row for row in rows if row["next_dearer"]]
    if not steps:
        return ["Fewer than two strategies supplied everything: there is nothing to compare."]
    flush = duration(steps[0]["flush_ns"])
    ascending = " < ".join(f"{row['strategies']} ({_price(row)})" for row in rows)
    turns = [row for row in steps if not row["holds_for_flush_x10"]]
    prices = f"at the assumed {flush} a flush"
    if not turns:
        prices = f"for every price of a flush from a tenth to ten times the assumed {flush}"
    said = [f"From cheap to expensive, {prices}: {ascending}."]
    if turns:
        where = [f"a flush takes {duration(row['turns_at_flush_ns'])} ({_pair(row)})" for row in turns]
        said.append(f"This order turns where {'; where '.join(where)}.")
    loose = [_pair(row) for row in steps if not row["holds_in_all_ranges"]]
    if loose:
        said.append(f"Open while each constant may lie anywhere in its range: {'; '.join(loose)}.")
    else:
        said.append("The order is the same wherever each constant lies in its range.")
    return said + _most(case, rows[-1])


def _price(row: dict[str, Any]) -> str:
    return duration(row["conversion_ns"]) if row["conversion_ns"] else "nothing"


def _pair(row: dict[str, Any]) -> str:
    return f"{row['strategies']} before {row['next_dearer']}"


def _most(case: Case, dearest: dict[str, Any]) -> list[str]:
    """The highest conversion cost as a share of the recording's duration."""
    seconds = case.capture["seconds"]
    if not dearest["conversion_ns"] or not seconds:
        return []
    band = next(row for row in bands_of(case) if row["conversion_ns"] == dearest["conversion_ns"])
    low, share, high = (number(band[column] / seconds / 1e7) for column in ("low_ns", "conversion_ns", "high_ns"))
    clock = " emulated" if case.capture["timing"] == "emulated" else ""
    return [
        f"The most expensive ({dearest['strategies']}) takes {share} % of the recording's{clock} time on one CPU; "
        f"{low} to {high} % with every constant at its lowest or at its highest."
    ]


def bands_of(case: Case, costs: str = BUILT_IN) -> list[dict[str, Any]]:
    """The rows of `conversion_bands` of one cost profile."""
    return [row for row in case.answers["conversion_bands"].records() if row["costs"] == costs]


def posted(case: Case) -> str:
    """The constants of arm64, compared with the one posting that measured a key change per table."""
    rows = case.answers["conversion_posted"].records()
    if not rows:
        return ""
    (row,) = rows
    within = row["predicted_points_low"] <= row["posted_points"] <= row["predicted_points_high"]
    return (
        f"One posting measured this ({row['source']}): {points(row['posted_points'])} on a fork of 1 GiB, arm64, "
        f"map all 4K. **Without fitting**, the constants give {points(row['predicted_points'])} "
        f"({points(row['predicted_points_low'])} to {points(row['predicted_points_high'])} over their ranges), which "
        f"{'agrees with' if within else 'misses'} the posted figure; the posting does not say how long that fork took, "
        "so its length is a constant of the profile. **With fitting**, the posted figure asks for "
        f"{duration(row['fitted_ns'])} a table ({duration(row['fitted_low_ns'])} to {duration(row['fitted_high_ns'])}, "
        "depending on how long the fork took). Nothing in this report is fitted."
    )


def caption(case: Case) -> str:
    """What the figure of the bands shows."""
    rows = bands_of(case)
    none = [row["strategy"] for row in rows if not row["conversion_ns"]]
    if len(none) == len(rows):
        return "No strategy changes a permission: there is nothing to draw."
    return (
        "Time that permission changes take in the whole recording, on a logarithmic axis. Mark: assumed constants; "
        "thick: a flush at a tenth and at ten times its price; thin: every constant at its lowest and at its highest. "
        "Strategies share the constants, so overlapping bands do not mean that their order is open."
    ) + (f" Nothing to change: {listed(none)}." if none else "")


def per_new_mm(case: Case) -> str:
    """What stands for a fork."""
    if any(row["per_new_mm_ns"] is not None for row in bands_of(case)):
        return (
            "The trace has no event for a fork. A new mm, which both fork and exec make, stands for it: an allocation "
            "of a PGD (`mm_alloc_pgd()`)."
        )
    return "No allocation of a PGD was seen, so there is no price per fork."


def draw(bands: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One row per strategy, cheapest first.

    Args:
        bands: strategy, conversion_ns and its ends: low_ns, high_ns, flush_tenth_ns, flush_tenfold_ns; all above 0.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    figure = Figure(figsize=(WIDTH, 0.34 * len(bands) + 1.2), layout="constrained")
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
    axis.set_yticks(range(len(bands)), [str(name) for name in bands["strategy"]])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(FuncFormatter(lambda ns, _: duration(ns)))
    axis.set_xlabel("time that permission changes take, whole recording (typical at the right)")
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["conversion_bands"]
    rows = frame(answer)
    rows = rows[(rows["costs"] == BUILT_IN) & (rows["conversion_ns"] > 0)]
    if rows.empty or not case.capture["seconds"]:
        return [Drawn(caption(case))]
    images = written(draw(rows, case.capture["seconds"], case.time_unit))
    return [Drawn(caption(case), "conversion-bands", answer, "conversion-bands", images)]


SECTION = Section(
    "conversion",
    values=lambda case: {
        "order": order(case),
        "posted": posted(case),
        "per_new_mm": per_new_mm(case),
    },
    figures=_figures,
)
