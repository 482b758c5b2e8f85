"""The direct map as a picture: rows, cells and tiles."""

import numpy as np
import pandas as pd
import pytest

from reports.sections import mosaic


def runs(*rows: tuple[str, str, str, int, int]) -> pd.DataFrame:
    table = [("pba", *row) for row in rows]
    return pd.DataFrame(table, columns=["strategy", "moment", "leaf", "keyed", "first_cell", "last_cell"])


def test_holes_are_left_out_by_whole_rows() -> None:
    table = runs(("start", "2M", "none", 0, 40), ("start", "1G", "none", 320, 351))
    place = mosaic.layout(table, 512)
    assert place.across == 32
    assert place.rows == (0, 1, -1, 10)
    codes = mosaic.grid(table, "pba", "start", place)
    assert codes.shape == (4, 32)
    assert (codes[1] != mosaic.HOLE).sum() == 9
    assert (codes[2] == mosaic.HOLE).all()
    assert set(np.unique(codes[3])) == {mosaic.KINDS.index(("1G", "none")) + 1}


def test_cells_grow_so_that_the_picture_does_not() -> None:
    page = 4096
    assert mosaic.cell_pages((512 << 20) // page) == 512
    assert mosaic.cell_pages((32 << 30) // page) == 512
    big = mosaic.cell_pages((1 << 40) // page)
    assert (1 << 40) // page // big == mosaic.MOST_CELLS


@pytest.mark.parametrize("side", [7, 14, 28])
def test_kinds_of_cell_look_different_in_grey(side: int) -> None:
    tiles = {}
    for code in range(1, len(mosaic.KINDS) + 1):
        codes = np.full((1, 1), code, dtype=np.uint8)
        for changed in (False, True):
            tile = mosaic.raster(codes, np.full((1, 1), changed), side)
            tiles[mosaic.KINDS[code - 1], changed] = (tile @ [0.299, 0.587, 0.114]).round(-1).tobytes()
    assert len(set(tiles.values())) == len(tiles)
