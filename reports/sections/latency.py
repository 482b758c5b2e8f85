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

_QUANTILES = [
    ("median", "ptp_alloc_p50_ns"),
    ("99th percentile", "ptp_alloc_p99_ns"),
    ("99.9th percentile", "ptp_alloc_p999_ns"),
]


def standing(case: Case) -> str:
    """What the numbers are worth, by the clock of the recording."""
    if case.capture["timing"] == "real":
        return ""
    clock = "under emulation" if case.capture["timing"] == "emulated" else "by a clock of which nobody knows the rate"
    return (
        f"**Sensitivity, not a finding:** this was recorded {clock}, so how often requests meet, and with it every "
        "wait, is not that of a real machine. What an allocation takes without waiting does not depend on it."
    )


def findings(case: Case) -> list[str]:
    """Strategies by their quantiles, those that are equal together."""
    rows = case.answers["latency_quantiles"].records()
    said = []
    if rows and all(row[column] == row["ptp_alloc_p50_ns"] for row in rows for _, column in _QUANTILES):
        quantiles = [("median, 99th and 99.9th percentile alike", "ptp_alloc_p50_ns")]
    else:
        quantiles = _QUANTILES
    for words, column in quantiles:
        groups: dict[float, list[str]] = defaultdict(list)
        for row in rows:
            if row[column] is not None:
                groups[row[column]].append(row["strategy"])
        if groups:
            values = "; ".join(f"{duration(ns)} {listed(names)}" for ns, names in sorted(groups.items()))
            said.append(f"{words[0].upper()}{words[1:]}: {values}.")
        else:
            said.append(f"{words[0].upper()}{words[1:]}: too few samples in every run.")
    waits = {row["strategy"]: row["lock_wait_ns"] for row in rows if row["lock_wait_ns"]}
    if waits:
        said.append(f"Waited for locks in all: {listed([f'{name} {duration(ns)}' for name, ns in waits.items()])}.")
    elif rows:
        said.append(
            "No refill waited for another here. Contention for the list's own lock is not in a replay: see "
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
        "How long page-table allocations take, modelled service and waiting, logarithmic both ways: the height of a "
        "bar is how many fell into its bucket; below, the median, 99th and 99.9th percentile where there are "
        f"samples enough. Allocations of 1 µs and more: {listed(slow) if slow else 'none'}."
    )


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


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, shown = case.answers["latency"], caption(case)
    if not answer.rows:
        return [Drawn(shown)]
    images = written(draw(frame(answer), frame(case.answers["latency_quantiles"])))
    return [Drawn(shown, "latency", answer, "latency", images)]


SECTION = Section(
    "latency",
    values=lambda case: {"standing": standing(case), "findings": findings(case)},
    figures=_figures,
)
