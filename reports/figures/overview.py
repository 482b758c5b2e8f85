"""Strategy by capture: a table of shades for each cost, darker for more within its capture."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.style import INK, WIDTH

COSTS = (
    ("splits", "splits at run time", 1.0),
    ("pte_share_mean", "direct map at 4K, %", 100.0),
    ("pool_idle_pages_mean", "idle pages", 1.0),
    ("permission_changes", "permission changes", 1.0),
    ("failures", "not supplied", 1.0),
)


def draw(rows: pd.DataFrame) -> Figure:
    """A panel per cost with strategies down and captures across; what does not apply is left blank.

    Args:
        rows: capture, strategy and a column per cost.
    """
    captures, names = (list(dict.fromkeys(rows[column])) for column in ("capture", "strategy"))
    per_row = max(1, min(len(COSTS), 25 // max(3, len(captures))))
    lines = -(-len(COSTS) // per_row)
    height = 0.235 * len(names) + 0.35
    figure = Figure(figsize=(WIDTH, lines * (height + 0.9)), layout="constrained")
    axes = figure.subplots(lines, per_row, squeeze=False, sharey=True)
    for spare in list(axes.flat)[len(COSTS) :]:
        spare.remove()
    for axis, (column, words, scale) in zip(axes.flat, COSTS, strict=False):
        values = rows.pivot_table(index="strategy", columns="capture", values=column, aggfunc="first", dropna=False)
        grid = scale * values.reindex(index=names, columns=captures).to_numpy(dtype=float)
        axis.imshow(shades(grid), cmap="Greys", vmin=0, vmax=1.9, aspect="auto")
        for y, x in np.ndindex(*grid.shape):
            axis.text(x, y, _short(float(grid[y, x])), ha="center", va="center", fontsize=6.5, color=INK)
        axis.set_title(words, fontsize=8.5)
        axis.set_xticks(range(len(captures)), captures, rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
        axis.set_yticks(range(len(names)), names)
        axis.tick_params(length=0)
        axis.grid(visible=False)
    return figure


def shades(grid: np.ndarray) -> np.ndarray:
    """From 0 for the least to 1 for the most of each column, by logarithm; equal values are all 0."""
    logs = np.log1p(np.maximum(grid, 0))
    least = np.nanmin(np.where(np.isnan(logs), np.inf, logs), axis=0)
    most = np.nanmax(np.where(np.isnan(logs), -np.inf, logs), axis=0)
    span = np.where(most > least, most - least, 1.0)
    return np.asarray((logs - least) / span)


def _short(value: float) -> str:
    if np.isnan(value):
        return ""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}" if value >= 10 * scale else f"{value / scale:.1f}{unit}"
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:.2g}"
