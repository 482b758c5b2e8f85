"""Coverage: the share of the direct map that is mapped at 4K, over time."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import listed
from reports.section import Drawn, Section
from reports.style import WIDTH, alike, colour, labels_at_end, levels, line, title, written
from reports.tables import frame

_UNSEEN = 0.003
"""Curves closer to each other than this share of the largest, on average, are drawn as one."""

_NEARLY_ALL = 0.99


def groups(samples: pd.DataFrame) -> dict[str, list[str]]:
    """Strategies whose curves look the same, from strategy, t_s, share_4k (where it changed)."""
    series = levels(samples, "share_4k")
    top = max(float(np.nanmax(values)) for values in series.values())
    return alike(series, _UNSEEN * top, np.mean)


def draw(samples: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """One panel with a curve per group of strategies that look the same.

    Args:
        samples: strategy, t_s, share_4k, where it changed.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    drawn = groups(samples)
    labels = {name: title(names, 34) for name, names in drawn.items()}
    lines = sum(1 + text.count("\n") for text in labels.values())
    height = max(2.6, 0.2 * lines + 0.9)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    top = max(100 * float(samples["share_4k"].max()) * 1.08, 0.01)
    ends = []
    for name in drawn:
        part = samples[samples["strategy"] == name]
        shares = 100 * part["share_4k"].to_numpy(dtype=float)
        axis.step(
            [*part["t_s"], seconds], [*shares, shares[-1]], where="post", color=colour(name), linestyle=line(name)
        )
        ends.append((f"{labels[name]} {shares[-1]:.3g} %", shares[-1], colour(name)))
    axis.set(xlim=(0, seconds), ylim=(0, top))
    axis.margins(x=0)
    labels_at_end(axis, ends, seconds, top, gap=0.17 / (0.77 * height))
    axis.set_xlabel(f"{unit} from the start of the recording")
    axis.set_ylabel("direct map mapped at 4K, %")
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["coverage_over_time"]
    ends = {row["strategy"]: row["share_4k"] for row in answer.records()}
    if not ends:
        return [Drawn("The replay recorded no share at 4K over time: there is nothing to draw.")]
    whole = [name for name, share in ends.items() if share > _NEARLY_ALL]
    left_out = f" Not drawn, because all 4K from the start: {listed(whole)}." if whole else ""
    if len(whole) == len(ends) or not case.capture["seconds"]:
        return [Drawn(f"There is nothing to draw.{left_out}")]
    samples = frame(answer).astype({"share_4k": "float64"})
    samples = samples[~samples["strategy"].isin(whole)]
    images = written(draw(samples, case.capture["seconds"], case.time_unit))
    caption = f"Each curve is the share of the direct map at 4K.{left_out}"
    return [Drawn(caption, "coverage-over-time", answer, "coverage-over-time", images)]


SECTION = Section("coverage", figures=_figures)
