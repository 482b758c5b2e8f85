"""Where failures begin: a panel per fragmentation and variant of reclaim, a row per strategy."""

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.style import INK, QUIET, WIDTH, colour, marker

_VARIANTS = ("none", "moderate", "optimistic")


def draw(rows: pd.DataFrame) -> Figure:
    """Draw medians and ranges.

    Args:
        rows: fragmentation, reclaim, strategy, headroom_median, headroom_least, headroom_most, never_enough, draws.
    """
    kinds = list(dict.fromkeys(rows["fragmentation"]))
    variants = [name for name in _VARIANTS if name in set(rows["reclaim"])]
    order = rows.groupby("strategy")["headroom_median"].max().sort_values().index.tolist()
    place = {name: i for i, name in enumerate(order)}
    figure = Figure(figsize=(WIDTH, 0.9 + len(kinds) * (0.55 + 0.21 * len(order))), layout="constrained")
    grid = figure.subplots(len(kinds), len(variants), squeeze=False, sharex=True, sharey=True)
    for (i, j), axis in ((at, grid[at]) for at in ((i, j) for i in range(len(kinds)) for j in range(len(variants)))):
        part = rows[(rows["fragmentation"] == kinds[i]) & (rows["reclaim"] == variants[j])]
        for _, base in part[part["strategy"] == "unprotected"].iterrows():
            axis.axvline(base["headroom_median"], color=QUIET, linestyle="dashed", zorder=0)
        for _, row in part.iterrows():
            y, ink = place[row["strategy"]], colour(row["strategy"])
            axis.plot([row["headroom_least"], row["headroom_most"]], [y, y], color=ink, linewidth=2)
            over = row["never_enough"] * 2 > row["draws"]
            axis.plot(
                row["headroom_median"], y, marker=">" if over else marker(row["strategy"]), color=ink, markersize=6
            )
        axis.set_title(f"{kinds[i]}, reclaim {variants[j]}")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_yticks(range(len(order)), order, color=INK)
        if i == len(kinds) - 1:
            axis.set_xlabel("headroom, times the peak demand")
    return figure
