"""Free blocks by order: what the recorded machine had before and after, and what the model says it has after."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.style import INK, colour, panels, thousands

_BEFORE, _AFTER = "#8a8a8a", INK


def changed(blocks: pd.DataFrame) -> list[str]:
    """Zones in which anything changed, or was predicted to."""
    moved = (blocks["recorded_before"] != blocks["recorded_after"]) | (blocks["recorded_before"] != blocks["predicted"])
    return list(dict.fromkeys(blocks.loc[moved, "zone"]))


def draw(blocks: pd.DataFrame) -> Figure:
    """A panel per zone that changed; the prediction as a cross with the span of all seeds.

    Args:
        blocks: zone, page_order, recorded_before, recorded_after, predicted, predicted_low, predicted_high.
    """
    zones = changed(blocks)
    figure, axes = panels(len(zones), height=2.7)
    if len(zones) == 1:
        figure.set_size_inches(6.4, 3.0)
    for axis, zone in zip(axes, zones, strict=True):
        part = blocks[blocks["zone"] == zone]
        orders = part["page_order"].to_numpy(dtype=float)
        axis.set_yscale("symlog", linthresh=1, linscale=0.5)
        axis.plot(orders - 0.18, part["recorded_before"], "o", markersize=5, color=_BEFORE, markerfacecolor="white",
                  label="recorded before")  # fmt: skip
        axis.plot(orders, part["recorded_after"], "o", markersize=5, color=_AFTER, label="recorded after")
        predicted = part["predicted"].to_numpy(dtype=float)
        low, high = (part[f"predicted_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
        axis.errorbar(
            orders + 0.18, predicted, yerr=np.vstack([np.maximum(predicted - low, 0), np.maximum(high - predicted, 0)]),
            fmt="x", markersize=5.5, markeredgewidth=1.6, elinewidth=1.0, color=colour("pba"),
            label="predicted after (bar: all seeds)",
        )  # fmt: skip
        axis.set_title(f"zone {zone}")
        axis.set_xticks(orders, [f"{int(order)}" for order in orders])
        axis.set_ylim(-0.3, float(part[["recorded_before", "recorded_after", "predicted_high"]].max().max()) * 2 + 1)
        axis.grid(visible=False, axis="x")
        thousands(axis.yaxis)
    figure.supxlabel("order of the block (2^order pages)", fontsize=9)
    figure.supylabel("free blocks", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8.5)
    return figure
