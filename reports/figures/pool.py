"""Pool over time: what each pool holds, what of it is page tables in use, and what lies idle."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.style import INK, alike, colour, labels_at_end, panels, thousands, title

_STATE = ["ptp_live", "pool_held", "pool_idle"]
_UNSEEN = 0.004
"""Curves on average nearer to each other than this share of the axis are drawn as one."""


def draw(samples: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """A panel per group of pools that hold the same: pages held, page tables in use, idle ones hatched.

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
    """Pools whose curves cannot be told apart, from samples as ``carried`` gives them."""
    times = np.unique(samples["t_s"])
    series = {}
    for name, part in samples.groupby("strategy", sort=False):
        known = part.drop_duplicates("t_s", keep="last").set_index("t_s")[_STATE]
        series[str(name)] = known.reindex(times, method="ffill").to_numpy(dtype=float)
    return alike(series, within, np.mean)


def carried(samples: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Samples with every value kept until it changes, and until the end of the recording.

    The time line holds a value only where it changed. The lowest level is that of each step, so it is not carried.
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
