"""What all figures share: the style sheet, a strategy's colours, panels, labels kept apart, and writing to bytes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reports.case import strategies

WIDTH = 9.6
"""Inches: 960 px, the width of a page of text on a laptop."""

QUIET = "#c8c8c8"
INK = "#222222"


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and write figures in the house's style, whatever the user's own settings are."""
    sheet = str(files("reports").joinpath("ptpool.mplstyle"))
    with mpl.style.context(["default", sheet]):
        yield


def colour(strategy: str) -> str:
    """The strategy's colour, the same in every figure."""
    return strategies().get(strategy, {}).get("colour", INK)


def line(strategy: str) -> str:
    """The strategy's line style."""
    return strategies().get(strategy, {}).get("line", "solid")


def panels(count: int, *, height: float = 2.1, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure with `count` equal panels on common axes, row by row; places left over stay empty."""
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


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart: places near `values`, at least `gap` from each other, inside low..high if they fit."""
    order = np.argsort(np.asarray(values, dtype=float), kind="stable")
    places = np.asarray(values, dtype=float)[order]
    for _ in range(60):  # each round pushes every pair that is too close apart by what it lacks, half to either side
        lacking = np.maximum(gap - np.diff(places), 0) / 2
        places[:-1] -= lacking
        places[1:] += lacking
        places = np.clip(places, low, high)
    moved = np.empty_like(places)
    moved[order] = places
    return [float(place) for place in moved]


def written(figure: Figure) -> dict[str, bytes]:
    """The figure as ``svg`` and ``png`` (twice the screen's resolution), the same bytes for the same data."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "ptpool"})
    figure.savefig(png, format="png", metadata={"Software": "ptpool"})
    return {"svg": svg.getvalue(), "png": png.getvalue()}
