"""Share of the direct map at 4K over time: one panel, a curve per group of strategies that cannot be told apart."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.style import WIDTH, alike, colour, labels_at_end, line, title

_UNSEEN = 0.003


def groups(samples: pd.DataFrame) -> dict[str, list[str]]:
    """Strategies whose shares cannot be told apart, from strategy, t_s, share_4k (where it changed)."""
    times = np.unique(samples["t_s"])
    series = {}
    for name, part in samples.groupby("strategy", sort=False):
        series[str(name)] = part.set_index("t_s")["share_4k"].reindex(times, method="ffill").to_numpy(dtype=float)
    top = max(float(np.nanmax(values)) for values in series.values())
    return alike(series, _UNSEEN * top, np.mean)


def draw(samples: pd.DataFrame, seconds: float, unit: str) -> Figure:
    """Draw the curves.

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
