"""Statistics of few draws."""

import math
from itertools import product

import duckdb
import pytest

from ptpool.statistics import median, median_rank, sign_test, wilson
from ptpool.warehouse import create_schema


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


def test_intervals():
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(10, 10) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    assert median([3, 1, 2, 5, 4]) == (3, None, None)
    assert median([6, 1, 2, 3, 4, 5]) == (3, 1, 6)
    assert median(list(range(20))) == (9, 5, 14)


def test_sql_knows_the_ranks_that_python_knows():
    with duckdb.connect() as connection:
        create_schema(connection)
        ranks = connection.execute("SELECT n, median_rank(n) FROM range(0, 200) AS t(n)").fetchall()
        (last,) = connection.execute("SELECT median_rank(1000)").fetchone()
    assert ranks == [(n, median_rank(n)) for n in range(200)]
    assert last == median_rank(1000) == 468
