"""Splits over time: how many leaves of the direct map each strategy has split so far, and why."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.case import Case
from reports.formats import listed
from reports.section import Drawn, Section
from reports.style import INK, QUIET, alike, colour, labels_at_end, panels, thousands, title, written
from reports.tables import frame

_CAUSE_LINES = {"refill": (0, (4, 1.5)), "outside": (0, (1, 1.2)), "shrink": (0, (6, 1.5, 1, 1.5)), "ptp": (0, (2, 1))}
_STEPS = 240
"""Steps into which the queries cut the recording."""


def caption(case: Case) -> str:
    """The finding of the figure."""
    if case.all_4k:
        return "The direct map is all 4K: splits are not applicable, and there is nothing to draw."
    drawn = {row["strategy"] for row in case.answers["splits_over_time"].records()}
    none, flat = (
        [name for name in case.metrics if name not in drawn and case.run_time_splits(name) == total]
        for total in (0, None)
    )
    said = ["The curves count splits at run time, without those before the first event."] if drawn else []
    said += [f"No splits: {listed(none)}."] if none else []
    said += [f"Not applicable: {listed(flat)}."] if flat else []
    return " ".join(said)


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


def groups(steps: pd.DataFrame, seconds: float) -> dict[str, list[str]]:
    """Strategies that split at the same times for the same causes."""
    causes = list(dict.fromkeys(steps["cause"]))
    series = {}
    for name, part in steps.groupby("strategy", sort=False):
        counts = np.zeros((len(causes), _STEPS + 1))
        places = np.rint(part["t_s"] / seconds * _STEPS).astype(int).clip(0, _STEPS)
        np.add.at(counts, ([causes.index(cause) for cause in part["cause"]], places), part["splits"].astype(int))
        series[str(name)] = counts
    return alike(series)


def draw(steps: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One panel per group of strategies that split the same: its total, each cause, and the others in the background.

    Args:
        steps: as for ``curves``.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    lines = curves(steps, seconds)
    drawn = groups(steps, seconds)
    top = int(lines["splits"].max())
    figure, axes = panels(len(drawn))
    for axis, (name, names) in zip(axes, drawn.items(), strict=True):
        for other in drawn:
            if other != name:
                _step(axis, lines, other, "total", color=QUIET, linewidth=1.0, zorder=1)
        causes = list(dict.fromkeys(steps.loc[steps["strategy"] == name, "cause"]))
        _step(axis, lines, name, "total", color=colour(name), zorder=3)
        ends = [("total" if len(causes) > 1 else f"all {causes[0]}", _last(lines, name, "total"), colour(name))]
        for cause in causes if len(causes) > 1 else []:
            how = {"color": INK, "linewidth": 1.1, "linestyle": _CAUSE_LINES.get(cause, "dashed"), "zorder": 4}
            _step(axis, lines, name, cause, **how)
            ends.append((cause, _last(lines, name, cause), INK))
        axis.set_title(title(names))
        axis.set(xlim=(0, seconds), ylim=(0, top * 1.08 + 0.2))
        axis.margins(x=0)
        labels_at_end(axis, [(f"{label} {end:,}", end, ink) for label, end, ink in ends], seconds, top * 1.05)
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


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, said = case.answers["splits_over_time"], caption(case)
    if not answer.rows or case.all_4k or not case.capture["seconds"]:
        return [Drawn(said)]
    images = written(draw(frame(answer), case.capture["seconds"], case.time_unit))
    return [Drawn(said, "splits-over-time", answer, "splits-over-time", images)]


SECTION = Section("splits", figures=_figures)
