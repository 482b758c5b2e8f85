"""From thresholds by seed to curves, medians and rankings: what can be said with few seeds, and how surely."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_Z = 1.959964
"""Standard normal quantile of 95 %, two-sided."""


def wilson(failures: int, seeds: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927), exact 0 and 1 at the ends."""
    share, z2 = failures / seeds, _Z * _Z / seeds
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * math.sqrt(share * (1 - share) / seeds + z2 / (4 * seeds))
    return (0.0 if failures == 0 else middle - half), (1.0 if failures == seeds else middle + half)


class Median(NamedTuple):
    """A median with the interval that covers it with at least 95 %, of what order ever the values are."""

    value: float
    low: float | None
    """None: too few values for an end (fewer than 6)."""
    high: float | None


def median(values: Sequence[float]) -> Median:
    """The (lower) median and its interval from the order statistics: no assumption on the distribution."""
    ordered = sorted(values)
    n = len(ordered)
    below, cut = 0.0, -1
    for k in range(n // 2):
        below += math.comb(n, k) / 2**n
        if below > 0.025:
            break
        cut = k
    middle = ordered[(n - 1) // 2]
    return Median(middle, None, None) if cut < 0 else Median(middle, ordered[cut], ordered[n - 1 - cut])


def sooner(first: Sequence[float], second: Sequence[float]) -> int:
    """Whether one of two paired lists of thresholds is larger, by the sign test at 5 %: 1 the first, -1 the second.

    The larger threshold fails sooner. 0: neither, or too few pairs that differ (6 are needed).
    """
    more = sum(a > b for a, b in zip(first, second, strict=True))
    less = sum(a < b for a, b in zip(first, second, strict=True))
    n, tail = more + less, min(more, less)
    p = min(2 * sum(math.comb(n, k) for k in range(tail + 1)) / 2**n, 1.0)
    return 0 if p > 0.05 else 1 if more > less else -1


def failing_only(thresholds: Sequence[int], unprotected: Sequence[int], step: int) -> tuple[int, int]:
    """Seeds in which a strategy fails at this step and the unprotected machine does not; those in which that does."""
    only = sum(theirs <= step < mine for mine, theirs in zip(thresholds, unprotected, strict=True))
    return only, sum(step < theirs for theirs in unprotected)
