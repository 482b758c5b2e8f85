"""Trade-offs between what the strategies cost: two costs at a time."""

import math

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reports.case import Case
from reports.formats import listed
from reports.section import Drawn, Section
from reports.style import WIDTH, colour, labels_beside, marker, thousands, written
from reports.tables import frame

COSTS = (
    ("share", "direct map at 4K (time mean), %"),
    ("idle", "idle pages in pools (time mean)"),
    ("per_table", "permission changes: modelled ns per page table"),
)
PAIRS = (("share", "idle"), ("per_table", "idle"))


def front(points: pd.DataFrame, x: str, y: str) -> list[str]:
    """Strategies that no other beats on one of two costs without losing on the other, from the least `x` on."""
    found: list[str] = []
    least = np.inf
    for row in points.sort_values([x, y], kind="stable").to_dict("records"):
        if row[y] < least or (found and row[y] == least and _same(points, found[-1], str(row["strategy"]), x, y)):
            found.append(str(row["strategy"]))
            least = min(least, float(row[y]))
    return found


def _same(points: pd.DataFrame, one: str, other: str, x: str, y: str) -> bool:
    at = points.set_index("strategy")[[x, y]]
    return bool((at.loc[one] == at.loc[other]).all())


def draw(points: pd.DataFrame) -> Figure:
    """A panel per pair of costs; hollow markers failed to supply something.

    Args:
        points: strategy, share (per cent), idle (pages), per_table (ns), failures.
    """
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    words = dict(COSTS)
    for axis, (x, y) in zip(figure.subplots(1, len(PAIRS)), PAIRS, strict=True):
        known = points.dropna(subset=[x, y])
        _scale(axis, known, x, y)
        line = known.set_index("strategy").loc[front(known[known["failures"] == 0], x, y)]
        axis.plot(line[x], line[y], drawstyle="steps-post", color="#9a9a9a", linewidth=1.0, zorder=1)
        for row in known.to_dict("records"):
            name = str(row["strategy"])
            axis.plot(
                [row[x]], [row[y]], marker(name), markersize=7.5, color=colour(name), zorder=3,
                markerfacecolor="none" if row["failures"] else colour(name), markeredgewidth=1.6,
            )  # fmt: skip
        named = [(row[x], row[y], row["strategy"], colour(row["strategy"])) for row in known.to_dict("records")]
        labels_beside(axis, named)
        axis.set_xlabel(words[x])
        axis.set_ylabel(words[y])
    return figure


def _scale(axis: Axes, known: pd.DataFrame, x: str, y: str) -> None:
    for which, column in (("x", x), ("y", y)):
        values = known[column].to_numpy(dtype=float)
        least = float(values[values > 0].min()) if (values > 0).any() else 1.0
        linear_to = 10.0 ** math.floor(math.log10(least))  # a tick of its own, so that none crowds the one at 0
        getattr(axis, f"set_{which}scale")("symlog", linthresh=linear_to, linscale=0.4)
        getattr(axis, f"{which}axis").set_minor_locator(NullLocator())
        thousands(getattr(axis, f"{which}axis"))
        getattr(axis, f"set_{which}lim")(
            -0.25 * linear_to if (values <= 0).any() else 0.7 * least, float(values.max()) * 1.9
        )


_WORDS = {"share": "share of the map at 4K", "idle": "idle pages", "per_table": "time in permission changes"}


def _points(case: Case) -> pd.DataFrame:
    rows = frame(case.answers["trade_offs"]).set_index("strategy").astype("float64").reset_index()
    points = pd.DataFrame({
        "strategy": rows["strategy"],
        "share": 100 * rows["pte_share_mean"],
        "idle": rows["pool_idle_pages_mean"].fillna(0),  # no pool: nothing lies idle
        "per_table": rows["conversion_ns"] / rows["ptp_allocs"],
        "failures": rows["failures"],
    })  # fmt: skip
    for cost, _ in COSTS:  # three digits: what differs by less is not told apart
        points[cost] = [float(f"{value:.3g}") for value in points[cost]]
    return points


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    points = _points(case)
    points = points[points["strategy"] != "unprotected"]
    sound = points[points["failures"] == 0]
    if len(sound) < 2 or sound[["share", "per_table"]].isna().all().any():
        return [Drawn("Fewer than two strategies that supplied everything were measured: there is nothing to weigh.")]
    said = []
    for x, y in PAIRS:
        best = front(sound.dropna(subset=[x, y]), x, y)
        said.append(f"by {_WORDS[x]} and {_WORDS[y]}, none beats {listed(best, 'or')} on both")
    failed = [str(name) for name in points.loc[points["failures"] > 0, "strategy"]]
    hollow = f" Hollow, because it could not supply everything: {listed(failed)}." if failed else ""
    text = f"{'; '.join(said)}.{hollow}"
    caption = text[0].upper() + text[1:]
    return [Drawn(caption, "trade-offs", case.answers["trade_offs"], "trade-offs", written(draw(points)))]


SECTION = Section("trade_offs", figures=_figures)
