"""How far the model agrees with the recorded machine: what `ptpool replay validate` found."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import count, number
from reports.section import Drawn, Section
from reports.style import INK, colour, panels, thousands, written
from reports.tables import frame


def agreement(case: Case) -> str:
    """How many predictions hold; empty: nothing was judged."""
    judged = [row for row in case.answers["validation"].records() if row["holds"] is not None]
    if not judged:
        return ""
    changed = [row for row in judged if row["better"] is not None]
    held = f"{number(sum(row['holds'] for row in judged))} of {count(len(judged), 'quantity', 'quantities')}"
    text = (
        f"Of what changed in the free lists, or was predicted to, {held} {'is' if len(judged) == 1 else 'are'} "
        "predicted within a quarter of the recorded change, or 32"
    )
    if changed:
        better = number(sum(row["better"] for row in changed))
        text += f"; of the {number(len(changed))} that changed by more than 32, {better} better than by 'as before'"
    return f"{text}."


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


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["free_blocks_by_order"]
    columns = [column for column in answer.columns if column not in ("zone", "page_order")]
    blocks = frame(answer).astype(dict.fromkeys(columns, "float64"))
    if blocks.empty or blocks[["recorded_before", "recorded_after", "predicted"]].isna().any(axis=None):
        return []
    zones = changed(blocks)
    if not zones:
        return [Drawn("Free blocks: nothing changed, and nothing was predicted to.")]
    blocks["order"] = blocks["page_order"].astype(int)
    part = blocks[blocks["zone"].isin(zones)]
    off = (part["predicted"] - part["recorded_after"]).abs()
    moved = (part["recorded_before"] - part["recorded_after"]).abs()
    worst = part.iloc[int(off.to_numpy().argmax())]
    caption = (
        f"Free blocks by order: together {count(off.sum(), 'block')} off where {count(moved.sum(), 'block')} changed; "
        f"furthest at order {worst['order']} of zone {worst['zone']} ({number(worst['predicted'])} predicted, "
        f"{number(worst['recorded_after'])} recorded)."
    )
    images = written(draw(blocks))
    return [Drawn(caption, "free-blocks", answer, "free-blocks-by-order", images)]


SECTION = Section(
    "agreement",
    values=lambda case: {"agreement": agreement(case), "baseline": "unprotected" in case.metrics},
    figures=_figures,
)
