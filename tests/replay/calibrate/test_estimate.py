"""An estimate: a median and its interval."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.calibrate.estimate import estimate


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_an_estimate_is_of_the_values(values):
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == np.median(values)
