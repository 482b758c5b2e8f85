"""Splits over time: curves and axes."""

import pandas as pd

from reports.sections import splits


def test_curves_start_at_zero_and_end_with_the_recording() -> None:
    steps = pd.DataFrame(
        [("pba", "refill", 1.0, 2), ("pba", "outside", 1.0, 1), ("pba", "refill", 4.0, 3)],
        columns=["strategy", "cause", "t_s", "splits"],
    )
    lines = splits.curves(steps, 10.0)
    of = {cause: part[["t_s", "splits"]].to_numpy().tolist() for cause, part in lines.groupby("cause")}
    assert of["total"] == [[0, 0], [1, 3], [4, 6], [10, 6]]
    assert of["refill"] == [[0, 0], [1, 2], [4, 5], [10, 5]]
    assert of["outside"] == [[0, 0], [1, 1], [10, 1]]


def test_leaves_are_counted_whole() -> None:
    rows = [("pba", "refill", 1.0, 1)]
    steps = pd.DataFrame(rows, columns=["strategy", "cause", "t_s", "splits"])
    (axis,) = splits.draw(steps, 9.0, "seconds").axes
    assert all(float(tick).is_integer() for tick in axis.get_yticks())
