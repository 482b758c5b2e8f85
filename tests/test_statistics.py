"""Statistics of few draws."""

from itertools import product

import pytest

from ptpool.statistics import sign_test


@pytest.mark.parametrize("changes", [[1, 1, 1], [1, -1, 1, 1], [0, 0, 1], [0, 0], [-1, -2, -3, 4, 5, 0]])
def test_the_sign_test_counts_outcomes(changes):
    signs = [change for change in changes if change]
    ups = sum(change > 0 for change in signs)
    far = max(ups, len(signs) - ups)
    outcomes = list(product([0, 1], repeat=len(signs)))
    as_far = sum(max(sum(outcome), len(signs) - sum(outcome)) >= far for outcome in outcomes)
    assert sign_test(changes) == pytest.approx(as_far / len(outcomes))
