"""Reserve over time: the fewest pages that each pool had for splits, and where that was below its reserve."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.pool import carried
from reports.style import INK, alike, colour, panels, thousands, title

_UNSEEN = 0.15
"""Levels that differ by less than this in their binary logarithm are drawn as one."""


def draw(samples: pd.DataFrame, seconds: float, reserve: dict[str, int], unit: str) -> Figure:
    """A panel per group of pools with the same reserve and the same dips, on a scale that shows single pages.

    Args:
        samples: strategy, t_s, ptp_live, pool_held, pool_idle, reserve_low (any may be missing in a row).
        seconds: length of the recording.
        reserve: by strategy, the pages it keeps for splits.
        unit: what a second is: seconds, or emulated seconds.
    """
    samples = carried(samples, seconds).dropna(subset=["reserve_low"])
    drawn = groups(samples, reserve)
    figure, axes = panels(len(drawn))
    top = max(2.0, float(samples["reserve_low"].max())) * 1.6
    for axis, (name, names) in zip(axes, drawn.items(), strict=True):
        _low(axis, samples[samples["strategy"] == name], colour(name), reserve.get(name))
        axis.set_title(f"{title(names)}\n{dips(samples[samples['strategy'] == name], reserve.get(name))}")
        axis.set(xlim=(0, seconds), ylim=(0, top))
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("fewest pages for splits", fontsize=9)
    return figure


def groups(samples: pd.DataFrame, reserve: dict[str, int]) -> dict[str, list[str]]:
    """Pools that cannot be told apart by reserve and level."""
    times = np.unique(samples["t_s"])
    series = {}
    for name, part in samples.groupby("strategy", sort=False):
        level = part.drop_duplicates("t_s", keep="last").set_index("t_s")["reserve_low"].reindex(times, method="ffill")
        series[str(name)] = [*np.log2(1 + level.to_numpy(dtype=float)), float(reserve.get(str(name), 0))]
    return alike(series, _UNSEEN)


def dips(part: pd.DataFrame, reserve: int | None) -> str:
    """How often the level was below the reserve, or empty."""
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
    if len(below):  # an empty line with clip_on off has an extent of its own, at the corner of the figure
        axis.plot(below["t_s"], below["reserve_low"], "v", markersize=4.5, color=INK, clip_on=False)
