"""The direct map as a picture: one cell per 2M of physical memory, shaded by the smallest leaf in it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.figures.style import INK, WIDTH

MOST_CELLS = 16_384
HOLE = 0
_SIDE = 9  # pixels of a cell in the raster, one of them the gap to its neighbour

_KEYED = ("none", "part", "all")
_LEAVES = ("1G", "2M", "4K")
KINDS = [f"{leaf} {keyed}" for leaf in _LEAVES for keyed in _KEYED]
"""What a cell can be; a kind's code is its place plus one, 0 is a hole."""

_FILL = {"1G": (238, 238, 234), "2M": (190, 205, 214), "4K": (92, 99, 106)}
_KEY = (230, 120, 0)
_KEY_WHOLE = (140, 30, 20)

Grid = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """Which cells stand where: rows of `across` cells; rows without memory are left out.

    Attributes:
        cell_pages: base pages per cell.
        across: cells in a row.
        rows: number of each row that is drawn, counted from address 0; -1 is the gap for rows left out.
    """

    cell_pages: int
    across: int
    rows: tuple[int, ...]


def cell_pages(mapped_pages: int, block_pages: int = 512) -> int:
    """Pages of a cell: one 2M block, or as many (a power of two) as keep the picture below ``MOST_CELLS``."""
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
            rows.append(-1)
        rows.append(row)
    return Layout(pages, across, tuple(rows))


def grid(runs: pd.DataFrame, strategy: str, moment: str, place: Layout) -> Grid:
    """Codes of the cells of one strategy at one moment, row by row as drawn."""
    codes = np.zeros((len(place.rows), place.across), dtype=np.uint8)
    where = {row: i for i, row in enumerate(place.rows) if row >= 0}
    chosen = runs[(runs["strategy"] == strategy) & (runs["moment"] == moment)]
    for leaf, keyed, begin, end in zip(*(chosen[c] for c in ("leaf", "keyed", "first_cell", "last_cell")), strict=True):
        code = KINDS.index(f"{leaf} {keyed}") + 1
        for row in range(begin // place.across, end // place.across + 1):
            first = max(begin, row * place.across) - row * place.across
            last = min(end, (row + 1) * place.across - 1) - row * place.across
            codes[where[row], first : last + 1] = code
    return codes


def draw(runs: pd.DataFrame, strategy: str, place: Layout, page_size: int) -> Figure:
    """Start and end of one strategy's direct map, side by side; cells that changed are framed at the end."""
    start, end = (grid(runs, strategy, moment, place) for moment in ("start", "end"))
    side = (WIDTH - 1.45) / 2
    height = side * len(place.rows) / place.across
    figure = Figure(figsize=(WIDTH, height + 1.05))
    bottom, width = 0.62 / (height + 1.05), side / WIDTH
    for i, (codes, before, title) in enumerate(((start, start, "start of the recording"), (end, start, "end"))):
        box = (0.66 / WIDTH + i * (width + 0.42 / WIDTH), bottom, width, height / (height + 1.05))
        axis = figure.add_axes(box)
        axis.imshow(
            raster(codes, before != codes), interpolation="none", aspect="auto", extent=(0, place.across, len(codes), 0)
        )
        axis.set_title(f"{strategy}, {title}")
        _addresses(axis, place, page_size, labelled=i == 0)
    _legend(figure, place, page_size, sorted(set(np.unique(start)) | set(np.unique(end))))
    return figure


def raster(codes: Grid, changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Paint cells: the fill says the leaf, a mark what is keyed (bar: part; square: all), a frame that it changed."""
    picture = np.full((codes.shape[0] * _SIDE, codes.shape[1] * _SIDE, 3), 255, dtype=np.uint8)
    for code in range(1, len(KINDS) + 1):
        for frame in (False, True):
            tile = _tile(code, frame=frame)
            for y, x in np.argwhere((codes == code) & (changed == frame)):
                picture[y * _SIDE : (y + 1) * _SIDE, x * _SIDE : (x + 1) * _SIDE] = tile
    return picture


def _tile(code: int, *, frame: bool) -> npt.NDArray[np.uint8]:
    leaf, keyed = KINDS[code - 1].split()
    tile = np.full((_SIDE, _SIDE, 3), 255, dtype=np.uint8)
    tile[:-1, :-1] = _FILL[leaf]
    if frame:
        tile[:-1, [0, -2]] = tile[[0, -2], :-1] = 0
    if keyed == "part":
        tile[5:7, 1:7] = _KEY
    elif keyed == "all":
        tile[2:6, 2:6] = _KEY_WHOLE
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
    for i, row in enumerate(place.rows):
        if row == -1:
            axis.add_patch(Rectangle((0, i), place.across, 1, color="white", linewidth=0))
            axis.text(place.across / 2, i + 0.5, "no memory", ha="center", va="center", fontsize=6.5, color="#777777")
    axis.tick_params(length=2, labelsize=7.5)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _address(mib: float) -> str:
    return f"{mib / 1024:g} GiB" if mib >= 1024 else f"{mib:g} MiB"


def _legend(figure: Figure, place: Layout, page_size: int, codes: list[int]) -> None:
    """Swatches of the kinds that occur, under the pictures."""
    words = {"none": "", "part": ", partly keyed", "all": ", all keyed"}
    shown = [code for code in codes if code != HOLE]
    strip = figure.add_axes((0.66 / WIDTH, 0.0, 1 - 0.7 / WIDTH, 0.30 / float(figure.get_figheight())))
    strip.set(xlim=(0, WIDTH - 0.7), ylim=(0, 0.3))
    strip.axis("off")
    at = 0.0
    size = place.cell_pages * page_size / (1 << 20)
    entries = [(_tile(code, frame=False), KINDS[code - 1].split()) for code in shown]
    for tile, (leaf, keyed) in entries:
        strip.imshow(tile, interpolation="none", extent=(at, at + 0.15, 0.08, 0.23), aspect="auto", origin="upper")
        label = strip.text(at + 0.19, 0.15, f"{leaf}{words[keyed]}", va="center", fontsize=7.5, color=INK)
        at += 0.19 + 0.066 * len(label.get_text()) + 0.2
    strip.text(at, 0.15, f"black frame: changed; a cell is {_address(size)}", va="center", fontsize=7.5, color=INK)
    strip.set(xlim=(0, WIDTH - 0.7), ylim=(0, 0.3))


def any_keyed(codes: Grid) -> bool:
    """Whether any cell is keyed at all."""
    return any(KINDS[code - 1].split()[1] != "none" for code in np.unique(codes) if code != HOLE)
