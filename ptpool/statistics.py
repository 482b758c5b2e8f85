"""Statistics of few draws: intervals and a paired test that assume nothing about the distribution."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_Z = 1.959964
"""Standard normal quantile of 95 %, two-sided."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927), exact 0 and 1 at the ends."""
    share, z2 = successes / trials, _Z * _Z / trials
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == trials else middle + half)


class Median(NamedTuple):
    """A median, with an interval that covers that of the distribution with at least 95 %."""

    value: float
    low: float | None
    """None: fewer than 6 values, too few for an interval."""
    high: float | None


def median_rank(values: int) -> int:
    """Rank, from 0, of the order statistic at which the 95 % interval of a median begins; -1: too few values."""
    below, rank = 0.0, -1
    for k in range(values // 2):
        below += math.comb(values, k) / 2**values
        if below > 0.025:
            break
        rank = k
    return rank


def median(values: Sequence[float]) -> Median:
    """The lower median and its interval, by order statistics."""
    ordered, rank = sorted(values), median_rank(len(values))
    middle = ordered[(len(ordered) - 1) // 2]
    return Median(middle, None, None) if rank < 0 else Median(middle, ordered[rank], ordered[-1 - rank])


def sign_test(changes: Iterable[float]) -> float:
    """Two-sided p-value of these ups and downs if both were equally likely; pairs without a change are left out."""
    signs = [change > 0 for change in changes if change]
    tail = min(sum(signs), len(signs) - sum(signs))
    one_sided = sum(math.comb(len(signs), k) for k in range(tail + 1)) / float(2 ** len(signs))
    return min(1.0, 2.0 * one_sided)
