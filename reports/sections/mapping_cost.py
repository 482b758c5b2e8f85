"""Mapping cost: what it costs that the direct map is not in large pages."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.case import Case
from reports.formats import listed, points, span
from reports.section import Drawn, Section
from reports.style import INK, QUIET, WIDTH, colour, written
from reports.tables import frame

MEASURED_FROM = 0.01
"""Smallest share of the direct map at 4K to which the published measurements are applied."""

UNMEASURED = "below what anyone has measured"

BALLPARK_PCT = 5.0

_WEIGHTINGS = {
    "pte_share_mean": ("o", "of its bytes (time mean)"),
    "pte_share_kernel_end": ("s", "of the kernel's memory (end)"),
    "pte_share_activity": ("^", "of allocations"),
}
"""Three readings of "share at 4K": marker and label of each."""

_LEAST = 1e-4
"""Where the axis of shares begins, if no share is smaller."""


def caption(case: Case) -> str:
    """The mapping cost of all strategies at the published scale."""
    rows = [row for row in case.answers["mapping_cost"].records() if row["pte_share_mean"] is not None]
    costs = {r["strategy"]: r["mapping_cost_pct_median"] for r in rows if r["mapping_cost_pct_median"] is not None}
    below = [row["strategy"] for row in rows if row["pte_share_mean"] < MEASURED_FROM]
    said = (
        [f"At the median of the published scale, small pages cost {span(costs, points)} of run time."] if costs else []
    )
    said += [f"{UNMEASURED.capitalize()} (less than 1 % of the map at 4K): {listed(below)}."] if below else []
    return " ".join(said) or "No strategy has a share at 4K."


def crossing(case: Case) -> list[str]:
    """Strategies on both sides of 1 %, by whether the share is one of bytes, of the kernel's memory, or of allocations."""
    found = []
    for row in case.answers["mapping_weightings"].records():
        shares = [row[share] for share in _WEIGHTINGS if row[share] is not None]
        if shares and min(shares) < MEASURED_FROM <= max(shares):
            found.append(row["strategy"])
    return found


def draw(shares: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Left, one row per strategy with its share at 4K by three readings; right, what was published.

    Args:
        shares: strategy and its three shares, as fractions of one.
        published: arch, metric, benchmark, gain_pct: what large pages gained over an all-4K map.
    """
    rows = published.groupby(["arch", "metric"], sort=False).ngroups
    figure = Figure(figsize=(WIDTH, max(0.24 * len(shares), 0.42 * rows) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _strategies(left, shares)
    _published(right, published)
    return figure


def _strategies(axis: Axes, shares: pd.DataFrame) -> None:
    numbers = shares[list(_WEIGHTINGS)].to_numpy(dtype="float64")
    least = min(_LEAST, 10 ** np.floor(np.log10(np.min(numbers, where=numbers > 0, initial=_LEAST))))
    axis.axvspan(least / 3, MEASURED_FROM, color="#f1f1f1", zorder=0)
    axis.text(least / 2, -0.9, UNMEASURED, fontsize=8, style="italic", color=INK, va="center")
    axis.axvline(1.0, color=INK, linewidth=1.0, linestyle="dashed", zorder=1)
    axis.text(0.93, -0.9, "all 4K: the scale at right", fontsize=8, color=INK, va="center", ha="right")
    for y, row in enumerate(shares.to_dict("records")):
        values = [row[name] for name in _WEIGHTINGS]
        placed = [max(float(value), least) for value in values if not pd.isna(value)]
        ink = colour(str(row["strategy"]))
        if placed:
            axis.plot([min(placed), max(placed)], [y, y], color=ink, linewidth=1.2, alpha=0.6)
        for (mark, _), value in zip(_WEIGHTINGS.values(), values, strict=True):
            if not pd.isna(value):
                axis.plot([max(float(value), least)], [y], marker=mark, color=ink, markersize=5, linestyle="none")
    for mark, label in _WEIGHTINGS.values():
        axis.plot([], [], marker=mark, color="#555555", linestyle="none", markersize=5, label=label)
    axis.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.0,
                handletextpad=0.2)  # fmt: skip
    axis.set_yticks(range(len(shares)), [str(name) for name in shares["strategy"]])
    axis.set(xscale="log", xlim=(least / 3, 1.6), ylim=(len(shares) - 0.4, -1.4), xlabel="share at 4K")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value <= least else f"{100 * value:g} %"))
    axis.grid(visible=False, axis="y")
    axis.minorticks_off()


def _published(axis: Axes, published: pd.DataFrame) -> None:
    names = []
    for y, ((arch, metric), group) in enumerate(published.groupby(["arch", "metric"], sort=False)):
        gains = np.sort(group["gain_pct"].to_numpy(dtype="float64"))
        axis.plot([gains[0], gains[-1]], [y, y], color=QUIET, linewidth=4, zorder=1)
        axis.plot(gains, [y] * len(gains), marker="o", linestyle="none", color=INK, markersize=4.5)
        names.append(f"{metric}\n({arch})")
    axis.axvline(BALLPARK_PCT, color=INK, linewidth=1.0, linestyle="dashed", zorder=0)
    axis.annotate("~5 %: a ballpark, of AmpereOne", (BALLPARK_PCT, -0.7), xytext=(4, 0), textcoords="offset points",
                  fontsize=8, color=INK, va="center")  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.set(ylim=(len(names) - 0.4, -1.1), xlabel="what large pages gained over all 4K, %")
    axis.set_xlim(left=min(0.0, float(published["gain_pct"].min())))
    axis.grid(visible=False, axis="y")


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    shares, published = case.answers["mapping_weightings"], case.answers["published_mapping"]
    if not shares.rows:
        return [Drawn(caption(case))]
    images = written(draw(frame(shares), frame(published)))
    return [Drawn(caption(case), "mapping-cost", shares, images)]


SECTION = Section(
    "mapping_cost",
    "What does it cost that the map is in small pages?",
    values=lambda case: {"unmeasured": UNMEASURED, "crossing": listed(crossing(case))},
    figures=_figures,
)
