"""What allocations went through."""

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

FLAGS = ("kswapd", "compact_async", "reclaim", "compact_sync", "oom_kill", "null", "refill_failures")
_WORDS = ("woke\nkswapd", "async.\ncompaction", "direct\nreclaim", "sync.\ncompaction", "OOM\nkiller", "got\nNULL",
          "of which\nrefills, got\nnothing")  # fmt: skip


def draw(rows: pd.DataFrame) -> Figure:
    """A panel per order at which anything but plain success happened.

    Args:
        rows: strategy, page_order, attempts and a column per flag.
    """
    orders = sorted(int(order) for order in rows.loc[rows[list(FLAGS)].sum(axis=1) > 0, "page_order"].unique())
    names = list(dict.fromkeys(rows["strategy"]))
    counts = {
        name: np.stack([_row(rows, name, order, FLAGS) for order in orders])  # orders x flags
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
        axis.set_xticks(range(len(FLAGS)), _WORDS if i == len(orders) - 1 else [""] * len(FLAGS))
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
    if rows.empty or not rows[list(FLAGS)].to_numpy().any():
        return [Drawn("Nothing but plain success at any order: no allocation found its zones below the low watermark.")]
    totals = {name: part[list(FLAGS)].sum().to_numpy() for name, part in rows.groupby("strategy", sort=False)}
    for name in case.metrics:
        totals.setdefault(name, rows.head(0)[list(FLAGS)].sum().to_numpy())
    said = [
        f"{listed(names)}: {_passed(totals[first])}"
        for first, names in alike({str(n): v for n, v in totals.items()}).items()
    ]
    return [Drawn(f"{'; '.join(said)}.", "allocations", answer, "run-order", written(draw(rows)))]


def _passed(values: npt.NDArray[Any]) -> str:
    what = dict(zip(FLAGS, values, strict=True))
    compacted, nothing = what["compact_async"] + what["compact_sync"], what["null"]
    parts = [
        count(what["kswapd"], "wake-up of kswapd", "wake-ups of kswapd"),
        count(compacted, "entry into compaction", "entries into compaction"),
        count(what["reclaim"], "entry into reclaim", "entries into reclaim"),
        count(nothing, "NULL", "NULLs"),
    ]
    return listed(parts) if values.any() else "plain success alone"


SECTION = Section("run_order", figures=_figures)
