"""Statistics of few draws."""

import math
from itertools import product

import pytest

from ptpool.statistics import median_rank, sign_test


@pytest.mark.parametrize("changes", [[1, 1, 1], [1, -1, 1, 1], [0, 0, 1], [0, 0], [-1, -2, -3, 4, 5, 0]])
def test_the_sign_test_counts_outcomes(changes):
    signs = [change for change in changes if change]
    ups = sum(change > 0 for change in signs)
    far = max(ups, len(signs) - ups)
    outcomes = list(product([0, 1], repeat=len(signs)))
    as_far = sum(max(sum(outcome), len(signs) - sum(outcome)) >= far for outcome in outcomes)
    assert sign_test(changes) == pytest.approx(as_far / len(outcomes))


@pytest.mark.parametrize("n", range(6, 60))
def test_the_interval_is_the_narrowest_that_holds_the_median(n):
    def missed(k):  # both sides: fewer than k of n fair coins show heads, or more than n - k
        return sum(math.comb(n, i) for i in range(n + 1) if i < k or i > n - k) / 2**n

    rank = median_rank(n) + 1
    assert missed(rank) <= 0.05 < missed(rank + 1)
