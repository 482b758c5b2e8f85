"""How many CPUs can share a pool: lock waiting by number of CPUs."""

from typing import Any

import duckdb
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from reports.case import Case
from reports.formats import number, size
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, colour, written
from reports.tables import frame

NOT_SIMULATED = "Not simulated yet: `ptpool replay contention` does that."
PRICE_NS = 1000
"""What a key change takes in the figure; the table has others."""

_PANELS = {9: "free 2M blocks for every refill", 2: "no more than four pages free"}
_LINES = ("solid", "dashed", "dotted")


def draw(points: pd.DataFrame) -> Figure:
    """A panel for refills of 2M blocks and one for refills of four pages.

    Args:
        points: variant, strategy, free_order, cpus, lock_wait_share.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    variants = points[["strategy", "variant"]].drop_duplicates()
    styles = variants.groupby("strategy").cumcount()
    for axis, (order, title) in zip(panels, _PANELS.items(), strict=True):
        for (strategy, variant), style in zip(variants.itertuples(index=False), styles, strict=True):
            part = points[(points["variant"] == variant) & (points["free_order"] == order)].sort_values("cpus")
            how: dict[str, Any] = {
                "color": colour(strategy),
                "linestyle": _LINES[style % len(_LINES)],
                "label": variant,
            }
            axis.plot(part["cpus"], part["lock_wait_share"], **how)
        axis.axhline(0.05, color=INK, linewidth=0.8)
        axis.set_title(title, fontweight="normal")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set(xlabel="CPUs", ylim=(0, 1.05))
    panels[0].set_ylabel("of allocation time, waiting for locks")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["contention"]
    if not answer.rows:
        return [Drawn(NOT_SIMULATED)]
    points = frame(answer)
    said = f"Share of allocation time that goes into waiting, if a key change takes 1 µs; line: 5 %. {_held(case)}"
    return [Drawn(said, "contention", answer, written(draw(points[points["change_ns"] == PRICE_NS])))]


def _held(case: Case) -> str:
    rows = [row for row in case.answers["contention_limits"].records() if row["held_by_64_bytes"] is not None]
    most = max(rows, key=lambda row: row["held_by_64_bytes"], default=None)
    return f"64 CPUs hold up to {size(most['held_by_64_bytes'])} unused ({most['variant']})." if most else ""


def _values(case: Case) -> dict[str, Any]:
    rows = case.answers["contention"].records()
    return (
        {"rate": number(round(rows[0]["tables_per_s"], -2)), "basis": rows[0]["basis"]}
        if rows
        else {"rate": "", "basis": ""}
    )


SECTION = Section("contention", "From how many CPUs on is one shared list too few?", values=_values, figures=_figures)
