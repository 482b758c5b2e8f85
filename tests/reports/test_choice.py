"""Where the choice matters: from where on pools differ, what they pay there, and where real machines lie."""

import pandas as pd

from reports.sections.choice import caption, draw

COLUMNS = ["what", "strategy", "place", "own", "x", "y", "low", "high"]
SPLITS, MEMORY = "splits for 1,000 page tables", "memory wanted (today's kernel: 1)"


def rows(*given: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(given, columns=COLUMNS).astype(dict.fromkeys(("x", "y", "low", "high"), "float64"))


def machine(kind: str, whole: float, four: float) -> tuple[object, ...]:
    return "machine", kind, "m", False, whole, four, None, None


def test_where_all_pools_are_the_same_is_the_message() -> None:
    same = rows((SPLITS, "pba", "c", True, 0.1, 2, None, None), (SPLITS, "generic", "c", True, 0.1, 2, None, None))
    assert caption(same).startswith(
        "With 10 % of free memory outside whole large pages, the pools' splits differ by 0 for 1,000 page tables at most"
    )
    worn = rows((SPLITS, "pba", "w", True, 0.9, 40, None, None), (SPLITS, "generic", "w", True, 0.9, 10, None, None))
    failed = rows(("tables and splits that failed, %", "freetype", "w", True, 0.9, 100, None, None))
    text = caption(pd.concat([same, worn, failed]))
    assert "With 90 % outside, they split 10 to 40 large pages for 1,000 page tables." in text
    assert "There, freetype could not supply all page tables." in text


def test_memory_wanted_is_that_of_the_most_fragmented_machine() -> None:
    text = caption(rows((MEMORY, "pba", "a", True, 0.3, 1.1, 1, 2), (MEMORY, "pba", "b", True, 0.8, 2.0, 1, 3)))
    assert (
        "With 80 % in pieces smaller than four pages, they fail at 2 times the free memory of today's kernel." in text
    )


def test_a_panel_for_each_cost_and_a_tick_for_each_machine() -> None:
    figure = draw(
        rows((SPLITS, "pba", "c", True, 0.1, 2, None, None), (SPLITS, "pba", "d", False, 0.2, 3, None, None),
             (MEMORY, "pba", "a", True, 0.3, 1.1, 1, 2), machine("recorded", 0.5, 0.01), machine("worn", 0.7, 0.2))
    )  # fmt: skip
    left, right = figure.axes
    assert [axis.get_title() or axis.get_title(loc="left") for axis in figure.axes] == [SPLITS, MEMORY]
    ticks = [[list(line.get_xdata()) for line in axis.lines if line.get_marker() == "|"] for axis in (left, right)]
    assert ticks == [[[50.0], [70.0], []], [[1.0], [20.0], []]]
