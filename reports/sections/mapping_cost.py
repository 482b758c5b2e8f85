"""Mapping cost: what it costs that the direct map is not in large pages."""

from typing import Any

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ptpool.vocabulary import BUILT_IN
from reports.case import Case
from reports.formats import count, duration, listed, number, percent, points, size
from reports.section import Drawn, Section
from reports.style import INK, QUIET, WIDTH, colour, written
from reports.tables import frame

MEASURED_FROM = 0.01
"""Smallest share of the direct map at 4K that the published measurements are taken to say something about."""


UNMEASURED = "below what anyone has measured"


def basis(case: Case) -> str:
    """Whose figures the scale uses, and whether they are of this architecture."""
    rows = case.answers["mapping_cost"].records()
    arch = rows[0]["mapping_cost_basis"].split(",")[0] if rows else ""
    scale = next(
        (row for row in case.answers["mapping_scale"].records() if (row["arch"], row["metric"]) == (arch, "time")), None
    )
    if scale is None:
        return "No difference in time was ever published for a whole workload, so no cost is given."
    text = (
        f"The scale: against an all-4K map, large pages saved {count(scale['measurements'], 'workload')} "
        f"{points(scale['low_pct'])} (low), {points(scale['median_pct'])} (median) and "
        f"{points(scale['high_pct'])} (high) of their time ({arch}, {scale['platforms']}; only significant "
        "improvements were listed)."
    )
    own = case.capture["arch"]
    if own != arch:
        own_text = own or "of unknown architecture"
        text += f" This recording is {own_text}, and the scale is another architecture's: " + (
            "for x86_64 nobody has published a difference in time for whole workloads, only which page size was "
            "fastest in how many of 259 tests (1G 45 %, 2M about 30 %, 4K about 20 %)."
            if own == "x86_64"
            else "nobody has published a difference in time for this one."
        )
    return text


def mapping(case: Case) -> list[str]:
    """For every strategy, its share at 4K and the cost on the published scale."""
    said = []
    for row in case.answers["mapping_cost"].records():
        share = row["pte_share_mean"]
        if share is None:
            said.append(f"**{row['strategy']}**: {case.missing(row['strategy'], 'pte_share_mean')}.")
            continue
        text = f"**{row['strategy']}**: `pte_share` of {percent(share)} (time mean)"
        if share < MEASURED_FROM:
            text += f", {UNMEASURED}"
        else:
            text += (
                f", on the scale {points(row['mapping_cost_pct_low'])} / {points(row['mapping_cost_pct_median'])} / "
                f"{points(row['mapping_cost_pct_high'])} (low / median / high)"
            )
        said.append(text + ".")
    return said


def mapping_short(case: Case) -> str:
    """One sentence on the mapping cost of all strategies, for the caption of the figure."""
    rows = [row for row in case.answers["mapping_cost"].records() if row["pte_share_mean"] is not None]
    below = [row["strategy"] for row in rows if row["pte_share_mean"] < MEASURED_FROM]
    above = [row for row in rows if row["pte_share_mean"] >= MEASURED_FROM]
    text = [f"{row['strategy']} {points(row['mapping_cost_pct_median'])}" for row in above]
    parts = []
    if len(text) > 1 and not below and len({row["mapping_cost_pct_median"] for row in above}) == 1:
        text = [f"{points(above[0]['mapping_cost_pct_median'])} for every strategy"]
    if text:
        parts.append(f"At the median of the published scale: {listed(text)}")
    if below:
        parts.append(f"{UNMEASURED} (`pte_share` under 1 %): {listed(below)}")
    joined = "; ".join(parts)
    return joined[:1].upper() + joined[1:] + "." if joined else "No strategy has a `pte_share`."


def other_weightings(case: Case) -> str:
    """Whether it matters by what a share at 4K is weighted: bytes, the kernel's memory, or allocations."""
    rows = case.answers["mapping_weightings"].records()
    crossing = [
        row
        for row in rows
        if (shares := [row[share] for share in _WEIGHTINGS if row[share] is not None])
        and min(shares) < MEASURED_FROM <= max(shares)
    ]
    if not crossing:
        return "By all three, each strategy is on the same side of 1 %: the weighting does not decide anything."
    said = [f"{_span([row[share] for row in crossing])} of {what}" for share, (what, _) in _WEIGHTINGS.items()]
    most = max(row[cost] or 0 for row in crossing for _, cost in _WEIGHTINGS.values())
    return (
        f"The weighting matters for {number(len(crossing))} of {count(len(rows), 'strategy', 'strategies')}, which "
        f"have {listed(said)} at 4K: below 1 % by one and above it by another. Their cost at the median of the scale "
        f"is up to {points(most)}, or none that anyone has measured, by an assumption that nobody has tested. What "
        "`unprotected` has of it, today's kernel pays already."
    )


