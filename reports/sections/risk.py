"""OOM risk under pressure: at which headroom strategies begin to fail."""

import re
from typing import Any

import duckdb
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from reports.case import Case
from reports.formats import count, listed
from reports.section import Drawn, Section
from reports.style import INK, QUIET, WIDTH, colour, dark, panels, written
from reports.tables import frame

Rows = list[dict[str, Any]]


def _panels(case: Case) -> dict[tuple[str, str], Rows]:
    shown: dict[tuple[str, str], Rows] = {}
    for row in case.answers["risk"].records():
        shown.setdefault((row["fragmentation"], row["reclaim"]), []).append(row)
    return shown


def sentences(case: Case) -> list[str]:
    """What larger refills cost, which strategies fail sooner in every variant, and how reliable the search is."""
    rows = case.answers["risk"].records()
    if not rows:
        return []
    said = orders(case)
    for fragmentation in dict.fromkeys(row["fragmentation"] for row in rows):
        said.append(
            f"Memory {fragmentation}: {_sooner([row for row in rows if row['fragmentation'] == fragmentation])}"
        )
    draws, wrong, checked = (
        min(row["draws"] for row in rows),
        *(sum(row[column] for row in rows) for column in ("contradicted", "checked")),
    )
    few = f", which is few: `ptpool replay risk --seeds {max(12, 2 * draws)}` draws more" if draws < 12 else ""
    return [
        *said,
        f"{count(draws, 'machine')} drawn for each variant of reclaim{few}. The search assumes that more headroom "
        f"never hurts; it did in {wrong} of {checked} further runs (contradicted).",
    ]


def brief(case: Case) -> str:
    """In a sentence: the headroom that each strategy needs, in the worst variant; empty: not measured.

    "Or more" where the draws or most of the further runs say so.
    """
    found = _panels(case)
    if not found:
        return ""
    fragmentation = list(found)[-1][0]  # the most fragmented
    mine = [row for (kind, _), rows in found.items() if kind == fragmentation for row in rows]
    worst: dict[str, tuple[bool, float, bool]] = {}
    for row in mine:
        one = (row["never_enough"] * 2 > row["draws"], row["headroom"], row["or_more"])
        if row["refill_order"] is None:
            worst[row["strategy"]] = max(worst.get(row["strategy"], one), one)
    doubtful = {row["strategy"] for row in mine if row["contradicted"] * 2 > row["checked"]}
    ends = sorted(
        (headroom, name, more or name in doubtful) for name, (never, headroom, more) in worst.items() if not never
    )
    never_enough = sorted(name for name, (never, *_) in worst.items() if never)
    parts = []
    if ends:
        needs = [f"{headroom:.2g}{' or more' if more else ''} for {name}" for headroom, name, more in ends]
        parts.append(f"the headroom (in multiples of the peak demand) below which each fails is {listed(needs)}")
    if never_enough:
        parts.append(
            f"{listed(never_enough)} still {'fail' if len(never_enough) > 1 else 'fails'} at the largest headroom tried"
        )
    draws, kinds = min(row["draws"] for row in mine), sum(kind == fragmentation for kind, _ in found)
    machines = f"{count(draws, 'machine')} drawn for each of {count(kinds, 'variant')} of reclaim"
    return f"Where little memory is left (fragmentation {fragmentation}; {machines}), {'; '.join(parts)}."


def orders(case: Case) -> list[str]:
    """How much more headroom the same pool needs when its refills are of four or 512 contiguous pages."""
    shown: dict[tuple[str, str], list[str]] = {}
    for row in case.answers["risk_orders"].records():
        over = "more than " if row["times_or_more"] else ""
        least, most = f"{row['times_least']:.2g}", f"{row['times_most']:.2g}"
        spread = "" if least == most else f" ({least} to {most})"
        part = f"{over}{row['times_order_0']:.2g}{spread} with order {row['refill_order']}"
        shown.setdefault((row["fragmentation"], row["reclaim"]), []).append(part)
    return [
        f"Memory {fragmentation}, reclaim {reclaim}: the same pool with larger refills needs this many times the "
        f"headroom that it needs with refills of order 0: {listed(parts)}."
        for (fragmentation, reclaim), parts in shown.items()
    ]


