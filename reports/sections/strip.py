"""The direct map over time as a strip: addresses downwards, time to the right, the share at 4K as a shade."""

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import listed, size, span
from reports.questions import ask
from reports.section import Drawn
from reports.style import alike, panels, title, written
from reports.tables import frame

STEPS = 120
_ROWS = 40
_SHADES = LinearSegmentedColormap.from_list("leaf", ["#e2e4de", "#8fa3b0", "#20262c"])
_SCALE = PowerNorm(gamma=0.4, vmin=0, vmax=100)  # a single split in a cell of many blocks must be visible


def cell_pages(blocks: npt.NDArray[np.int64], block_pages: int) -> int:
    """Pages of a row: the smallest power of two of blocks at which all `blocks` fall into at most 40 rows."""
    shift = 0
    while len(np.unique(blocks >> shift)) > _ROWS:
        shift += 1
    return int(block_pages) << shift


def strips(samples: pd.DataFrame) -> tuple[list[int], dict[str, npt.NDArray[np.float64]]]:
    """The pictures, from strategy, cell, step, pages, pages_4k (step 0 for all, later steps where it changed).

    Returns:
        The cells in which anything is split, from low to high addresses; by strategy, the share at 4K in per cent, cells x
        steps; NaN where the strategy has no such cell.
    """
    cells = sorted({int(cell) for cell in samples["cell"]})
    shares = {}
    for name, part in samples.groupby("strategy", sort=False):
        grid = part.assign(share=100 * part["pages_4k"] / part["pages"]).pivot_table(
            index="cell", columns="step", values="share", aggfunc="last"
        )
        shares[str(name)] = grid.reindex(index=cells, columns=range(STEPS + 1)).ffill(axis="columns").to_numpy(float)
    return cells, shares


def draw(
    cells: list[int], shares: dict[str, npt.NDArray[np.float64]], cell_bytes: int, seconds: float, unit: str
) -> Figure:
    """One panel per group of strategies whose strips are equal.

    Args:
        cells: numbers of the cells, a row each.
        shares: by strategy, what ``strips`` gives.
        cell_bytes: bytes of a row.
        seconds: length of the recording.
        unit: what a second is: seconds, or emulated seconds.
    """
    groups = alike(shares)
    figure, axes = panels(len(groups), height=2.0, columns=3)
    breaks = [i for i in range(1, len(cells)) if cells[i] != cells[i - 1] + 1]
    ticks: list[int] = []
    for i in (0, *breaks):
        if not ticks or i - ticks[-1] > len(cells) // 10:
            ticks.append(i)
    for axis, (name, names) in zip(axes, groups.items(), strict=True):
        axis.imshow(
            shares[name], cmap=_SHADES, norm=_SCALE, aspect="auto", interpolation="none",
            extent=(0, seconds, len(cells), 0),
        )  # fmt: skip
        for at in breaks:
            axis.axhline(at, color="white", linewidth=1.2)
        axis.set_title(title(names, 34), fontsize=8)
        axis.set_yticks(ticks, [size(cells[i] * cell_bytes) for i in ticks], va="top", fontsize=7)
        axis.grid(visible=False)
    figure.supxlabel(f"{unit} from the start of the recording", fontsize=9)
    figure.supylabel("physical address", fontsize=9)
    bar = figure.colorbar(
        ScalarMappable(_SCALE, _SHADES), ax=axes, fraction=0.02, pad=0.01, aspect=30, ticks=[0, 1, 10, 50, 100]
    )
    bar.set_label("mapped at 4K, %", fontsize=8.5)
    return figure


def figures(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    """The strip, if any leaf was split after the first event."""
    if case.all_4k or not case.capture["seconds"]:
        return []
    values = {"capture": case.capture["name"], "block_pages": case.block_pages}
    blocks = ask(connection, "split_blocks", **values)
    if not blocks.rows:
        return [Drawn("No large page was split after the first event: there is no change over time to draw.")]
    cell = cell_pages(np.array([block for (block,) in blocks.rows]), case.block_pages)
    answer = ask(connection, "mosaic_over_time", cell_pages=cell, **values)
    changed = {row["strategy"] for row in answer.records() if row["step"]}
    samples = frame(answer).astype({"pages": "float64", "pages_4k": "float64"})
    cells, shares = strips(samples[samples["strategy"].isin(changed)])
    touched = {name: int((np.nan_to_num(s[:, -1]) > np.nan_to_num(s[:, 0])).sum()) for name, s in shares.items()}
    cell_bytes = cell * case.capture["page_size"]
    still = [name for name in case.metrics if name not in changed and case.family(name) != "bound"]
    said = (
        f"Splits fell into {span(touched)} ranges of {size(cell_bytes)} of physical memory. A row is a range, dark where it is "
        "in small pages; white lines: ranges left out."
    ) + (f" Not drawn, because they split no {case.leaf_names['2M']} page: {listed(still)}." if still else "")
    images = written(draw(cells, shares, cell_bytes, case.capture["seconds"], case.time_unit))
    return [Drawn(said, "direct-map-over-time", answer, images)]
