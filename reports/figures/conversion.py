"""Conversion cost: what permission changes take by strategy, with the bands of the constants, on a logarithmic axis."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.formats import duration
from reports.style import INK, WIDTH, colour


def draw(bands: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """A row per strategy, cheapest first.

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
