"""The direct map as a picture: one cell per block (2M) of physical memory, shaded by the smallest leaf in it."""

import textwrap
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.case import Case
from reports.formats import LEAF_NAMES, listed
from reports.questions import ask
from reports.section import Drawn, Section
from reports.sections.strip import figures as over_time
from reports.style import INK, alike, written
from reports.tables import frame

MOST_CELLS = 16_384
HOLE = 0
_PICTURE_PX = 896  # width of one picture at 200 dpi: a whole number of pixels per cell for 32, 64 and 128 across
_DPI = 200
_LINE = 0.17  # inches of a line of the heading
_LEFT, _BETWEEN, _RIGHT, _TOP, _BOTTOM = 0.66, 0.45, 0.15, 0.34, 0.62  # inches around the pictures
_KEYED = ("none", "part", "all")
_LEAVES = ("1G", "2M", "4K")
KINDS = [(leaf, keyed) for leaf in _LEAVES for keyed in _KEYED]
"""What a cell can be; the code of a kind is its place plus one, 0 is a hole."""

_FILL = {"1G": (226, 228, 222), "2M": (190, 205, 214), "4K": (92, 99, 106)}
_KEY = (230, 120, 0)
_KEY_WHOLE = (140, 30, 20)
Grid = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """Which cells are drawn where: rows of `across` cells, without the rows that hold no memory.

    Attributes:
        cell_pages: base pages per cell.
        across: cells in a row.
        rows: number of each row that is drawn, counted from address 0; -1 is the gap for rows left out.
    """

    cell_pages: int
    across: int
    rows: tuple[int, ...]


def cell_pages(mapped_pages: int, block_pages: int = 512) -> int:
    """Pages of a cell: one block, or as many (a power of two) as keep the picture below ``MOST_CELLS``."""
    pages = block_pages
    while mapped_pages > pages * MOST_CELLS:
        pages *= 2
    return pages


