"""Splits over time: how many leaves of the direct map each strategy has split so far, and why."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.style import INK, QUIET, colour, panels, spread, thousands

_CAUSE_LINES = {"refill": (0, (4, 1.5)), "outside": (0, (1, 1.2)), "shrink": (0, (6, 1.5, 1, 1.5)), "ptp": (0, (2, 1))}


def curves(steps: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Cumulative splits as step curves from 0 to the end of the recording.

    Args:
        steps: strategy, cause, t_s, splits: new splits per step, where there were any.
        seconds: length of the recording.

    Returns:
        strategy, cause (``total`` for all of them), t_s, splits so far; every curve starts and ends with the recording.
    """
    total = steps.groupby(["strategy", "t_s"], sort=False, as_index=False)["splits"].sum().assign(cause="total")
    parts = []
    for (strategy, cause), part in pd.concat([total, steps]).groupby(["strategy", "cause"], sort=False):
        steps_of = part.sort_values("t_s")
        times = [0.0, *steps_of["t_s"]]
        sums = [0, *steps_of["splits"].cumsum().astype(int)]
        curve = {"t_s": [*times, max(seconds, times[-1])], "splits": [*sums, sums[-1]]}
        parts.append(pd.DataFrame({"strategy": strategy, "cause": cause, **curve}))
    return pd.concat(parts, ignore_index=True)


def draw(steps: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One panel per strategy that split anything: its total, each cause, and the others' totals in the background.

    Args:
        steps: as for ``curves``.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    lines = curves(steps, seconds)
    names = list(dict.fromkeys(steps["strategy"]))
    top = int(lines["splits"].max())
    figure, axes = panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        for other in names:
            if other != name:
                _step(axis, lines, other, "total", color=QUIET, linewidth=1.0, zorder=1)
        causes = list(dict.fromkeys(steps.loc[steps["strategy"] == name, "cause"]))
        _step(axis, lines, name, "total", color=colour(name), zorder=3)
        ends = [("total" if len(causes) > 1 else f"all {causes[0]}", _last(lines, name, "total"), colour(name))]
        if len(causes) > 1:
            for cause in causes:
                _step(
                    axis,
                    lines,
                    name,
                    cause,
                    color=INK,
                    linewidth=1.1,
                    linestyle=_CAUSE_LINES.get(cause, "dashed"),
                    zorder=4,
                )
                ends.append((cause, _last(lines, name, cause), INK))
        axis.set_title(name)
        axis.set(xlim=(0, seconds), ylim=(0, top * 1.08 + 0.2))
        axis.margins(x=0)
        places = spread([end for _, end, _ in ends], 0.125 * (top * 1.08 + 0.2), 0, top * 1.05)
        for (label, end, ink), place in zip(ends, places, strict=True):
            axis.annotate(
                f"{label} {end:,}", (seconds, place), xytext=(4, 0), textcoords="offset points", va="center",
                color=ink, fontsize=8.5, annotation_clip=False,
            )  # fmt: skip
        axis.yaxis.set_major_locator(MaxNLocator("auto", integer=True))  # there is no half a leaf
        thousands(axis.yaxis)
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("leaves split so far", fontsize=9)
    return figure


def _step(axis: Axes, lines: pd.DataFrame, strategy: str, cause: str, **how: object) -> None:
    part = lines[(lines["strategy"] == strategy) & (lines["cause"] == cause)]
    axis.step(part["t_s"], part["splits"], where="post", **how)  # type: ignore[arg-type]


def _last(lines: pd.DataFrame, strategy: str, cause: str) -> int:
    return int(lines[(lines["strategy"] == strategy) & (lines["cause"] == cause)]["splits"].iloc[-1])