def _sooner(rows: Rows) -> str:
    """Which strategies fail sooner than unprotected in all variants of reclaim: see view risk_summary."""
    if all(row["fails_sooner_in_all"] is None for row in rows):
        return "not all three variants of reclaim were run with at least 6 draws, so nothing is ranked."
    sooner = dict.fromkeys(row["strategy"] for row in rows if row["fails_sooner_in_all"])
    if not sooner:
        return "no strategy fails sooner than `unprotected` under all three variants of reclaim (sign test at 5 %)."
    return (
        "these fail sooner than `unprotected` under all three variants of reclaim (sign test at 5 %): "
        f"{listed(list(sooner))}."
    )


VARIANTS = ("none", "moderate", "optimistic")
_STRIP = 0.33


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the curves of one fragmentation, the strategies that stop failing first on top.

    Args:
        rows: reclaim, strategy, label, headroom, p, p_low, p_high, p_unprotected; of each label by ascending headroom.
    """
    variants = [name for name in VARIANTS if name in set(rows["reclaim"])]
    inks = {str(label): colour(strategy) for label, strategy in zip(rows["label"], rows["strategy"], strict=True)}
    labels = [label for label in _order(rows) if label != "unprotected"]
    close = ConstrainedLayoutEngine(h_pad=0.0, hspace=0.0)
    figure = Figure(figsize=(WIDTH, 0.75 + _STRIP * len(labels)), layout=close)
    grid: Any = figure.subplots(len(labels), len(variants), squeeze=False, sharex=True, sharey=True)
    for i, label in enumerate(labels):
        for j, variant in enumerate(variants):
            axis = grid[i, j]
            part = rows[(rows["label"] == label) & (rows["reclaim"] == variant)]
            axis.fill_between(part["headroom"], part["p_unprotected"], color=QUIET, linewidth=0, zorder=1)
            axis.fill_between(
                part["headroom"], part["p_low"], part["p_high"], color=inks[label], alpha=0.22, linewidth=0, zorder=2
            )
            axis.plot(part["headroom"], part["p"], color=inks[label], linewidth=1.5, zorder=3)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set(ylim=(-0.04, 1.12), yticks=())
            axis.grid(visible=False, axis="y")
            axis.spines["left"].set_visible(False)
            axis.tick_params(length=2 if i == len(labels) - 1 else 0)
            if i == 0:
                axis.set_title(f"reclaim {variant}")
            if i == len(labels) - 1:
                axis.set_xlabel("headroom (multiples of peak demand)")
        grid[i, 0].set_ylabel(label, rotation=0, ha="right", va="center", color=dark(inks[label]), fontsize=8.5)
    return figure


def _order(rows: pd.DataFrame) -> list[str]:
    """Labels, ascending by the largest headroom at which they still fail: the mean over the variants of reclaim."""
    failing = rows[rows["p"] + rows["p_unprotected"] >= 0.5]
    last = failing.groupby(["label", "reclaim"])["headroom"].max().groupby("label").mean()
    return sorted(set(rows["label"]), key=lambda label: (last.get(label, 0.0), label))


_ORDER_INKS = {2: "#0072b2", 9: "#d55e00"}
_DASHES: dict[str, Any] = {"none": "dotted", "moderate": "solid", "optimistic": "dashed"}
_KINDS = {"recorded": INK, "worn": "#8c8c8c", "fragmented on purpose": "#cc3311"}


def draw_by_fragmentation(rows: pd.DataFrame) -> Figure:
    """Draw how many times the headroom a pool needs for larger refills, by how fragmented memory is.

    Args:
        rows: of query risk_by_fragmentation: measured machines (what = machine), and the pool with refills of order 2
            and 9 (what = pool).
    """
    pools, machines = rows[rows["what"] == "pool"], rows[rows["what"] == "machine"]
    mixes = list(dict.fromkeys(pools["kind"]))
    figure, axes = panels(len(mixes), height=2.9)
    top = 1.15 * float(pools[["times", "times_high"]].max().max())
    for axis, mix in zip(axes, mixes, strict=True):
        axis.set_title(mix, fontsize=8.5)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set(xlim=(-0.02, 1.02), ylim=(0.55, max(top, 4.0)))
        axis.set_xlabel("unusable free space index at order 2")
        axis.axhline(1.0, color=INK, linewidth=0.8, zorder=1)
        for (order, reclaim), part in pools[pools["kind"] == mix].groupby(["refill_order", "reclaim"], sort=False):
            ink, x = _ORDER_INKS[int(order)], part["unusable_index_2"]
            axis.fill_between(x, part["times_low"], part["times_high"], color=ink, alpha=0.15, linewidth=0)
            axis.plot(x, part["times"], color=ink, linestyle=_DASHES[str(reclaim)], marker="o", markersize=3)
            never = part[part["or_more"]]
            axis.plot(never["unusable_index_2"], never["times"], "^", color=ink, markersize=6)
        for height, (kind, ink) in zip((0.59, 0.65, 0.72), _KINDS.items(), strict=True):
            found = machines[machines["kind"] == kind]["unusable_index_2"]
            axis.plot(found, [height] * len(found), "|", color=ink, markersize=6, alpha=0.7)
            axis.text(0.99, height, f"{len(found)} machines {kind}", color=ink, fontsize=7, ha="right", va="center")
    axes[0].set_ylabel("headroom needed,\nover that with single pages")
    handles = [
        Line2D(
            [],
            [],
            color=_ORDER_INKS[int(order)],
            linestyle=_DASHES[str(reclaim)],
            label=f"order {order}, reclaim {reclaim}",
        )
        for order, reclaim in pools[["refill_order", "reclaim"]].drop_duplicates().itertuples(index=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _by_fragmentation(case: Case) -> list[Drawn]:
    answer = case.answers["risk_by_fragmentation"]
    rows = frame(answer)
    pools = rows[rows["what"] == "pool"]
    if pools["unusable_index_2"].round(2).nunique() < 3:
        return []
    said = (
        "How much more headroom the same pool needs when each refill asks for four pages (order 2) or 512 (order 9) "
        "instead of one, by how fragmented free memory is before the first event. Band: 95 % interval of the median; "
        "triangle: it still failed at the largest headroom tried. Ticks below: where real machines lie "
        "(table `measured_fragmentation`)."
    )
    return [Drawn(said, "risk-by-fragmentation", answer, "risk-by-fragmentation", written(draw_by_fragmentation(rows)))]


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["risk_curve"]
    rows = frame(answer)
    drawn = _by_fragmentation(case)
    for fragmentation in dict.fromkeys(row["fragmentation"] for row in answer.records()):
        mine = rows[rows["fragmentation"] == fragmentation]
        shares = [f"{mine[f'unusable_index_{order}'].mean():.0%} for order {order}" for order in (2, 4, 9)]
        said = (
            f"Memory {fragmentation}: share of the machines on which a strategy fails and `unprotected` does not, by "
            "headroom. Each strip goes from 0 at its foot to 1 at its head, with the 95 % interval (Wilson); grey: "
            f"`unprotected` fails. Share of the free memory in blocks too small at the start: {listed(shares)}."
        )
        name = f"risk-{re.sub('[^a-z0-9.]+', '-', fragmentation)}"
        drawn.append(Drawn(said, name, answer, "risk-curve", written(draw(mine))))
    return drawn


SECTION = Section("risk", values=lambda case: {"sentences": sentences(case)}, figures=_figures)
