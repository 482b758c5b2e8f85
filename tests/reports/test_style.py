"""What figures share: looks, groups that are drawn once, curves over time."""

import numpy as np
import pandas as pd

from replay.contract.registry import strategies
from reports.style import alike, over_time


def test_every_strategy_has_a_look_of_its_own() -> None:
    looks = strategies().values()
    assert len({entry.colour for entry in looks}) == len(looks)
    assert len({(entry.line, entry.marker) for entry in looks}) == len(looks)


def test_what_cannot_be_told_apart_is_drawn_once() -> None:
    nan = float("nan")
    series = {"a": [1.0, 2, nan], "b": [1.0, 2.4, nan], "c": [1.0, 2, 3], "d": [1.0, 2.6, nan], "e": [1.0]}
    assert alike(series, 0.5) == {"a": ["a", "b"], "c": ["c"], "d": ["d"], "e": ["e"]}
    assert alike(series, 0.3, np.mean) == {"a": ["a", "b", "d"], "c": ["c"], "e": ["e"]}


def steps(*rows: tuple[str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["strategy", "step", "value"])


def test_a_curve_keeps_its_value_until_the_next_and_to_the_end() -> None:
    (axis,) = over_time(steps(("pba", 3, 2), ("pba", 100, 6)), 240.0, "seconds", "splits", from_0=True).axes
    x, y = axis.lines[-1].get_data()
    assert (x[0], x[-1]) == (0, 240)
    assert [y[2], y[3], y[99], y[100], y[120]] == [0, 2, 2, 6, 6]
    (axis,) = over_time(steps(("pba", 3, 2), ("pba", 100, 6)), 240.0, "seconds", "pages").axes
    assert axis.lines[-1].get_ydata()[0] == 2, "a pool does not begin empty because its first sample comes later"
    assert all(float(tick).is_integer() for tick in axis.get_yticks())


def test_curves_that_look_the_same_share_a_panel() -> None:
    rows = [("a", 0, 100.0), ("b", 0, 100.5), ("c", 0, 40.0)]
    figure = over_time(steps(*rows), 9.0, "emulated seconds", "pages")
    assert [axis.get_title(loc="left") or axis.get_title() for axis in figure.axes] == ["a, b", "c"]
    assert figure.get_supxlabel() == "emulated seconds from the start of the recording"
