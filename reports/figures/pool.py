"""Pool and reserve over time: what each pool holds, what of it is in use, and how deep it was drained."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import INK, WIDTH, colour, spread, thousands


def draw(samples: pd.DataFrame, seconds: float, reserve: dict[str, int]) -> Figure:
    """A row per strategy: pages over time on the left, the pool's lowest level on the right.

    Args:
        samples: strategy, t_s, ptp_live, pool_held, pool_idle, reserve_low (any may be missing in a row).
        seconds: length of the recording.
        reserve: by strategy, the pages it keeps for splits.
    """
    names = list(dict.fromkeys(samples["strategy"]))
    figure = Figure(figsize=(WIDTH, 2.0 * len(names) + 0.4), layout="constrained")
    grid = figure.subplots(len(names), 2, squeeze=False, sharex=True, sharey="col", width_ratios=[1.15, 1])
    for (left, right), name in zip(grid, names, strict=True):
        part = samples[samples["strategy"] == name]
        _pages(left, part, name, seconds, float(samples[["ptp_live", "pool_held", "pool_idle"]].max().max()))
        _low(right, part, name, reserve.get(name))
    grid[0, 1].set_ylim(0, max(2.0, float(samples["reserve_low"].max())) * 1.6)
    grid[-1, 0].set_xlim(0, seconds)
    figure.supxlabel("seconds from the start of the recording", fontsize=9)
    return figure


def _pages(axis: Axes, part: pd.DataFrame, name: str, seconds: float, top: float) -> None:
    series = [("pool_held", "held", colour(name), "solid", 1.8), ("ptp_live", "page tables", INK, (0, (4, 1.2)), 1.3),
              ("pool_idle", "idle", "#777777", (0, (1, 1)), 1.3)]  # fmt: skip
    ends: list[tuple[str, float, str]] = []
    for column, label, ink, style, width in series:
        known = part.dropna(subset=[column])
        if known.empty:
            continue
        axis.step(known["t_s"], known[column], where="post", color=ink, linestyle=style, linewidth=width)
        ends.append((label, float(known[column].iloc[-1]), ink))
    places = spread([end for _, end, _ in ends], 0.14 * top, 0, top)
    for (label, _, ink), place in zip(ends, places, strict=True):
        axis.annotate(
            label, (seconds, place), xytext=(4, 0), textcoords="offset points", va="center", color=ink, fontsize=8.5,
            annotation_clip=False,
        )  # fmt: skip
    axis.set_title(name)
    axis.set_ylim(0, max(top, 1) * 1.08)
    axis.set_ylabel("pages")
    thousands(axis.yaxis)


def _low(axis: Axes, part: pd.DataFrame, name: str, reserve: int | None) -> None:
    known = part.dropna(subset=["reserve_low"])
    axis.set_yscale("symlog", linthresh=8, linscale=1)
    axis.set_yticks([0, 2, 4, 8, 64, 512, 4096, 32768])
    axis.minorticks_off()
    thousands(axis.yaxis)
    axis.set_ylabel("fewest pages cached")
    if known.empty:
        axis.text(0.5, 0.5, "not recorded by the replay", transform=axis.transAxes, ha="center", color=INK)
        return
    axis.step(known["t_s"], known["reserve_low"], where="post", color=colour(name), linewidth=1.2)
    if reserve is None:
        axis.set_title("no reserve", fontweight="normal")
        return
    dips = known[known["reserve_low"] < reserve]
    axis.axhline(reserve, color=INK, linewidth=0.9, linestyle="dashed")
    axis.plot(dips["t_s"], dips["reserve_low"], linestyle="none", marker="v", markersize=4.5, color=INK, clip_on=False)
    below = f"below it in {len(dips)} of {len(known)} steps" if len(dips) else "never below it"
    axis.set_title(f"reserve {reserve} (dashed): {below}", fontweight="normal")
