"""The direct map as a picture: one cell per block (2M) of physical memory, and where the keys are."""

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reports.case import Case
from reports.formats import LEAF_NAMES, size
from reports.questions import ask
from reports.section import Drawn, Section
from reports.style import alike, panels, title, written
from reports.tables import frame

MOST_CELLS = 4096
_ACROSS = 64
KINDS = tuple((leaf, keyed) for leaf in ("1G", "2M", "4K") for keyed in ("none", "part", "all"))
"""What a cell can be: its smallest leaf, and how much of it has a key; its code is its place plus one, 0 a hole."""

_INKS = ("#ffffff", "#e8ebe4", "#f6b26b", "#d9480f", "#b9cad5", "#f08c00", "#a61e1e", "#5c636a", "#e8590c", "#5f0f0f")
_WORDS = {"none": "", "part": ", partly with the key", "all": ", all with the key"}
Cells = npt.NDArray[np.uint8]


def cell_pages(mapped_pages: int, block_pages: int = 512) -> int:
    """Pages of a cell: one block, or as many (a power of two) as keep the picture within ``MOST_CELLS``."""
    pages = block_pages
    while mapped_pages > pages * MOST_CELLS:
        pages *= 2
    return pages


def cells(runs: pd.DataFrame, strategy: str, rows: list[int]) -> Cells:
    """Codes of the cells of one strategy, in rows of `_ACROSS`; only `rows`, which hold memory.

    Args:
        runs: strategy, leaf, keyed, first_cell, last_cell: runs of equal cells.
        strategy: which.
        rows: numbers of the rows, counted from address 0.
    """
    flat = np.zeros((rows[-1] + 1) * _ACROSS, dtype=np.uint8)
    mine = runs[runs["strategy"] == strategy]
    for leaf, keyed, first, last in zip(*(mine[c] for c in ("leaf", "keyed", "first_cell", "last_cell")), strict=True):
        flat[first : last + 1] = KINDS.index((leaf, keyed)) + 1
    return flat.reshape(-1, _ACROSS)[rows]


def draw(maps: dict[str, Cells], rows: list[int], cell_bytes: int, page_size: int) -> Figure:
    """A panel per group of strategies whose map ends the same, row by row from address 0."""
    groups = alike(maps)
    figure, axes = panels(len(groups), height=max(1.0, min(1.9, 0.05 * len(rows) + 0.5)), columns=4)
    every = max(1, len(rows) // 6)
    for axis, (name, names) in zip(axes, groups.items(), strict=True):
        axis.imshow(
            maps[name], cmap=ListedColormap(_INKS), vmin=0, vmax=len(KINDS), interpolation="none", aspect="auto"
        )
        axis.set_title(title(names, 26), fontsize=8)
        axis.set_yticks(
            range(0, len(rows), every), [size(row * _ACROSS * cell_bytes) for row in rows[::every]], fontsize=7
        )
        axis.set_xticks([])
        axis.grid(visible=False)
    used = sorted({int(code) for grid in maps.values() for code in np.unique(grid)} - {0})
    labels = {code: LEAF_NAMES[page_size][KINDS[code - 1][0]] + _WORDS[KINDS[code - 1][1]] for code in used}
    handles = [Patch(facecolor=_INKS[code], edgecolor="#999999", label=label) for code, label in labels.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _figures(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    """The map after the last event."""
    coverage = case.answers["map_coverage"].records()
    if not coverage:
        return [Drawn("The replay recorded no direct map: there is nothing to draw.")]
    cell = cell_pages(max(row["pages"] for row in coverage), case.block_pages)
    answer = ask(connection, "mosaic", capture=case.capture["name"], cell_pages=cell)
    runs = frame(answer)
    rows = sorted({row for first, last in zip(runs["first_cell"], runs["last_cell"], strict=True)
                   for row in range(int(first) // _ACROSS, int(last) // _ACROSS + 1)})  # fmt: skip
    maps = {str(name): cells(runs, str(name), rows) for name in dict.fromkeys(runs["strategy"])}
    cell_bytes = cell * case.capture["page_size"]
    said = (
        f"The direct map after the last event, row by row from address 0; a cell is {size(cell_bytes)}, its shade the "
        "smallest page in it. Rows without memory are left out; strategies with the same map share a panel."
    )
    picture = written(draw(maps, rows, cell_bytes, case.capture["page_size"]))
    return [Drawn(said, "direct-map", answer, picture)]


SECTION = Section("direct_map", "Where is the direct map split, and where are the keys?", figures=_figures)
