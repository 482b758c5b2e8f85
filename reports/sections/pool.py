"""Pools over time: what each pool holds, and what of it lies idle."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import size, span
from reports.section import Drawn, Section
from reports.style import INK, alike, colour, labels_at_end, levels, panels, thousands, title, written
from reports.tables import frame

_STATE = ["ptp_live", "pool_held", "pool_idle"]
_UNSEEN = 0.004
"""Curves closer to each other than this share of the axis, on average, are drawn as one."""


def draw(samples: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One panel per group of pools that hold the same: pages held, page tables in use, idle pages hatched.

    Args:
        samples: strategy, t_s, ptp_live, pool_held, pool_idle (any may be missing in a row).
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    samples = carried(samples, seconds)
    top = max(1.0, float(samples[_STATE].max().max()))
    drawn = groups(samples, _UNSEEN * top)
    figure, axes = panels(len(drawn), height=1.9, columns=3)
    for axis, (name, names) in zip(axes, drawn.items(), strict=True):
        _pages(axis, samples[samples["strategy"] == name], colour(name), seconds, top)
        axis.set_title(title(names, 34), fontsize=8)
        axis.set(xlim=(0, seconds), ylim=(0, top * 1.08))
        thousands(axis.yaxis)
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("pages", fontsize=9)
    return figure


def groups(samples: pd.DataFrame, within: float) -> dict[str, list[str]]:
    """Pools whose curves look the same, from samples as ``carried`` gives them."""
    return alike(levels(samples, _STATE), within, np.mean)


def carried(samples: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Samples in which every value lasts until it changes, or until the end of the recording."""
    parts = []
    for _, part in samples.groupby("strategy", sort=False):
        kept = part.sort_values("t_s")
        kept = pd.concat([kept, kept.tail(1).assign(t_s=max(seconds, kept["t_s"].max()))])
        kept[_STATE] = kept[_STATE].ffill()
        parts.append(kept)
    return pd.concat(parts, ignore_index=True)


def _pages(axis: Axes, part: pd.DataFrame, ink: str, seconds: float, top: float) -> None:
    held = part.dropna(subset=["pool_held", "pool_idle"])
    axis.fill_between(
        held["t_s"], held["pool_held"] - held["pool_idle"], held["pool_held"], step="post", facecolor="none",
        edgecolor="#b0b0b0", hatch="////", linewidth=0,
    )  # fmt: skip
    axis.step(held["t_s"], held["pool_held"], where="post", color=ink)
    ends = [("held", float(held["pool_held"].iloc[-1]), ink)] if len(held) else []
    tables = part.dropna(subset=["ptp_live"])
    if len(tables):
        axis.step(tables["t_s"], tables["ptp_live"], where="post", color=INK, linestyle=(0, (4, 1.2)), linewidth=1.3)
        ends.append(("in use", float(tables["ptp_live"].iloc[-1]), INK))
    labels_at_end(axis, ends, seconds, top, gap=0.14)


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, seconds = case.answers["pool_over_time"], case.capture["seconds"]
    if not answer.rows:
        return [Drawn("No strategy with a pool has a time line: there is nothing to draw.")]
    if not seconds:
        return [Drawn("All events are of one moment: there is nothing to draw over time.")]
    samples = frame(answer).astype(dict.fromkeys(_STATE, "float64"))
    page = case.capture["page_size"]
    idle = span({name: pages * page for name, pages in case.over("pool_idle_pages_mean").items()}, size)
    said = f"Idle in pools, on average: {idle}. Solid: pages held; hatched: the idle ones of them; dashed: page tables in use."
    return [Drawn(said, "pool-over-time", answer, written(draw(samples, seconds, case.time_unit)))]


SECTION = Section("pool", "What do the pools hold?", figures=_figures)
