"""Mapping cost: what it costs that the direct map is not in large pages."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.case import Case
from reports.formats import count, listed, number, percent, points
from reports.section import Drawn, Section
from reports.style import INK, QUIET, WIDTH, colour, written
from reports.tables import frame

MEASURED_FROM = 0.01
"""Smallest share of the direct map at 4K to which the published measurements are applied."""

UNMEASURED = "below what anyone has measured"

BALLPARK_PCT = 5.0

_WEIGHTINGS = {
    "pte_share_mean": ("the bytes", "mapping_cost_pct_by_bytes", "o", "of its bytes (time mean)"),
    "pte_share_kernel_end": (
        "the kernel's memory", "mapping_cost_pct_by_kernel_memory", "s", "of the kernel's memory (end)"
    ),
    "pte_share_activity": ("the allocations", "mapping_cost_pct_by_activity", "^", "of allocations"),
}  # fmt: skip
"""Three readings of "share at 4K": what it is a share of, the column of its cost, its marker, its label."""

_LEAST = 1e-4
"""Where the axis of shares begins, if no share is smaller."""


def basis(case: Case) -> str:
    """Whose figures the scale uses, and whether they are of this architecture."""
    scales = case.answers["mapping_basis"].records()
    if not scales:
        return "No difference in time was ever published for a whole workload, so no cost is given."
    (scale,) = scales
    arch, own = scale["arch"], case.capture["arch"]
    text = (
        f"The scale: compared with an all-4K map, large pages saved {count(scale['measurements'], 'workload')} "
        f"{points(scale['low_pct'])} (low), {points(scale['median_pct'])} (median) and "
        f"{points(scale['high_pct'])} (high) of their time ({arch}, {scale['platforms']}; only significant "
        "improvements were published)."
    ) + _beside(case)
    if own == arch:
        return text
    published = "nobody has published a difference in time for it."
    if own == "x86_64":
        published = (
            "nobody has published a difference in time for whole workloads on x86_64, only which page size was fastest "
            "in how many of 259 tests (1G 45 %, 2M about 30 %, 4K about 20 %)."
        )
    text += f" This recording is {own or 'of unknown architecture'}, and the scale is another architecture's: "
    return text + published


def _beside(case: Case) -> str:
    """What was published beside the time of whole workloads: larger, and no part of the scale."""
    said = []
    for row in case.answers["mapping_beside"].records():
        much = row["note"] if row["gain_pct"] is None else f"{number(row['gain_pct'])} %"
        said.append(f"{row['benchmark']} ({row['metric']}) {much}")
    return f" Published beside it, and not in the scale: {'; '.join(said)}." if said else ""


def caption(case: Case) -> str:
    """The mapping cost of all strategies, for the figure and the mail."""
    rows = [row for row in case.answers["mapping_cost"].records() if row["pte_share_mean"] is not None]
    below = [row["strategy"] for row in rows if row["pte_share_mean"] < MEASURED_FROM]
    costs = {r["strategy"]: r["mapping_cost_pct_median"] for r in rows if r["pte_share_mean"] >= MEASURED_FROM}
    text = [f"{name} {points(cost)}" for name, cost in costs.items()]
    if len(text) > 1 and not below and len(set(costs.values())) == 1:
        text = [f"{points(min(costs.values()))} for every strategy"]
    said = [f"At the median of the published scale: {listed(text)}."] if text else []
    said += [f"Below what anyone has measured (`pte_share` under 1 %): {listed(below)}."] if below else []
    return " ".join(said) or "No strategy has a `pte_share`."


def other_weightings(case: Case) -> str:
    """Whether it matters what the share at 4K is a share of: bytes, the kernel's memory, or allocations."""
    rows = case.answers["mapping_weightings"].records()
    crossing = [
        row
        for row in rows
        if (shares := [row[share] for share in _WEIGHTINGS if row[share] is not None])
        and min(shares) < MEASURED_FROM <= max(shares)
    ]
    if not crossing:
        return "By all three readings, each strategy is on the same side of 1 %: the choice decides nothing."
    said = [f"{_span([row[share] for row in crossing])} of {what}" for share, (what, *_) in _WEIGHTINGS.items()]
    most = max(row[cost] or 0 for row in crossing for _, cost, *_ in _WEIGHTINGS.values())
    return (
        f"The choice matters for {number(len(crossing))} of {count(len(rows), 'strategy', 'strategies')}, which have "
        f"{listed(said)} at 4K: below 1 % by one reading and above it by another. Depending on an untested assumption, "
        f"they cost up to {points(most)} at the median of the scale, or nothing that anyone has measured. Today's "
        "kernel already pays what `unprotected` has of it."
    )


def _span(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    if not known:
        return "an unknown share"
    low, high = percent(min(known)), percent(max(known))
    return low if low == high else f"{low} to {high}"


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
        for (*_, mark, _), value in zip(_WEIGHTINGS.values(), values, strict=True):
            if not pd.isna(value):
                axis.plot([max(float(value), least)], [y], marker=mark, color=ink, markersize=5, linestyle="none")
    for *_, mark, label in _WEIGHTINGS.values():
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
    return [Drawn(caption(case), "mapping-cost", shares, "mapping-weightings", images)]


SECTION = Section(
    "mapping_cost",
    values=lambda case: {
        "basis": basis(case),
        "unmeasured": UNMEASURED,
        "weightings": other_weightings(case),
    },
    figures=_figures,
)
