"""Where the choice matters: what each strategy pays, by how fragmented free memory is."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.case import Case
from reports.formats import listed, percent
from reports.ranking import to, two_digits
from reports.section import Drawn, Section
from reports.style import INK, QUIET, WIDTH, colour, line, marker, written
from reports.tables import frame

_KINDS = {"recorded": INK, "worn": "#8c8c8c", "fragmented on purpose": "#cc3311"}
_COSTS = ("splits", "tables", "memory", "more")
"""First words of the panels' titles, in their order."""
_SAME = 3.0
"""Splits for 1,000 page tables by which pools may differ and be called the same."""


def draw(rows: pd.DataFrame) -> Figure:
    """A panel for each cost: fragmentation across, the cost upwards, and real machines as ticks at the foot.

    Args:
        rows: of query ``choice``.
    """
    paid, machines = rows[rows["what"] != "machine"], rows[rows["what"] == "machine"]
    costs = sorted(paid["what"].unique(), key=lambda cost: _COSTS.index(cost.split()[0]))
    rows_of_two = -(-len(costs) // 2)
    figure = Figure(figsize=(WIDTH, 1.0 + 2.5 * rows_of_two), layout="constrained")
    axes = list(figure.subplots(rows_of_two, min(2, len(costs)), squeeze=False).flat)
    for spare in axes[len(costs) :]:
        spare.remove()
    for axis, cost in zip(axes, costs, strict=False):
        blocks = cost.startswith(("splits", "tables"))
        _panel(axis, paid[paid["what"] == cost])
        axis.set_title(cost)
        axis.set_xlabel(
            f"free memory in pieces smaller than\n{'a large page' if blocks else 'four pages'} at the start, %",
            fontsize=8,
        )
        _machines(axis, machines, "x" if blocks else "y")
    names = list(dict.fromkeys(paid["strategy"]))
    handles = [
        Line2D([], [], color=colour(name), linestyle=line(name), marker=marker(name), markersize=5, label=name)
        for name in names
    ]
    handles += [
        Line2D([], [], color=ink, marker="|", linestyle="none", label=f"machines {kind}")
        for kind, ink in _KINDS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=7.5, frameon=False)
    return figure


def _panel(axis: Axes, paid: pd.DataFrame) -> None:
    own, others = paid[paid["own"]].sort_values("x"), paid[~paid["own"]]
    names = list(dict.fromkeys(own["strategy"]))
    for i, name in enumerate(names):  # beside each other, so that all can be seen
        part = own[own["strategy"] == name]
        x, y = 100 * part["x"].to_numpy(float) + 0.7 * (i - len(names) / 2), part["y"].to_numpy(float)
        low, high = (part[end].fillna(part["y"]).to_numpy(float) for end in ("low", "high"))
        axis.vlines(x, low, high, color=colour(name), linewidth=1.6, alpha=0.6)
        axis.plot(x, y, color=colour(name), linestyle=line(name), marker=marker(name), markersize=5, linewidth=0.9)
    axis.plot(100 * others["x"].to_numpy(float), others["y"].to_numpy(float), ".", color=QUIET, markersize=5, zorder=1)
    least, most = float(paid[["y", "low"]].min().min()), float(paid[["y", "high"]].max().max())
    if least > 0 and most > 4 * least:
        axis.set_yscale("log", base=2)
        axis.set_ylim(least / 2, most * 1.3)
    elif most > 50:
        axis.set_yscale("symlog", linthresh=10)
        axis.set_ylim(min(least, -8), most * 3)
    else:
        axis.set_ylim(-0.14 * most, 1.1 * most or 1.0)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.set_xlim(-7, 107)


def _machines(axis: Axes, machines: pd.DataFrame, column: str) -> None:
    """Ticks at the foot of a panel: where free memory of real machines lay."""
    for height, (kind, ink) in zip((0.02, 0.05, 0.08), _KINDS.items(), strict=True):
        found = np.unique((100 * machines[machines["strategy"] == kind][column].to_numpy(float)).round())
        axis.plot(
            found, [height] * len(found), "|", color=ink, markersize=6, alpha=0.7, transform=axis.get_xaxis_transform()
        )


def caption(rows: pd.DataFrame) -> str:
    """Where the pools are the same, and what they pay at the most fragmented machine."""
    own = {cost: rows[rows["own"] & rows["what"].str.startswith(cost)] for cost in _COSTS}
    said = [_splits(own["splits"]), _failed(own["tables"]), _memory(own["memory"])]
    said += ["Ticks at the foot: free memory of real machines. Grey: other recordings; bars: variants of reclaim."]
    return " ".join(part for part in said if part)


def _splits(own: pd.DataFrame) -> str:
    ends = own.groupby("x")["y"].agg(["min", "max"])
    apart = ends["max"] - ends["min"] > _SAME
    said = []
    if not apart.all():
        most = ends[~apart]
        said.append(
            f"With {percent(most.index.max())} of free memory outside whole large pages, the pools' splits differ by "
            f"{two_digits(float((most['max'] - most['min']).max()))} for 1,000 page tables at most: the choice hardly "
            "matters."
        )
    for x, worst in ends[apart].tail(1).iterrows():
        span = to(worst["min"], worst["max"], two_digits)
        said.append(f"With {percent(float(str(x)))} outside, they split {span} large pages for 1,000 page tables.")
    return " ".join(said)


def _failed(own: pd.DataFrame) -> str:
    worst = own[own["x"] == own["x"].max()]
    failed = [str(name) for name in worst.loc[worst["y"] > 0, "strategy"]]
    return f"There, {listed(failed)} could not supply all page tables." if failed else ""


def _memory(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "How much memory each wants before it fails was not measured here: `ptpool replay risk`."
    most = rows[rows["x"] == rows["x"].max()]
    span = to(most["y"].min(), most["y"].max(), two_digits)
    share = percent(most["x"].iloc[0])
    return (
        f"With {share} in pieces smaller than four pages, they fail at {span} times the free memory of today's kernel."
    )


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["choice"]
    rows = frame(answer).astype(dict.fromkeys(("x", "y", "low", "high"), "float64"))
    own = rows[rows["own"]]
    if own.empty:
        return [
            Drawn("Nothing to draw: no pool splits a large page here, and `ptpool replay risk` was not run for it.")
        ]
    return [Drawn(caption(rows), "where-the-choice-matters", answer, written(draw(rows)))]


SECTION = Section("choice", "Where does the choice matter?", figures=_figures)
