"""Medians of repeated measurements, with an interval that assumes nothing about their distribution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptpool.statistics import median_rank

METHOD = (
    "median of interleaved repetitions; interval by order statistics (ranks k and n+1-k of n, the narrowest that hold "
    "the median with 95 % by the binomial distribution; least and largest of all where n is below 6)"
)


@dataclass(frozen=True)
class Estimate:
    """A median and its 95 % confidence interval."""

    low: float
    median: float
    high: float


def estimate(values: Sequence[float]) -> Estimate:
    """The median of independent measurements and its interval by order statistics."""
    ordered, rank = sorted(values), max(median_rank(len(values)), 0)
    return Estimate(float(ordered[rank]), float(np.median(ordered)), float(ordered[-1 - rank]))
