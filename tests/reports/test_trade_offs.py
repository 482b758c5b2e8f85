"""Trade-offs: the front of two costs."""

import pandas as pd

from reports.sections import trade_offs


def test_the_front_is_unbeaten() -> None:
    points = pd.DataFrame(
        [("a", 1.0, 9.0), ("b", 2.0, 5.0), ("b2", 2.0, 5.0), ("c", 3.0, 5.0), ("d", 4.0, 1.0), ("e", 5.0, 6.0)],
        columns=["strategy", "share", "idle"],
    )
    assert trade_offs.front(points, "share", "idle") == ["a", "b", "b2", "d"]
