"""Pool and reserve over time: levels, dips and axes."""

import pandas as pd
import pytest

from reports.case import Case
from reports.sections import pool, splits


def test_pool_levels_are_kept_until_they_change() -> None:
    nan = float("nan")
    samples = pd.DataFrame(
        [("pba", 1.0, 10, 512, 502, 3), ("pba", 2.0, 12, nan, 500, nan), ("pba", 3.0, nan, nan, nan, nan)],
        columns=["strategy", "t_s", "ptp_live", "pool_held", "pool_idle", "reserve_low"],
    )
    kept = pool.carried(samples, 9.0)
    assert kept["t_s"].tolist() == [1, 2, 3, 9]
    assert kept["pool_held"].tolist() == [512] * 4
    assert kept["reserve_low"].dropna().tolist() == [3]


@pytest.mark.parametrize(("timing", "unit"), [("emulated", "emulated seconds"), ("real", "seconds")])
def test_time_axes_say_whose_seconds_they_count(timing: str, unit: str) -> None:
    said = Case({"timing": timing}, {}).time_unit
    steps = pd.DataFrame([("pba", "refill", 1.0, 2)], columns=["strategy", "cause", "t_s", "splits"])
    levels = pd.DataFrame([("pba", 1.0, 10.0, 512.0, 502.0, 3.0)],
                          columns=["strategy", "t_s", "ptp_live", "pool_held", "pool_idle", "reserve_low"])  # fmt: skip
    for figure in (
        splits.draw(steps, 9.0, said),
        pool.draw_pool(levels, 9.0, said),
        pool.draw_reserve(levels, 9.0, {}, said),
    ):
        assert figure.get_supxlabel() == f"{unit} from the start of the recording"


def test_a_dip_is_a_step_below_the_reserve() -> None:
    levels = pd.DataFrame({"reserve_low": [5.0, 2.0, 1.0, 0.0]})
    assert pool.dips(levels, 2) == "reserve 2 (dashed), below it in 2 of 4 steps"
    assert pool.dips(levels, None) == "nothing kept back, empty in 1 of 4 steps"
