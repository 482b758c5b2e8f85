"""How many CPUs can share a pool: lock waiting by number of CPUs and price of a key change."""

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from reports.case import Case
from reports.formats import duration, listed, number, size
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, colour, written
from reports.tables import frame

NOT_SIMULATED = "Not simulated yet: `ptpool replay contention` does that."


def constants(case: Case, costs: str = "built-in") -> dict[str, dict[str, float]]:
    """Low, typical and high of each constant of a cost profile."""
    rows = case.answers["cost_constants"].records()
    return {row["constant"]: row for row in rows if row["costs"] == costs}


def setting(case: Case) -> str:
    """What every CPU does, and how certain the time under the list's lock is."""
    rows = case.answers["contention"].records()
    if not rows:
        return ""
    held = {
        end: sum(constants(case, rows[0]["costs"])[name][end] for name in ("hit_ns", "handoff_ns"))
        for end in ("low", "typical", "high")
    }
    rate, basis = number(round(rows[0]["tables_per_s"], -2)), rows[0]["basis"]
    typical, low, high = (duration(held[end]) for end in ("typical", "low", "high"))
    return (
        f"Each CPU asks for {rate} page tables per second ({basis}), and every table stays in use: the hardest case, "
        "in which every table has to come from a refill; a pool that gets tables back refills less. The list is locked "
        f"for {typical} per table when it comes from another CPU ({low} to {high}: an assumption). Half the rate, or "
        "half that time, allows twice as many CPUs."
    )


def caption(case: Case) -> str:
    """What the figure shows."""
    rows = case.answers["contention"].records()
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    crossed = {row["variant"] for row in rows if row["lock_wait_share"] > 0.05}
    never = [name for name in variants if name not in crossed]
    text = (
        "To the right of its line a variant spends more than 5 % of page-table allocation time waiting for locks; the "
        "label at the dot is the memory that it holds unused there. Dotted: the cost of a key change on that many "
        "CPUs, by the cost profile. Allocation time includes the key change: where that dominates, waiting is a "
        "smaller share."
    )
    return text + (f" No line, because never above 5 %: {listed(never)}." if never else "")


LIMIT = 0.05
_PANELS = {9: "free 2M blocks for every refill", 2: "no more than four pages free"}
_MARKED = (2.2, 5.0, 3.0, 4.0, 4.5)
"""Where the label of each variant stands, apart from the others: log10 of ns."""
_LINES = ("solid", (0, (5, 1.5)), (0, (1, 1)))


def draw(points: pd.DataFrame, change_ns: Callable[[float], float], page_size: int) -> Figure:
    """A panel for refills of 2M blocks and one for refills of four pages.

    Args:
        points: variant, strategy, free_order, cpus, change_ns, lock_wait_share, held_pages_mean: a full grid.
        change_ns: what the cost profile takes a key change to cost on so many CPUs.
        page_size: bytes.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    names = {str(name): str(strategy) for name, strategy in zip(points["variant"], points["strategy"], strict=True)}
    styles = _styles(names)
    for axis, (order, title) in zip(panels, _PANELS.items(), strict=True):
        for i, (name, strategy) in enumerate(names.items()):
            part = points[(points["variant"] == name) & (points["free_order"] == order)]
            _line(axis, part, colour(strategy), styles[name], page_size, _MARKED[i % len(_MARKED)])
        cpus = np.array(sorted(points["cpus"].unique()), dtype=float)
        axis.plot(np.log2(cpus), [np.log10(change_ns(n)) for n in cpus], ":", color="#777777", linewidth=1.2, zorder=1)
        axis.set_title(title, fontweight="normal")
        axis.set_xlabel("CPUs")
        _ticks(axis, cpus)
    panels[0].set_ylabel("one key change, with splits and flushes")
    handles = [Line2D([], [], color=colour(names[name]), linestyle=styles[name], label=name) for name in names]
    handles.append(Line2D([], [], color="#777777", linestyle=":", label="a key change by the cost profile"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _styles(names: dict[str, str]) -> dict[str, Any]:
    """A line style for each variant: those of a strategy have its colour in common."""
    seen: dict[str, int] = {}
    styles: dict[str, Any] = {}
    for name, strategy in names.items():
        styles[name] = _LINES[seen.get(strategy, 0)]
        seen[strategy] = seen.get(strategy, 0) + 1
    return styles


def _line(axis: Axes, part: pd.DataFrame, ink: str, style: Any, page_size: int, marked: float) -> None:
    """The line of the limit, and where it passes the price `marked` (its logarithm) what is held there."""
    share = part.pivot_table(index="change_ns", columns="cpus", values="lock_wait_share")
    held = part.pivot_table(index="change_ns", columns="cpus", values="held_pages_mean")
    x, y = np.log2(share.columns.to_numpy(dtype=float)), np.log10(share.index.to_numpy(dtype=float))
    values = share.to_numpy()
    if not (values.min() < LIMIT < values.max()):
        return
    # The logarithm of the share is nearer to linear between the points than the share.
    found = axis.contour(
        x, y, np.log(np.maximum(values, 1e-6)), levels=[np.log(LIMIT)], colors=[ink], linewidths=1.8, linestyles=[style]
    )
    longest = max(found.allsegs[0], key=len)
    place = longest[np.abs(longest[:, 1] - marked).argmin()]
    pages = held.to_numpy()[np.abs(y - place[1]).argmin(), np.abs(x - place[0]).argmin()]
    left = place[0] > 0.8 * x[-1]
    axis.plot(*place, "o", color=ink, markersize=4)
    axis.annotate(
        size(pages * page_size), place, xytext=(-5 if left else 5, 3), textcoords="offset points", va="bottom",
        ha="right" if left else "left", fontsize=7.5, color=ink,
    )  # fmt: skip


def _ticks(axis: Axes, cpus: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    axis.set_xticks(np.log2(cpus), [f"{n:g}" for n in cpus])
    axis.set_yticks(range(2, 7))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(10**value)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set(xlim=(np.log2(cpus[0]), np.log2(cpus[-1])), ylim=(2, 6))
    axis.tick_params(labelcolor=INK)


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["contention"]
    if not answer.rows:
        return [Drawn(NOT_SIMULATED)]
    costs = constants(case, answer.records()[0]["costs"])

    def change_ns(cpus: float) -> float:
        typical = {name: costs[name]["typical"] for name in ("change_ns", "flush_base_ns", "flush_per_cpu_ns")}
        return typical["change_ns"] + typical["flush_base_ns"] + typical["flush_per_cpu_ns"] * (cpus - 1)

    images = written(draw(frame(answer), change_ns, case.capture["page_size"]))
    return [Drawn(caption(case), "contention", answer, images)]


SECTION = Section(
    "contention",
    "From how many CPUs on is one shared list too few?",
    values=lambda case: {
        "simulated": bool(case.answers["contention"].rows),
        "setting": setting(case),
    },
    figures=_figures,
)
