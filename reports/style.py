"""What all figures share: the style sheet, a strategy's colours, panels, curves over time, and writing to bytes."""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.case import Look
from reports.formats import duration

WIDTH = 9.6
"""Inches: 960 px, the width of a page of text on a laptop."""

QUIET = "#c8c8c8"
INK = "#222222"
_looks: ContextVar[Mapping[str, Look]] = ContextVar("_looks", default=MappingProxyType({}))


@contextmanager
def house_style(looks: Mapping[str, Look]) -> Iterator[None]:
    """Draw and write figures in the house's style, whatever the user's own settings are.

    Args:
        looks: of strategies, by name: what `colour`, `line` and `marker` give.
    """
    sheet = str(files("reports").joinpath("ptpool.mplstyle"))
    before = _looks.set(looks)
    try:
        with mpl.style.context(["default", sheet]):
            yield
    finally:
        _looks.reset(before)


def _look(strategy: str) -> Look:
    return _looks.get().get(strategy, Look())


def colour(strategy: str) -> str:
    """The strategy's colour, the same in every figure."""
    return _look(strategy).colour


def dark(ink: str) -> tuple[float, float, float]:
    """A colour for text: the line's, dark enough to be read on white."""
    red, green, blue = (0.65 * part for part in to_rgb(ink))
    return red, green, blue


def line(strategy: str) -> Any:
    """The strategy's line style."""
    return _look(strategy).line


def marker(strategy: str) -> str:
    """The strategy's marker."""
    return _look(strategy).marker


def panels(count: int, *, height: float = 2.1, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure with `count` equal panels on common axes, row by row."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.35), layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    for i, axis in enumerate(axes[:count]):
        if i + columns >= count:  # nothing below it: it carries the labels of the shared axis
            axis.tick_params(labelbottom=True)
    return figure, axes[:count]


def duration_rows(axis: Axes, names: Sequence[str] | pd.Series) -> None:
    """One row per name, with durations in ns along the axis."""
    axis.set_yticks(range(len(names)), [str(name) for name in names])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(FuncFormatter(lambda ns, _: duration(ns)))


def over_time(steps: pd.DataFrame, seconds: float, unit: str, words: str, *, from_0: bool = False) -> Figure:
    """A panel per group of strategies whose curves look the same, between the least and the most of all in grey.

    Args:
        steps: strategy, step, value: what it is from a step of 1/120 of the recording on, where it changed.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
        words: what a value counts.
        from_0: whether it begins at 0, and not with the first known value.
    """
    lines = {}
    for name, part in steps.groupby("strategy", sort=False):
        known = part.set_index("step")["value"].astype(float)
        whole = known.reindex(range(121), method="ffill")
        lines[str(name)] = (whole.fillna(0.0) if from_0 else whole.bfill()).to_numpy()
    top, times = max(1.0, *(float(curve.max()) for curve in lines.values())), np.linspace(0, seconds, 121)
    groups = alike(lines, 0.02 * top, np.mean)
    others = [np.nan_to_num(end([lines[name] for name in groups], axis=0)) for end in (np.min, np.max)]
    figure, axes = panels(len(groups), height=1.7, columns=3)
    for axis, (name, names) in zip(axes, groups.items(), strict=True):
        axis.fill_between(times, others[0], others[1], step="post", color="#ececec", linewidth=0, zorder=1)
        axis.step(times, lines[name], where="post", color=colour(name), zorder=3)
        last = lines[name][-1]
        axis.annotate(f"{last:,.0f}", (seconds, last), xytext=(4, 0), textcoords="offset points", va="center",
                      color=dark(colour(name)), fontsize=8.5, annotation_clip=False)  # fmt: skip
        axis.set_title(title(names, 34), fontsize=8)
        axis.set(xlim=(0, seconds), ylim=(0, 1.08 * top))
        axis.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel(words, fontsize=9)
    return figure


def alike(
    series: Mapping[str, npt.ArrayLike], within: float = 0.0, apart: Callable[[Any], Any] = np.max
) -> dict[str, list[str]]:
    """Group strategies whose series lie on each other, to draw them once.

    Args:
        series: numbers by strategy, all of the same shape.
        within: the largest difference that cannot be seen.
        apart: which difference counts: the largest, or the mean.

    Returns:
        By the first strategy of a group, all of its names, in the order given.
    """
    groups: dict[str, list[str]] = {}
    for name, values in series.items():
        first = next((one for one in groups if _apart(series[one], values, apart) <= within), name)
        groups.setdefault(first, []).append(name)
    return groups


def _apart(one: npt.ArrayLike, other: npt.ArrayLike, apart: Callable[[Any], Any]) -> float:
    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
        return float("inf")
    return float(apart(np.nan_to_num(np.abs(a - b)))) if a.size else 0.0


def title(names: Sequence[str], width: int = 46) -> str:
    """The names of a group as the title of its panel, broken between names."""
    return "\n".join(textwrap.wrap(", ".join(names), width, break_long_words=False, break_on_hyphens=False))


def written(figure: Figure) -> dict[str, bytes]:
    """The figure as ``svg`` and ``png`` (twice the screen's resolution), the same bytes for the same data."""
    svg, png = io.BytesIO(), io.BytesIO()
    if figure.get_layout_engine() is not None:  # lay it out once, not again for each format
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "ptpool"})
    figure.savefig(png, format="png", metadata={"Software": "ptpool"})
    return {"svg": svg.getvalue(), "png": png.getvalue()}
