"""Medians of repeated measurements, with an interval that assumes nothing of how they are distributed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95

METHOD = (
    "median of interleaved repetitions; interval by order statistics (ranks k and n+1-k of n, the narrowest that hold "
    "the median with 95 % by the binomial distribution; least and largest of all where n is below 6)"
)


@dataclass(frozen=True)
class Estimate:
    """A median and the interval that holds it with 95 % confidence."""

    low: float
    median: float
    high: float

    def plus(self, offset: float) -> "Estimate":
        """The same moved by a constant, and never below 0."""
        return Estimate(*(max(value + offset, 0.0) for value in (self.low, self.median, self.high)))


def estimate(values: Sequence[float]) -> Estimate:
    """The median of independent measurements and its interval by order statistics."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    k = rank(len(ordered))
    return Estimate(float(ordered[k - 1]), float(np.median(ordered)), float(ordered[len(ordered) - k]))


def rank(n: int) -> int:
    """The largest k for which the k-th least and the k-th largest of `n` values hold the median with 95 %; at least 1.

    Both miss it when fewer than k of the values lie on one side of it: 2 P(X < k), X binomial of n and 1/2.
    """
    missed, k = 0.0, 0
    while k < n // 2:
        missed += 2 * math.comb(n, k) / 2**n
        if missed > 1 - CONFIDENCE:
            break
        k += 1
    return max(k, 1)
