"""What allocations went through, by order: failures, kswapd, compaction, reclaim, the OOM killer."""

import math
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import count, listed
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, alike, written
from reports.tables import frame

_FLAGS = ("kswapd", "compact_async", "reclaim", "compact_sync", "oom_kill", "null", "refill_failures")
_WORDS = ("woke\nkswapd", "async.\ncompaction", "direct\nreclaim", "sync.\ncompaction", "OOM\nkiller", "got\nNULL",
          "of which\nrefills, got\nnothing")  # fmt: skip


def draw(rows: pd.DataFrame) -> Figure:
    """One panel per order at which anything but plain success happened, one row per group of equal strategies.

    Args:
        rows: strategy, page_order, attempts and the columns of _FLAGS.
    """
    orders = sorted(int(order) for order in rows.loc[rows[list(_FLAGS)].sum(axis=1) > 0, "page_order"].unique())
    names = list(dict.fromkeys(rows["strategy"]))
    counts = {
        name: np.stack([_row(rows, name, order, _FLAGS) for order in orders])  # orders x flags
        for name in names
    }
    groups = alike(counts)
    labels = [_short(members) for members in groups.values()]
    figure = Figure(figsize=(WIDTH, 0.75 + len(orders) * (0.5 + 0.23 * len(groups))), layout="constrained")
    axes = figure.subplots(len(orders), 1, squeeze=False)[:, 0]
    most = max(float(values.max()) for values in counts.values())
    for i, (axis, order) in enumerate(zip(axes, orders, strict=True)):
        grid = np.stack([counts[name][i] for name in groups])
        shade = np.log1p(grid) / math.log1p(most)
        axis.imshow(shade, cmap="Greys", vmin=0, vmax=2.2, aspect="auto")
        for y, x in np.ndindex(*grid.shape):
            axis.text(
                x, y, f"{grid[y, x]:,.0f}" if grid[y, x] else "·", ha="center", va="center", fontsize=8, color=INK
            )
        asked = [_row(rows, name, order, ("attempts",))[0] for name in groups]
        axis.set_title(f"order {order}: {_range(asked)} allocations each")
        axis.set_yticks(range(len(groups)), labels)
        axis.set_xticks(range(len(_FLAGS)), _WORDS if i == len(orders) - 1 else [""] * len(_FLAGS))
        axis.tick_params(length=0)
        axis.grid(visible=False)
    return figure


def _row(rows: pd.DataFrame, name: str, order: int, columns: tuple[str, ...]) -> np.ndarray:
    part = rows.loc[(rows["strategy"] == name) & (rows["page_order"] == order), list(columns)]
    return part.to_numpy(dtype=float)[0] if len(part) else np.zeros(len(columns))


def _short(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["run_order"]
    rows = frame(answer)
    if rows.empty or not rows[list(_FLAGS)].to_numpy().any():
        return [Drawn("Every allocation succeeded at once: none found its zones below the low watermark.")]
    sums = {str(name): part[list(_FLAGS)].sum().to_numpy() for name, part in rows.groupby("strategy")}
    totals = {name: sums.get(name, np.zeros(len(_FLAGS))) for name in case.metrics}
    said = [f"{listed(names)}: {_passed(totals[first])}" for first, names in alike(totals).items()]
    return [Drawn(f"{'; '.join(said)}.", "allocations", answer, "run-order", written(draw(rows)))]


def _passed(values: npt.NDArray[Any]) -> str:
    what = dict(zip(_FLAGS, values, strict=True))
    parts = [
        count(what["kswapd"], "wake-up of kswapd", "wake-ups of kswapd"),
        count(what["compact_async"] + what["compact_sync"], "entry into compaction", "entries into compaction"),
        count(what["reclaim"], "entry into reclaim", "entries into reclaim"),
        count(what["null"], "NULL", "NULLs"),
    ]
    return listed(parts) if values.any() else "plain success only"


SECTION = Section("run_order", figures=_figures)
