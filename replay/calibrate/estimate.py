"""Medians of repeated measurements, with an interval that assumes nothing about their distribution."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

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


@dataclass(frozen=True)
class Value:
    """One measured number, with its interval.

    Attributes:
        quantity: load, penalty, secret_fault, plain_fault or permission_change.
        unit: ns, or %.
        low: lower end of the interval.
        median: the number.
        high: upper end of the interval.
        page_bytes: size of the pages; None where it does not matter.
        working_set_bytes: memory that the loads covered; None: no loads.
        busy_cpus: other CPUs that were busy; None where that was not counted.
    """

    quantity: str
    unit: str
    low: float
    median: float
    high: float
    page_bytes: int | None = None
    working_set_bytes: int | None = None
    busy_cpus: int | None = None


COLUMNS = tuple(field.name for field in fields(Value))


class Measured(NamedTuple):
    """What was measured, and what could not be."""

    values: list[Value]
    remarks: list[str]


def value(
    quantity: str, unit: str, draws: Sequence[float],
    *, page: int | None = None, working_set: int | None = None, busy: int | None = None,
) -> Value:  # fmt: skip
    """The estimate from repeated measurements, rounded to thousandths; what it depends on as in `Value`."""
    found = estimate(draws)
    low, median, high = (round(number, 3) for number in (found.low, found.median, found.high))
    return Value(quantity, unit, low, median, high, page, working_set, busy)
