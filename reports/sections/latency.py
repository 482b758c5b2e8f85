"""Latency: how long a page-table allocation takes and waits."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import duration, span
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, colour, duration_rows, written
from reports.tables import frame

_QUANTILES = {"ptp_alloc_p50_ns": "p50", "ptp_alloc_p99_ns": "p99", "ptp_alloc_p999_ns": "p99.9"}
"""By column: what it is called in the figure."""

_WIDER = 2**0.25
"""A bucket's upper end over its lower: replay/machine/latency.py."""


def caption(case: Case) -> str:
    """The finding of the figure."""
    rows = case.answers["latency_quantiles"].records()
    if not any(row["samples"] for row in rows):
        return "No page table was allocated: there is nothing to draw."
    slow = {row["strategy"]: row["ptp_alloc_p99_ns"] for row in rows if row["ptp_alloc_p99_ns"] is not None}
    finding = f"99 % of page tables take at most {span(slow, duration)}. " if slow else ""
    return (
        f"{finding}Modelled service and waiting, both axes logarithmic; the height of a bar is the number of allocations; below it, "
        "the median, 99th and 99.9th percentile where there are enough samples."
    )


def draw(counts: pd.DataFrame, quantiles: pd.DataFrame) -> Figure:
    """One row per strategy.

    Args:
        counts: strategy, bucket_ns (lower end), count.
        quantiles: strategy and the columns of _QUANTILES; missing where there are too few samples.
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
        for column, quantile in _QUANTILES.items():
            if pd.notna(marks.loc[name, column]):
                at.setdefault(float(marks.loc[name, column]), []).append(quantile)
        for ns, words in at.items():
            axis.annotate(
                ", ".join(words), (max(ns, 1), y), xytext=(0, -2), textcoords="offset points", va="top", ha="left",
                fontsize=7, color=INK,
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set(xlim=(10, float(counts["bucket_ns"].max()) * 3), ylim=(len(names) - 0.55, -0.75))
    duration_rows(axis, names)
    axis.set_xlabel("time of one page-table allocation (modelled)")
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["latency"]
    if not answer.rows:
        return [Drawn(caption(case))]
    images = written(draw(frame(answer), frame(case.answers["latency_quantiles"])))
    return [Drawn(caption(case), "latency", answer, images)]


SECTION = Section("latency", "How long does a page table take?", figures=_figures)
