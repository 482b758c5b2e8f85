"""Coverage over time: curves that look the same."""

import pandas as pd

from reports.sections import coverage


def test_shares_alike_on_average_are_one_curve() -> None:
    rows = [
        (name, t, share) for name, end in (("a", 0.5), ("b", 0.5), ("c", 0.4)) for t, share in ((0.0, 0.1), (4.0, end))
    ]
    assert coverage.groups(pd.DataFrame(rows, columns=["strategy", "t_s", "share_4k"])) == {"a": ["a", "b"], "c": ["c"]}
