"""What all figures share: the style sheet, a strategy's colours, panels, labels kept apart, and writing to bytes."""

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
from matplotlib.ticker import FuncFormatter

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


def line(strategy: str) -> str:
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


def thousands(axis: Any) -> None:
    """Write whole numbers with separators on an axis."""
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}")
    )


def duration_rows(axis: Axes, names: Sequence[str] | pd.Series) -> None:
    """One row per name, with durations in ns along the axis."""
    axis.set_yticks(range(len(names)), [str(name) for name in names])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(FuncFormatter(lambda ns, _: duration(ns)))


def spread(values: Sequence[float], sizes: npt.ArrayLike, low: float, high: float) -> list[float]:
    """Places for labels of the heights `sizes`: near `values`, apart, and inside low..high if they fit."""
    order = np.argsort(np.asarray(values, dtype=float), kind="stable")
    places = np.asarray(values, dtype=float)[order]
    heights = np.broadcast_to(np.asarray(sizes, dtype=float), places.shape)[order]
    gaps = (heights[1:] + heights[:-1]) / 2
    for _ in range(60):  # each round pushes every pair that is too close apart, by half of what it lacks on either side
        lacking = np.maximum(gaps - np.diff(places), 0) / 2
        places[:-1] -= lacking
        places[1:] += lacking
        places = np.clip(places, low, high)
    moved = np.empty_like(places)
    moved[order] = places
    return [float(place) for place in moved]


def labels_at_end(
    axis: Axes, ends: Sequence[tuple[str, float, str]], right: float, top: float, gap: float = 0.125
) -> None:
    """Labels to the right of curves, at the height where each ends, moved apart.

    Args:
        axis: the panel.
        ends: text, height and colour of each.
        right: where the curves end.
        top: height of the panel.
        gap: height of a line of text, as a share of `top`.
    """
    heights = [gap * top * (1 + text.count("\n")) for text, *_ in ends]
    places = spread([end for _, end, _ in ends], heights, 0, top)
    for (text, _, ink), place in zip(ends, places, strict=True):
        axis.annotate(
            text, (right, place), xytext=(4, 0), textcoords="offset points", va="center", color=dark(ink),
            fontsize=8.5, annotation_clip=False,
        )  # fmt: skip


def levels(samples: pd.DataFrame, columns: str | list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """By strategy, the `columns` at every time in `samples`, which hold a value only where it changed."""
    times = np.unique(samples["t_s"])
    parts = {
        str(name): part.drop_duplicates("t_s", keep="last").set_index("t_s")[columns]
        for name, part in samples.groupby("strategy", sort=False)
    }
    return {name: part.reindex(times, method="ffill").to_numpy(dtype=float) for name, part in parts.items()}


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
