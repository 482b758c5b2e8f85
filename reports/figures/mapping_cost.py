"""Mapping cost: each strategy's share at 4K on the scale of what was measured for maps that are all 4K."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import INK, WIDTH, colour
from reports.formats import percent

BALLPARK_PCT = 5.0

_COLUMNS = ("pte_share_mean", "mapping_cost_pct_low", "mapping_cost_pct_median", "mapping_cost_pct_high")


def draw(costs: pd.DataFrame, scale: tuple[float, float, float], basis: str, unmeasured: str) -> Figure:
    """A row per strategy: low to high as a bar, the median as a mark; the scale itself on top.

    Args:
        costs: strategy, pte_share_mean, mapping_cost_pct_low, _median, _high (NULL where nobody measured).
        scale: low, median and high of an all-4K map, in per cent.
        basis: whose figures the scale is.
        unmeasured: what to write where there is no figure.
    """
    costs = costs.astype(dict.fromkeys(_COLUMNS, "float64"))
    rows = len(costs) + 1
    figure = Figure(figsize=(WIDTH, 0.36 * rows + 1.05), layout="constrained")
    axis = figure.subplots()
    right = max(scale[2], BALLPARK_PCT) * 1.22
    labels = [f"measured, all 4K\n({basis})"]
    _range(axis, 0, list(scale), "#888888", right)
    for i, row in enumerate(costs.to_dict("records"), start=1):
        share, strategy = row["pte_share_mean"], str(row["strategy"])
        labels.append(strategy if pd.isna(share) else f"{strategy}\n{percent(share)} at 4K")
        values = [float(row[f"mapping_cost_pct_{end}"]) for end in ("low", "median", "high")]
        if np.isnan(values[1]):
            text = "share not modelled yet" if pd.isna(share) else unmeasured
            axis.text(0.012 * right, i, text, va="center", color=INK, fontsize=8.5, style="italic")
        else:
            _range(axis, i, values, colour(strategy), right)
    axis.axvline(BALLPARK_PCT, color=INK, linewidth=1.0, linestyle="dashed", zorder=1)
    axis.annotate(
        "~5 %: a ballpark from a mail about arm64, not a measurement", (BALLPARK_PCT, -0.6), xytext=(0, 2),
        textcoords="offset points", va="bottom", ha="center", fontsize=8, color=INK, annotation_clip=False,
    )  # fmt: skip
    axis.set_yticks(range(rows), labels)
    axis.set(xlim=(0, right), ylim=(rows - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(f"run time that large pages would save, % ({basis} scale; if linear in the bytes mapped at 4K)")
    return figure


def _range(axis: Axes, y: int, values: list[float], ink: str, right: float) -> None:
    low, median, high = values
    axis.plot([low, high], [y, y], color=ink, linewidth=4, alpha=0.55, solid_capstyle="butt")
    axis.plot([median], [y], marker="|", markersize=13, markeredgewidth=2.4, color=ink)
    text = f"{low:.2f} / {median:.2f} / {high:.2f} %"
    axis.text(high + 0.012 * right, y, text, va="center", fontsize=8.5, color=INK)
