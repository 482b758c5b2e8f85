"""Pool and reserve over time: what each pool holds, what of it lies idle, and the fewest pages left for splits."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.case import Case
from reports.section import Drawn, Section
from reports.style import INK, alike, colour, labels_at_end, levels, panels, thousands, title, written
from reports.tables import frame

_STATE = ["ptp_live", "pool_held", "pool_idle"]
_UNSEEN = 0.004
"""Curves closer to each other than this share of the axis, on average, are drawn as one."""


def draw_pool(samples: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One panel per group of pools that hold the same: pages held, page tables in use, idle pages hatched.

    Args:
        samples: strategy, t_s, ptp_live, pool_held, pool_idle, reserve_low (any may be missing in a row).
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    samples = carried(samples, seconds)
    top = max(1.0, float(samples[_STATE].max().max()))
    drawn = groups(samples, _UNSEEN * top)
    figure, axes = panels(len(drawn))
    for axis, (name, names) in zip(axes, drawn.items(), strict=True):
        _pages(axis, samples[samples["strategy"] == name], colour(name), seconds, top)
        axis.set_title(title(names))
        axis.set(xlim=(0, seconds), ylim=(0, top * 1.08))
        thousands(axis.yaxis)
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("pages", fontsize=9)
    return figure


def groups(samples: pd.DataFrame, within: float) -> dict[str, list[str]]:
    """Pools whose curves look the same, from samples as ``carried`` gives them."""
    return alike(levels(samples, _STATE), within, np.mean)


def carried(samples: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Samples in which every value lasts until it changes, or until the end of the recording.

    The time line holds a value only where it changed. The lowest level belongs to its step and is not carried on.
    """
    parts = []
    for _, part in samples.groupby("strategy", sort=False):
        kept = part.sort_values("t_s")
        kept = pd.concat([kept, kept.tail(1).assign(t_s=max(seconds, kept["t_s"].max()), reserve_low=float("nan"))])
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
        ends.append(("page tables", float(tables["ptp_live"].iloc[-1]), INK))
    labels_at_end(axis, ends, seconds, top, gap=0.14)


_UNSEEN_LEVELS = 0.15
"""Levels that differ by less than this in their binary logarithm are drawn as one."""


def draw_reserve(samples: pd.DataFrame, seconds: float, reserve: dict[str, int], unit: str) -> Figure:
    """One panel per group of pools with the same reserve and the same dips, on a scale that shows single pages.

    Args:
        samples: strategy, t_s, ptp_live, pool_held, pool_idle, reserve_low (any may be missing in a row).
        seconds: length of the recording.
        reserve: by strategy, the pages it keeps for splits.
        unit: what a second is: seconds, or emulated seconds.
    """
    samples = carried(samples, seconds).dropna(subset=["reserve_low"])
    drawn = reserve_groups(samples, reserve)
    figure, axes = panels(len(drawn))
    top = max(2.0, float(samples["reserve_low"].max())) * 1.6
    for axis, (name, names) in zip(axes, drawn.items(), strict=True):
        _low(axis, samples[samples["strategy"] == name], colour(name), reserve.get(name))
        axis.set_title(f"{title(names)}\n{dips(samples[samples['strategy'] == name], reserve.get(name))}")
        axis.set(xlim=(0, seconds), ylim=(0, top))
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("fewest pages for splits", fontsize=9)
    return figure


def reserve_groups(samples: pd.DataFrame, reserve: dict[str, int]) -> dict[str, list[str]]:
    """Pools with the same reserve whose levels look the same."""
    series = {
        name: [*np.log2(1 + low), float(reserve.get(name, 0))] for name, low in levels(samples, "reserve_low").items()
    }
    return alike(series, _UNSEEN_LEVELS)


def dips(part: pd.DataFrame, reserve: int | None) -> str:
    """How often the level was below the reserve, or zero."""
    of = f"of {len(part)} steps"
    if reserve is None:
        empty = int((part["reserve_low"] == 0).sum())
        return f"nothing kept back, empty in {empty} {of}" if empty else "nothing kept back, never empty"
    below = int((part["reserve_low"] < reserve).sum())
    return f"reserve {reserve} (dashed), below it in {below} {of}" if below else f"reserve {reserve}, never below it"


def _low(axis: Axes, part: pd.DataFrame, ink: str, reserve: int | None) -> None:
    axis.set_yscale("symlog", linthresh=8, linscale=1)
    axis.set_yticks([0, 4, 8, 64, 512, 4096, 32768])
    axis.minorticks_off()
    thousands(axis.yaxis)
    axis.step(part["t_s"], part["reserve_low"], where="post", color=ink, linewidth=1.2)
    below = part[part["reserve_low"] < (reserve or 1)]
    if reserve is not None:
        axis.axhline(reserve, color=INK, linewidth=0.9, linestyle="dashed")
    if len(below):  # an empty line with clip_on off would extend to the corner of the figure
        axis.plot(below["t_s"], below["reserve_low"], "v", markersize=4.5, color=INK, clip_on=False)


_HELD = "Each panel shows the pages held, the idle ones among them (hatched), and page tables in use (dashed)."
_LOW = "Each curve is the fewest pages left for splits; a triangle marks a step below the reserve, or empty."


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, seconds = case.answers["pool_over_time"], case.capture["seconds"]
    if not answer.rows:
        return [Drawn("No strategy with a pool has a time line: there is nothing to draw.")]
    if not seconds:
        return [Drawn("All events are of one moment: there is nothing to draw over time.")]
    samples = frame(answer).astype(dict.fromkeys([*_STATE, "reserve_low"], "float64"))
    images = written(draw_pool(samples, seconds, case.time_unit))
    drawn = [Drawn(_HELD, "pool-over-time", answer, "pool-over-time", images)]
    if samples["reserve_low"].notna().any():
        images = written(draw_reserve(samples, seconds, case.reserve, case.time_unit))
        drawn.append(Drawn(_LOW, "reserve-over-time", answer, "pool-over-time", images))
    return drawn


SECTION = Section("pool", figures=_figures)
