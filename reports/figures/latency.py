"""Allocation latency: a row of logarithmic counts per strategy, with its quantiles."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.formats import duration
from reports.style import INK, WIDTH, colour

QUANTILES = (("ptp_alloc_p50_ns", "p50"), ("ptp_alloc_p99_ns", "p99"), ("ptp_alloc_p999_ns", "p99.9"))
_WIDER = 2**0.25
"""A bucket's upper end over its lower: replay/machine/latency.py."""


def draw(counts: pd.DataFrame, quantiles: pd.DataFrame) -> Figure:
    """A row per strategy.

    Args:
        counts: strategy, bucket_ns (lower end), count.
        quantiles: strategy and the columns of QUANTILES; missing where there are too few samples.
    """
    names = list(dict.fromkeys(counts["strategy"]))
    figure = Figure(figsize=(WIDTH, 0.46 * len(names) + 0.9), layout="constrained")
    axis = figure.subplots()
    most = np.log10(float(counts["count"].max()) + 1)
    marks = quantiles.set_index("strategy")
    for y, name in enumerate(names):
        part = counts[counts["strategy"] == name]
        left = np.maximum(part["bucket_ns"].to_numpy(dtype=float), 1)
        height = 0.62 * np.log10(part["count"].to_numpy(dtype=float) + 1) / most
        axis.bar(left, -height, width=left * (_WIDER - 1), bottom=y, align="edge", color=colour(str(name)))
        axis.axhline(y, color="#d8d8d8", linewidth=0.7, zorder=0)
        at: dict[float, list[str]] = {}
        for column, quantile in QUANTILES:
            if pd.notna(marks.loc[name, column]):
                at.setdefault(float(marks.loc[name, column]), []).append(quantile)
        for ns, words in at.items():
            axis.annotate(
                ", ".join(words), (max(ns, 1), y), xytext=(0, -2), textcoords="offset points", va="top", ha="left",
                fontsize=7, color=INK,
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set(xlim=(10, float(counts["bucket_ns"].max()) * 3), ylim=(len(names) - 0.55, -0.75))
    axis.set_yticks(range(len(names)), [str(name) for name in names])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(FuncFormatter(lambda ns, _: duration(ns)))
    axis.set_xlabel("time of one page-table allocation (modelled)")
    return figure
