"""Splits over time: how many large pages of the direct map each strategy has split so far."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.case import Case
from reports.formats import listed, span
from reports.section import Drawn, Section
from reports.style import QUIET, alike, colour, labels_at_end, panels, thousands, title, written
from reports.tables import frame

_STEPS = 240
"""Steps into which the query cuts the recording."""


def caption(case: Case) -> str:
    """The finding of the figure."""
    if case.all_4k:
        return "The direct map is all in small pages: there is nothing to split."
    splits = {name: total for name in case.protecting if (total := case.run_time_splits(name)) is not None}
    none = [name for name, total in splits.items() if not total]
    if len(none) == len(splits):
        return "No strategy split a large page at run time."
    text = f"Large pages split since the recording began: {span(splits)}; strategies that split the same at the same times share a panel."
    return text + (f" None: {listed(none)}." if none else "")


def curves(steps: pd.DataFrame) -> dict[str, np.ndarray]:
    """By strategy, the splits so far at the end of each step of the recording, from strategy, step, splits."""
    found = {}
    for name, part in steps.groupby("strategy", sort=False):
        counts = np.zeros(_STEPS + 1)
        np.add.at(counts, part["step"].to_numpy(dtype=int) + 1, part["splits"].to_numpy(dtype=float))
        found[str(name)] = counts.cumsum()
    return found


def draw(steps: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One panel per group of strategies that split the same, with the others in the background.

    Args:
        steps: strategy, step, splits: new splits per step, where there were any.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    lines = curves(steps)
    groups, times = alike(lines), np.linspace(0, seconds, _STEPS + 1)
    top = max(line[-1] for line in lines.values())
    figure, axes = panels(len(groups), height=1.7, columns=3)
    for axis, (name, names) in zip(axes, groups.items(), strict=True):
        for other in groups:
            axis.step(times, lines[other], where="post", color=QUIET, linewidth=0.8, zorder=1)
        axis.step(times, lines[name], where="post", color=colour(name), zorder=3)
        axis.set_title(title(names, 34), fontsize=8)
        axis.set(xlim=(0, seconds), ylim=(0, top * 1.08 + 0.2))
        labels_at_end(axis, [(f"{lines[name][-1]:,.0f}", lines[name][-1], colour(name))], seconds, top * 1.05)
        axis.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
        thousands(axis.yaxis)
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("large pages split so far", fontsize=9)
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, said = case.answers["splits_over_time"], caption(case)
    if not answer.rows or case.all_4k or not case.capture["seconds"]:
        return [Drawn(said)]
    images = written(draw(frame(answer), case.capture["seconds"], case.time_unit))
    return [Drawn(said, "splits-over-time", answer, images)]


SECTION = Section("splits", "When is the direct map split, and by whom?", figures=_figures)
