"""Latency: how long a page-table allocation takes and waits."""

from collections import defaultdict

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.case import Case
from reports.formats import duration, listed, number
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, colour, written
from reports.tables import frame

_QUANTILES = {
    "ptp_alloc_p50_ns": ("Median", "p50"),
    "ptp_alloc_p99_ns": ("99th percentile", "p99"),
    "ptp_alloc_p999_ns": ("99.9th percentile", "p99.9"),
}
"""By column: what it is called in sentences and in the figure."""

_WIDER = 2**0.25
"""A bucket's upper end over its lower: replay/machine/latency.py."""


def standing(case: Case) -> str:
    """What the numbers are worth, by the clock of the recording."""
    if case.capture["timing"] == "real":
        return ""
    clock = "under emulation" if case.capture["timing"] == "emulated" else "by a clock of unknown rate"
    return (
        f"**Sensitivity, not a finding:** this was recorded {clock}, so how often requests meet, and with it every "
        "wait, is not that of a real machine. What an allocation takes without waiting does not depend on it."
    )


def findings(case: Case) -> list[str]:
    """Strategies by their quantiles, equal ones together; and what they waited for."""
    rows = case.answers["latency_quantiles"].records()
    quantiles = {column: words for column, (words, _) in _QUANTILES.items()}
    if rows and all(row[column] == row["ptp_alloc_p50_ns"] for row in rows for column in quantiles):
        quantiles = {"ptp_alloc_p50_ns": "Median, 99th and 99.9th percentile are equal"}
    said = []
    for column, words in quantiles.items():
        groups: dict[float, list[str]] = defaultdict(list)
        for row in rows:
            if row[column] is not None:
                groups[row[column]].append(row["strategy"])
        values = "; ".join(f"{duration(ns)} {listed(names)}" for ns, names in sorted(groups.items()))
        said.append(f"{words}: {values or 'too few samples in every run'}.")
    waits = [f"{row['strategy']} {duration(row['lock_wait_ns'])}" for row in rows if row["lock_wait_ns"]]
    if waits:
        said.append(f"Total time waiting for locks: {listed(waits)}.")
    elif rows:
        said.append(
            "No refill waited for another here. A replay leaves out contention for the list's own lock: see "
            "[how many CPUs can share a pool](#how-many-cpus-can-share-a-pool)."
        )
    return said


def caption(case: Case) -> str:
    """What the figure shows."""
    rows = [row for row in case.answers["latency_quantiles"].records() if row["samples"]]
    if not rows:
        return "No page table was allocated: there is nothing to draw."
    slow = [f"{row['strategy']} {number(row['from_1_us'])}" for row in rows if row["from_1_us"]]
    return (
        "How long page-table allocations take: modelled service and waiting, both axes logarithmic. The height of a "
        "bar is the number of allocations in its bucket; below it, the median, 99th and 99.9th percentile where "
        f"there are enough samples. Allocations of 1 µs and more: {listed(slow) if slow else 'none'}."
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
        for column, (_, quantile) in _QUANTILES.items():
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


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["latency"]
    if not answer.rows:
        return [Drawn(caption(case))]
    images = written(draw(frame(answer), frame(case.answers["latency_quantiles"])))
    return [Drawn(caption(case), "latency", answer, "latency", images)]


SECTION = Section(
    "latency",
    values=lambda case: {"standing": standing(case), "findings": findings(case)},
    figures=_figures,
)
