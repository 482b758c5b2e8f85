"""Memory pressure: how little memory is enough for each strategy."""

import re
from typing import Any

import duckdb
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reports.case import Case
from reports.formats import listed, percent
from reports.section import Drawn, Section
from reports.style import QUIET, WIDTH, colour, dark, written
from reports.tables import frame

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


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["risk_curve"]
    rows = frame(answer)
    drawn = []
    for fragmentation in dict.fromkeys(row["fragmentation"] for row in answer.records()):
        mine = rows[rows["fragmentation"] == fragmentation]
        shares = [f"{percent(mine[f'unusable_index_{order}'].mean())} for order {order}" for order in (2, 4, 9)]
        said = (
            f"Memory {fragmentation}: share of the machines on which a strategy fails and `unprotected` does not, by "
            "headroom. Each strip goes from 0 at its foot to 1 at its head, with the 95 % interval (Wilson); grey: "
            f"`unprotected` fails. Free memory in blocks too small before the first event: {listed(shares)}."
        )
        name = f"risk-{re.sub('[^a-z0-9.]+', '-', fragmentation)}"
        drawn.append(Drawn(said, name, answer, written(draw(mine))))
    return drawn


SECTION = Section("pressure", "How little memory is enough?", figures=_figures)