def layout(runs: pd.DataFrame, pages: int) -> Layout:
    """Choose the rows for runs of cells (first_cell, last_cell)."""
    mapped = runs[runs["moment"] == "start"]
    cells = (mapped["last_cell"] - mapped["first_cell"] + 1).groupby(mapped["strategy"]).sum().max()
    across = 32 if cells <= 1024 else 64 if cells <= 4608 else 128
    used = sorted({row for first, last in zip(runs["first_cell"], runs["last_cell"], strict=True)
                   for row in range(int(first) // across, int(last) // across + 1)})  # fmt: skip
    rows: list[int] = []
    for row in used:
        if rows and row != rows[-1] + 1:
            rows += [-1] * max(1, across // 32)
        rows.append(row)
    return Layout(pages, across, tuple(rows))


def grid(runs: pd.DataFrame, strategy: str, moment: str, place: Layout) -> Grid:
    """Codes of the cells of one strategy at one moment, row by row as drawn."""
    codes = np.zeros((len(place.rows), place.across), dtype=np.uint8)
    where = {row: i for i, row in enumerate(place.rows) if row >= 0}
    chosen = runs[(runs["strategy"] == strategy) & (runs["moment"] == moment)]
    for leaf, keyed, begin, end in zip(*(chosen[c] for c in ("leaf", "keyed", "first_cell", "last_cell")), strict=True):
        code = KINDS.index((leaf, keyed)) + 1
        for row in range(begin // place.across, end // place.across + 1):
            first = max(begin, row * place.across) - row * place.across
            last = min(end, (row + 1) * place.across - 1) - row * place.across
            codes[where[row], first : last + 1] = code
    return codes


def draw(start: Grid, end: Grid, names: list[str], place: Layout, page_size: int) -> Figure:
    """Start and end of a direct map that is the same for all of `names`; at the end, cells that changed are framed."""
    heading = textwrap.wrap(", ".join(names), 108, break_on_hyphens=False)
    side = _PICTURE_PX // place.across
    width, height = _PICTURE_PX / _DPI, len(place.rows) * side / _DPI
    whole = (_LEFT + 2 * width + _BETWEEN + _RIGHT, _TOP + _LINE * len(heading) + height + _BOTTOM)
    figure = Figure(figsize=whole)
    figure.text(_LEFT / whole[0], 1 - 0.04 / whole[1], "\n".join(heading), va="top", fontsize=9.5, fontweight="bold")
    for i, (codes, title) in enumerate(((start, "start of the recording"), (end, "end"))):
        left = _LEFT + i * (width + _BETWEEN)
        axis = figure.add_axes((left / whole[0], _BOTTOM / whole[1], width / whole[0], height / whole[1]))
        picture = raster(codes, codes != start, side)
        axis.imshow(picture, interpolation="none", aspect="auto", extent=(0, place.across, len(codes), 0))
        axis.set_title(title, fontweight="normal")
        _addresses(axis, place, page_size, labelled=i == 0)
    _legend(figure, place, page_size, sorted(set(np.unique(start)) | set(np.unique(end))))
    return figure


def raster(codes: Grid, changed: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.uint8]:
    """Paint cells of `side` pixels: fill for the leaf, mark for keys (bar: part; square: all), frame for change."""
    picture = np.full((codes.shape[0] * side, codes.shape[1] * side, 3), 255, dtype=np.uint8)
    for code in range(1, len(KINDS) + 1):
        for framed in (False, True):
            tile = _tile(code, side, framed=framed)
            for y, x in np.argwhere((codes == code) & (changed == framed)):
                picture[y * side : (y + 1) * side, x * side : (x + 1) * side] = tile
    return picture


def _tile(code: int, side: int, *, framed: bool) -> npt.NDArray[np.uint8]:
    leaf, keyed = KINDS[code - 1]
    tile = np.full((side, side, 3), 255, dtype=np.uint8)
    cell = tile[: side - side // 14, : side - side // 14]  # the rest is the gap to the next cell
    size, line = len(cell), max(1, len(cell) // 8)
    cell[:] = _FILL[leaf]
    inset = 2 * line if framed else line
    if framed:
        cell[:] = 0
        cell[line : size - line, line : size - line] = _FILL[leaf]
    if keyed == "part":
        cell[size * 6 // 10 : size - line, inset : size - inset] = _KEY
    elif keyed == "all":
        cell[inset : size - inset, inset : size - inset] = _KEY_WHOLE
    return tile


def _addresses(axis: Axes, place: Layout, page_size: int, *, labelled: bool) -> None:
    cell_mib = place.cell_pages * page_size / (1 << 20)
    every = 1
    while len(place.rows) > 10 * every:
        every *= 2
    starts = [i for i, row in enumerate(place.rows) if row >= 0 and (i == 0 or place.rows[i - 1] == -1)]
    ticks = set(starts) | {i for i, row in enumerate(place.rows) if row >= 0 and row % every == 0}
    ticks -= {i for i in ticks if i not in starts and any(abs(i - s) < max(1, every // 2 + 1) for s in starts)}
    addresses = {i + 0.5: _address(place.rows[i] * place.across * cell_mib) for i in sorted(ticks)}
    axis.set_yticks(list(addresses), list(addresses.values()) if labelled else [""] * len(addresses))
    quarter = place.across // 4
    axis.set_xticks(
        [quarter * i for i in range(5)], [f"+{_address(quarter * i * cell_mib)}" if i else "0" for i in range(5)]
    )
    axis.get_xticklabels()[-1].set_horizontalalignment("right")
    for i, row in enumerate(place.rows):
        if row == -1 and place.rows[i - 1] != -1:
            gap = max(1, place.across // 32)
            middle = (place.across / 2, i + gap / 2)
            axis.add_patch(Rectangle((0, i), place.across, gap, color="white", linewidth=0))
            axis.text(*middle, "no memory", ha="center", va="center_baseline", fontsize=7, color="#777777")
    axis.tick_params(length=2, labelsize=7.5)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _address(mib: float) -> str:
    return f"{mib / 1024:g} GiB" if mib >= 1024 else f"{mib:g} MiB"


def _legend(figure: Figure, place: Layout, page_size: int, codes: list[int]) -> None:
    """Swatches of the kinds that occur, under the pictures."""
    words = {"none": "", "part": ", partly keyed", "all": ", all keyed"}
    width, height = (float(inches) for inches in figure.get_size_inches())
    strip = figure.add_axes((_LEFT / width, 0.0, 1 - _LEFT / width, 0.30 / height))
    strip.axis("off")
    at = 0.0
    for code in (code for code in codes if code != HOLE):
        leaf, keyed = KINDS[code - 1]
        extent = (at, at + 0.15, 0.08, 0.23)
        strip.imshow(_tile(code, 28, framed=False), interpolation="none", extent=extent, aspect="auto")
        label = strip.text(
            at + 0.19, 0.15, f"{LEAF_NAMES[page_size][leaf]}{words[keyed]}", va="center", fontsize=7.5, color=INK
        )
        at += 0.37 + 0.066 * len(label.get_text())
    size = _address(place.cell_pages * page_size / (1 << 20))
    strip.text(at, 0.15, f"black frame: changed; a cell is {size}", va="center", fontsize=7.5, color=INK)
    strip.set(xlim=(0, width - _LEFT), ylim=(0, 0.3))


def any_keyed(codes: Grid) -> bool:
    """Whether any cell is keyed at all."""
    return any(KINDS[code - 1][1] != "none" for code in np.unique(codes) if code != HOLE)


def _figures(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    """The strip over time, then one picture per group of strategies whose maps changed and end the same."""
    coverage = case.answers["map_coverage"].records()
    if not coverage:
        return [Drawn("The replay recorded no direct map: there is nothing to draw.")]
    mapped = max(row["pages"] for row in coverage)
    return [*over_time(connection, case), *_mosaics(connection, case, mapped)]


def _mosaics(connection: duckdb.DuckDBPyConnection, case: Case, mapped: int) -> list[Drawn]:
    cell = cell_pages(mapped, case.block_pages)
    answer = ask(connection, "mosaic", capture=case.capture["name"], cell_pages=cell)
    runs = frame(answer)
    place = layout(runs, cell)
    grids = {
        name: np.stack([grid(runs, name, moment, place) for moment in ("start", "end")])
        for name in dict.fromkeys(runs["strategy"])
    }
    drawn, unchanged = [], []
    for name, names in alike(grids).items():
        start, end = grids[name]
        if (start == end).all() and not any_keyed(end):
            unchanged += names
            continue
        images = written(draw(start, end, names, place, case.capture["page_size"]))
        caption = f"This is the direct map under {listed(names)}."
        drawn.append(Drawn(caption, f"direct-map-{name}", answer, "direct-map", images, ", ".join(names)))
    same = f"{listed(unchanged)}: nothing is keyed and nothing changed, so there is no picture."
    return [*drawn, *([Drawn(same)] if unchanged else [])]


SECTION = Section("mosaic", figures=_figures)
