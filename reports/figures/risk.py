"""How likely a failure is that `unprotected` does not have, by headroom: a strip a strategy, a column a variant."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reports.style import QUIET, WIDTH, colour, dark

VARIANTS = ("none", "moderate", "optimistic")
_STRIP = 0.33


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the curves of one fragmentation, the strategies that stop failing first on top.

    Args:
        rows: reclaim, strategy, headroom, p, p_low, p_high, p_unprotected; each strategy's by ascending headroom.
    """
    variants = [name for name in VARIANTS if name in set(rows["reclaim"])]
    strategies = [name for name in _order(rows) if name != "unprotected"]
    close = ConstrainedLayoutEngine(h_pad=0.0, hspace=0.0)
    figure = Figure(figsize=(WIDTH, 0.75 + _STRIP * len(strategies)), layout=close)
    grid: Any = figure.subplots(len(strategies), len(variants), squeeze=False, sharex=True, sharey=True)
    for i, name in enumerate(strategies):
        for j, variant in enumerate(variants):
            axis = grid[i, j]
            part = rows[(rows["strategy"] == name) & (rows["reclaim"] == variant)]
            axis.fill_between(part["headroom"], part["p_unprotected"], color=QUIET, linewidth=0, zorder=1)
            axis.fill_between(
                part["headroom"], part["p_low"], part["p_high"], color=colour(name), alpha=0.22, linewidth=0, zorder=2
            )
            axis.plot(part["headroom"], part["p"], color=colour(name), linewidth=1.5, zorder=3)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set(ylim=(-0.04, 1.12), yticks=())
            axis.grid(visible=False, axis="y")
            axis.spines["left"].set_visible(False)
            axis.tick_params(length=2 if i == len(strategies) - 1 else 0)
            if i == 0:
                axis.set_title(f"reclaim {variant}")
            if i == len(strategies) - 1:
                axis.set_xlabel("headroom, times the peak demand")
        grid[i, 0].set_ylabel(name, rotation=0, ha="right", va="center", color=dark(colour(name)), fontsize=8.5)
    return figure


def _order(rows: pd.DataFrame) -> list[str]:
    """Strategies by the largest headroom at which one still fails, over the variants; then by how often."""
    failing = rows[rows["p"] + rows["p_unprotected"] >= 0.5]
    last = failing.groupby(["strategy", "reclaim"])["headroom"].max().groupby("strategy").mean()
    return [str(name) for name in sorted(set(rows["strategy"]), key=lambda name: (last.get(name, 0.0), name))]
