"""The threshold between steps that fail and steps that pass."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.risk.search import threshold


@given(st.integers(-30, 50), st.lists(st.integers(-30, 50), min_size=1, max_size=20))
def test_the_least_step_that_passes_is_found_from_any_guesses(least_passing, guesses):
    tried = []
    found = threshold(lambda step: tried.append(step) or step >= least_passing, guesses, -24, 40)
    assert found == min(max(least_passing, -24), 41)
    assert len(tried) == len(set(tried)), "no step is tried twice"
    between_guesses = np.ceil(np.log2(2 * len(guesses) + 1))
    right = found in {min(max(guess, -24), 41) for guess in guesses}
    assert len(tried) <= between_guesses + (0 if right else 2 * np.log2(66))
