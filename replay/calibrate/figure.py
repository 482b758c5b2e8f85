"""The two figures of a calibration: loads by working set, and permission changes by number of busy CPUs."""

import io
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ptpool.text import size
from replay.calibrate.estimate import Value
from replay.calibrate.profile import Calibration

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "svg.hashsalt": "ptpool",
    "savefig.dpi": 200,
}
_INKS = ("#b3452c", "#1f5f8b", "#2e7d4f", "#7a5195")
_MARKS = ("o", "s", "^", "D")


def figures(found: Calibration) -> dict[str, dict[str, bytes]]:
    """The figures for which there are numbers: bytes by name and file suffix."""
    drawn = {}
    with mpl.style.context(["default", _STYLE]):
        if any(value.quantity == "penalty" for value in found.values):
            drawn["penalty"] = _written(_penalty(found))
        if any(value.quantity == "permission_change" for value in found.values):
            drawn["conversion"] = _written(_conversion(found))
    return drawn


def _penalty(found: Calibration) -> Figure:
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    pages = sorted({value.page_bytes or 0 for value in found.values if value.quantity == "load"})
    for page, ink, mark in zip(pages, _INKS, _MARKS, strict=False):
        _line(left, [v for v in found.values if v.quantity == "load" and v.page_bytes == page], ink, mark, size(page))
        slower = [v for v in found.values if v.quantity == "penalty" and v.page_bytes == page]
        if slower:
            _line(right, slower, ink, mark, f"than in {size(page)}")
    left.set(yscale="log", ylabel="a dependent load, ns")
    right.set(ylabel=f"longer in {size(pages[0])} pages, %")
    right.axhline(0, color="#555555", linewidth=0.8)
    for axis in (left, right):
        axis.set(xscale="log", xlabel="working set")
        ticks = [v.working_set_bytes or 0 for v in found.values if v.quantity == "load" and v.page_bytes == pages[0]][
            ::2
        ]
        axis.set_xticks(ticks, [size(tick) for tick in ticks], fontsize=8)
        axis.minorticks_off()
        axis.legend(frameon=False, title="pages of" if axis is left else None)
    figure.suptitle(_title(found, "random dependent loads"), fontsize=9.5)
    return figure


def _line(axis: Axes, values: Sequence[Value], ink: str, mark: str, label: str) -> None:
    x = [value.working_set_bytes or 0 for value in values]
    axis.plot(x, [value.median for value in values], color=ink, marker=mark, markersize=4, label=label)
    axis.fill_between(x, [v.low for v in values], [v.high for v in values], color=ink, alpha=0.2, linewidth=0)


def _conversion(found: Calibration) -> Figure:
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    names = {"secret_fault": "fault that leaves the direct map", "plain_fault": "fault that stays in it",
             "permission_change": "the difference: one permission change"}  # fmt: skip
    for (quantity, label), ink, mark in zip(names.items(), _INKS, _MARKS, strict=False):
        values = [value for value in found.values if value.quantity == quantity]
        x = [value.busy_cpus or 0 for value in values]
        lengths = ([v.median - v.low for v in values], [v.high - v.median for v in values])
        style = "dashed" if quantity == "permission_change" else "solid"
        axis.errorbar(
            x, [v.median / 1e3 for v in values], [[length / 1e3 for length in end] for end in lengths],
            color=ink, marker=mark, markersize=4, capsize=3, linestyle=style, label=label,
        )  # fmt: skip
        axis.set_xticks(x)
    axis.set(xlabel="other CPUs busy", ylabel="µs")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    figure.suptitle(_title(found, "permission changes"), fontsize=9.5)
    return figure


def _title(found: Calibration, what: str) -> str:
    where = " (virtual machine)" if found.machine.get("virtual") else ""
    return f"{what}: {str(found.machine['cpu']).partition(' (')[0]}, {found.machine['kernel']}{where}"


def _written(figure: Figure) -> dict[str, bytes]:
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "ptpool"})
    figure.savefig(png, format="png", metadata={"Software": "ptpool"})
    return {"svg": svg.getvalue(), "png": png.getvalue()}
