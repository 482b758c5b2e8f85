"""Trade-offs between what the strategies cost: two costs at a time."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import listed
from reports.section import Drawn, Section
from reports.style import WIDTH, colour, labels_beside, marker, symlog, written
from reports.tables import frame

COSTS = {
    "share": ("share of the map at 4K", "direct map at 4K (time mean), %"),
    "idle": ("idle pages", "idle pages in pools (time mean)"),
    "per_table": ("time in permission changes", "permission changes: modelled ns per page table, on all CPUs"),
}
"""By column: what it is called in sentences, and at the axis."""

PAIRS = (("share", "idle"), ("per_table", "idle"))


def front(points: pd.DataFrame, x: str, y: str) -> list[str]:
    """Strategies that none beats in one of two costs without losing in the other, in the order of `x`."""
    found: list[str] = []
    least = np.inf
    for row in points.sort_values([x, y], kind="stable").to_dict("records"):
        if row[y] < least or (found and row[y] == least and _same(points, found[-1], str(row["strategy"]), x, y)):
            found.append(str(row["strategy"]))
            least = min(least, float(row[y]))
    return found


def _same(points: pd.DataFrame, one: str, other: str, x: str, y: str) -> bool:
    at = points.set_index("strategy")[[x, y]]
    return bool((at.loc[one] == at.loc[other]).all())


def draw(points: pd.DataFrame) -> Figure:
    """One panel per pair of costs; strategies that failed to supply something have a hollow marker.

    Args:
        points: strategy, share (per cent), idle (pages), per_table (ns), failures.
    """
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    for axis, (x, y) in zip(figure.subplots(1, len(PAIRS)), PAIRS, strict=True):
        known = points.dropna(subset=[x, y])
        for which, column in (("x", x), ("y", y)):
            symlog(axis, which, known[column], 1.9)
        line = known.set_index("strategy").loc[front(known[known["failures"] == 0], x, y)]
        axis.plot(line[x], line[y], drawstyle="steps-post", color="#9a9a9a", linewidth=1.0, zorder=1)
        for row in known.to_dict("records"):
            name = str(row["strategy"])
            axis.plot(
                [row[x]], [row[y]], marker(name), markersize=7.5, color=colour(name), zorder=3,
                markerfacecolor="none" if row["failures"] else colour(name), markeredgewidth=1.6,
            )  # fmt: skip
        named = [(row[x], row[y], row["strategy"], colour(row["strategy"])) for row in known.to_dict("records")]
        labels_beside(axis, named)
        axis.set_xlabel(COSTS[x][1])
        axis.set_ylabel(COSTS[y][1])
    return figure


def _points(case: Case) -> pd.DataFrame:
    rows = frame(case.answers["trade_offs"]).set_index("strategy").astype("float64").reset_index()
    points = pd.DataFrame({
        "strategy": rows["strategy"],
        "share": 100 * rows["pte_share_mean"],
        "idle": rows["pool_idle_pages_mean"].fillna(0),  # no pool: nothing lies idle
        "per_table": (rows["conversion_ns"] + rows["receiver_ns"].fillna(0)) / rows["ptp_allocs"],
        "failures": rows["failures"],
    })  # fmt: skip
    for cost in COSTS:  # three digits: smaller differences mean nothing
        points[cost] = [float(f"{value:.3g}") for value in points[cost]]
    return points


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    points = _points(case)
    points = points[points["strategy"] != "unprotected"]
    sound = points[points["failures"] == 0]
    if len(sound) < 2 or sound[["share", "per_table"]].isna().all().any():
        return [Drawn("Fewer than two strategies that supplied everything were measured: there is nothing to compare.")]
    said = []
    for x, y in PAIRS:
        best = front(sound.dropna(subset=[x, y]), x, y)
        said.append(f"Unbeaten by {COSTS[x][0]} and {COSTS[y][0]}: {listed(best)}.")
    failed = [str(name) for name in points.loc[points["failures"] > 0, "strategy"]]
    said += [f"Hollow, because of failures: {listed(failed)}."] if failed else []
    caption = " ".join(said)
    return [Drawn(caption, "trade-offs", case.answers["trade_offs"], "trade-offs", written(draw(points)))]


SECTION = Section("trade_offs", figures=_figures)
