"""The direct map as a picture: cells and rows."""

import pandas as pd

from reports.sections.direct_map import KINDS, MOST_CELLS, cell_pages, cells


def test_rows_without_memory_are_left_out_and_holes_are_no_leaf() -> None:
    rows = [("pba", "2M", "none", 0, 69), ("pba", "4K", "part", 70, 70), ("pba", "1G", "all", 640, 703)]
    runs = pd.DataFrame(rows, columns=["strategy", "leaf", "keyed", "first_cell", "last_cell"])
    codes = cells(runs, "pba", [0, 1, 10])
    assert codes.shape == (3, 64)
    assert (codes[0] == KINDS.index(("2M", "none")) + 1).all()
    assert list(codes[1, :8]) == [*[KINDS.index(("2M", "none")) + 1] * 6, KINDS.index(("4K", "part")) + 1, 0]
    assert (codes[2] == KINDS.index(("1G", "all")) + 1).all()


def test_cells_grow_so_that_the_picture_does_not() -> None:
    page = 4096
    assert cell_pages((512 << 20) // page) == cell_pages((8 << 30) // page) == 512
    assert (1 << 40) // page // cell_pages((1 << 40) // page) == MOST_CELLS
