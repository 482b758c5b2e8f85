"""The strip over time: rows and states."""

import numpy as np
import pandas as pd

from reports.sections import strip


def test_a_row_of_the_strip_grows_with_what_is_split() -> None:
    few, many = np.arange(40), np.arange(0, 4000)
    assert strip.cell_pages(few, 512) == 512
    assert len(np.unique(many * 512 // strip.cell_pages(many, 512))) == 32


def test_a_strip_keeps_its_state_until_it_changes() -> None:
    rows = [("pba", 7, 0, 512, 0), ("pba", 7, 60, 512, 512), ("pba", 9, 0, 512, 128)]
    drawn = strip.strips(pd.DataFrame(rows, columns=["strategy", "cell", "step", "pages", "pages_4k"]))
    assert drawn.cells == [7, 9]
    shares = drawn.shares["pba"]
    assert (shares[0, :60] == 0).all()
    assert (shares[0, 60:] == 100).all()
    assert (shares[1] == 25).all()
