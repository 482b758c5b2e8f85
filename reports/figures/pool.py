"""Pool and reserve over time: what each pool holds, what of it is in use, and how deep it was drained."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.style import INK, WIDTH, colour, spread, thousands


def draw(samples: pd.DataFrame, seconds: float, reserve: dict[str, int], unit: str) -> Figure:
    """A row per strategy: pages over time on the left, the pool's lowest level on the right.

    Args:
        samples: strategy, t_s, ptp_live, pool_held, pool_idle, reserve_low (any may be missing in a row).
        seconds: length of the recording.
        reserve: by strategy, the pages it keeps for splits.
        unit: what a second is: seconds, or emulated seconds.
    """
    samples = carried(samples, seconds)
    names = list(dict.fromkeys(samples["strategy"]))
    figure = Figure(figsize=(WIDTH, 2.0 * len(names) + 0.4), layout="constrained")
    grid = figure.subplots(len(names), 2, squeeze=False, sharex=True, sharey="col", width_ratios=[1.15, 1])
    for (left, right), name in zip(grid, names, strict=True):
        part = samples[samples["strategy"] == name]
        _pages(left, part, name, seconds, float(samples[["ptp_live", "pool_held", "pool_idle"]].max().max()))
        _low(right, part, name, reserve.get(name))
    grid[0, 1].set_ylim(0, max(2.0, float(samples["reserve_low"].max())) * 1.6)
    grid[-1, 0].set_xlim(0, seconds)
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    return figure


def carried(samples: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Samples with every value kept until it changes, and until the end of the recording.

    The time line holds a value only where it changed; a step without a lowest level was never below what is cached.
    """
    parts = []
    for _, part in samples.groupby("strategy", sort=False):
        kept = part.sort_values("t_s")
        kept = pd.concat([kept, kept.tail(1).assign(t_s=max(seconds, kept["t_s"].max()), reserve_low=float("nan"))])
        state = ["ptp_live", "pool_held", "pool_idle"]
        kept[state] = kept[state].ffill()
        kept["reserve_low"] = kept["reserve_low"].fillna(kept["pool_idle"])
        parts.append(kept)
    return pd.concat(parts, ignore_index=True)


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
    axis.set_yticks([0, 4, 8, 64, 512, 4096, 32768])
    axis.minorticks_off()
    thousands(axis.yaxis)
    axis.set_ylabel("fewest pages cached")
    if known.empty:
        axis.text(0.5, 0.5, "not recorded by the replay", transform=axis.transAxes, ha="center", color=INK)
        return
    axis.step(known["t_s"], known["reserve_low"], where="post", color=colour(name), linewidth=1.2)
    if reserve is None:
        _title(axis, "no reserve")
        return
    dips = known[known["reserve_low"] < reserve]
    axis.axhline(reserve, color=INK, linewidth=0.9, linestyle="dashed")
    if len(dips):  # an empty line with clip_on off has an extent of its own, at the corner of the figure
        axis.plot(dips["t_s"], dips["reserve_low"], "v", markersize=4.5, color=INK, clip_on=False)
    below = f"below it in {len(dips)} of {len(known)} steps" if len(dips) else "never below it"
    _title(axis, f"reserve {reserve} (dashed), {below}")


def _title(axis: Axes, text: str) -> None:
    """A title that may be wider than its panel: left to the layout, it would push the panels to nothing."""
    axis.set_title(text, fontweight="normal").set_in_layout(False)