_WEIGHTINGS = {
    "pte_share_mean": ("the bytes", "mapping_cost_pct_by_bytes"),
    "pte_share_kernel_end": ("the kernel's memory", "mapping_cost_pct_by_kernel_memory"),
    "pte_share_activity": ("the allocations", "mapping_cost_pct_by_activity"),
}


def _span(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    if not known:
        return "an unknown share"
    low, high = percent(min(known)), percent(max(known))
    return low if low == high else f"{low} to {high}"


def lost_1g(case: Case) -> str:
    """What became of 1G leaves, which is not free either and has no figure."""
    rows = [row for row in case.answers["mapping_cost"].records() if row["pud_share_lost"]]
    leaf, smaller = case.leaf_names["1G"], case.leaf_names["2M"]
    if not rows:
        return f"No strategy split a {leaf} leaf in this recording."
    span = _span([row["pud_share_lost"] for row in rows])
    return (
        f"A split {leaf} leaf is not free either: {count(len(rows), 'strategy', 'strategies')} ended with {span} of "
        f"the map in {smaller} leaves or less that had been in {leaf} ones ({listed([r['strategy'] for r in rows])}). "
        "What that costs was never published in time: of 259 tests on x86_64 1G pages were fastest in 45 %, 2M in "
        "about 30 %, and in the mean each was best on two of four machines (Xing Zhengjun, 2021): it gets no figure."
    )


def break_even(case: Case) -> list[str]:
    """At which share at 4K the others would stop being better than pte-mapped, and how far they are from it."""
    all_rows = case.answers["break_even"].records()
    rows = [row for row in all_rows if row["costs"] == BUILT_IN]
    if not rows:
        return ["There is nothing to break even with: that takes `pte-mapped`, beside another strategy."]
    said = [
        "Above the break-even share `pte-mapped` would be better: there a strategy's mapping cost and conversions come "
        f"to what those of `pte-mapped` do, whose conversions take {percent(rows[0]['pte_mapped_conversion_share'])} "
        "of the recorded time of all CPUs. The least break-even is over the whole published scale and all prices of "
        "the cost profile, a flush at a tenth and at ten times its price among them."
    ]
    never = [row["strategy"] for row in rows if row["break_even_share_least"] >= 1]
    if never:
        said.append(
            f"Better at any share at 4K, because they convert for less than `pte-mapped`: {listed(never)}. For them "
            "the share decides how much better, not whether."
        )
    for row in rows:
        if row["strategy"] in never:
            continue
        least, share = max(row["break_even_share_least"], 0.0), row["pte_share"]
        away = f"{100 * (least - share):.3g} points below it" if share < least else "so no better, at the worst prices"
        said.append(f"{row['strategy']}: from {percent(least)} on; it is at {percent(share)}, {away}.")
    for costs in dict.fromkeys(row["costs"] for row in all_rows if row["costs"] != BUILT_IN):
        own = [row for row in all_rows if row["costs"] == costs]
        worse = [row["strategy"] for row in own if row["break_even_share_least"] < 1]
        said.append(
            f"With the prices of {costs} the conversions of `pte-mapped` take "
            f"{percent(own[0]['pte_mapped_conversion_share'])}, and "
            f"{listed(worse) if worse else 'no strategy'} can be worse than it at some share."
        )
    if case.capture["timing"] != "real":
        said.append("The recorded time is not a real machine's, so this is a sensitivity and not a finding.")
    return said


def calibrated(case: Case) -> list[str]:
    """What `ptpool replay calibrate` found on the machines that were measured, a sentence for each."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for row in case.answers["calibration"].records():
        machines.setdefault(row["machine"], []).append(row)
    said = []
    for machine, rows in machines.items():
        parts = []
        penalties = [row for row in rows if row["quantity"] == "penalty"]
        if penalties:
            row = max(penalties, key=lambda row: (row["working_set_bytes"], -row["page_bytes"]))
            parts.append(
                f"a dependent load over {size(row['working_set_bytes'])} takes {_interval(row)} % longer in small "
                f"pages than in pages of {size(row['page_bytes'])}"
            )
        changes = [row for row in rows if row["quantity"] == "permission_change"]
        if changes:
            row = max(changes, key=lambda row: row["busy_cpus"])
            busy = count(row["busy_cpus"], "other CPU")
            parts.append(f"one permission change takes {duration(row['median'])} with {busy} busy")
        parts += [
            f"{row['workload']} take {_interval(row)} % longer with the direct map all at 4K"
            for row in rows
            if row["quantity"] == "workload" and row["unit"] == "%"
        ]
        if parts:
            said.append(f"Measured on {machine}: {'; '.join(parts)}.")
    return said


def _interval(row: dict[str, Any]) -> str:
    return f"{row['median']:.3g} ({row['low']:.3g} to {row['high']:.3g})"


BALLPARK_PCT = 5.0


_MARKS = (
    ("pte_share_mean", "o", "of its bytes (time mean)"),
    ("pte_share_kernel_end", "s", "of the kernel's memory (end)"),
    ("pte_share_activity", "^", "of allocations"),
)


_LEAST = 1e-4
"""Where the axis of shares begins, if no share is smaller."""


def draw(shares: pd.DataFrame, published: pd.DataFrame, unmeasured: str) -> Figure:
    """Left a row per strategy with its share at 4K by three weightings, right what was published.

    Args:
        shares: strategy and the shares of the three weightings, of one.
        published: arch, metric, benchmark, gain_pct: what large pages gained over a map all in 4K pages.
        unmeasured: what shares below 1 % are.
    """
    rows = published.groupby(["arch", "metric"], sort=False).ngroups
    figure = Figure(figsize=(WIDTH, max(0.24 * len(shares), 0.42 * rows) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _strategies(left, shares, unmeasured)
    _published(right, published)
    return figure


def _strategies(axis: Axes, shares: pd.DataFrame, unmeasured: str) -> None:
    numbers = shares[[name for name, _, _ in _MARKS]].to_numpy(dtype="float64")
    least = min(_LEAST, 10 ** np.floor(np.log10(np.min(numbers, where=numbers > 0, initial=_LEAST))))
    axis.axvspan(least / 3, MEASURED_FROM, color="#f1f1f1", zorder=0)
    axis.text(least / 2, -0.9, unmeasured, fontsize=8, style="italic", color=INK, va="center")
    axis.axvline(1.0, color=INK, linewidth=1.0, linestyle="dashed", zorder=1)
    axis.text(0.93, -0.9, "all 4K: the scale at right", fontsize=8, color=INK, va="center", ha="right")
    for y, row in enumerate(shares.to_dict("records")):
        values = [row[name] for name, _, _ in _MARKS]
        placed = [max(float(value), least) for value in values if not pd.isna(value)]
        ink = colour(str(row["strategy"]))
        if placed:
            axis.plot([min(placed), max(placed)], [y, y], color=ink, linewidth=1.2, alpha=0.6)
        for (_, mark, _), value in zip(_MARKS, values, strict=True):
            if not pd.isna(value):
                axis.plot([max(float(value), least)], [y], marker=mark, color=ink, markersize=5, linestyle="none")
    for _, mark, label in _MARKS:
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
    axis.annotate("~5 %: a ballpark from a mail", (BALLPARK_PCT, -0.7), xytext=(4, 0), textcoords="offset points",
                  fontsize=8, color=INK, va="center")  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.set(ylim=(len(names) - 0.4, -1.1), xlabel="what large pages gained over all 4K, %")
    axis.set_xlim(left=min(0.0, float(published["gain_pct"].min())))
    axis.grid(visible=False, axis="y")


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    shares, published = case.answers["mapping_weightings"], case.answers["published_mapping"]
    caption = mapping_short(case)
    if not shares.rows:
        return [Drawn(caption)]
    images = written(draw(frame(shares), frame(published), UNMEASURED))
    return [Drawn(caption, "mapping-cost", shares, "mapping-weightings", images)]


SECTION = Section(
    "mapping_cost",
    values=lambda case: {
        "basis": basis(case),
        "unmeasured": UNMEASURED,
        "weightings": other_weightings(case),
        "lost_1g": lost_1g(case),
        "break_even": break_even(case),
        "calibrated": calibrated(case),
    },
    figures=_figures,
)
