"""``report compare``: two warehouses, before and after a change, run by run and metric by metric.

Runs are paired by capture, strategy, all settings and seed. A replay is deterministic, so with one seed every
difference is real. With several, the mean difference has a bootstrap interval over pairs of seeds, and the sign test
gives the probability of so one-sided a result by chance (two-sided; Dixon and Mood 1946).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptpool.errors import UsageError
from ptpool.run_settings import DEFAULTS
from ptpool.statistics import sign_test
from ptpool.warehouse import capture_row, open_warehouse
from reports.questions import ask

_RESAMPLES = 2_000
_USUAL = {name: default for name, default in DEFAULTS.items() if name != "seed"}

Values = dict[str, float | None]


@dataclass(frozen=True)
class Difference:
    """A metric that is not the same before and after.

    Attributes:
        capture: the recording.
        setting: strategy, and the settings that are not the default.
        metric: its name.
        unit: its unit.
        before: its mean over seeds; None: not applicable.
        after: the same.
        seeds: number of pairs.
        low: lower end of the 95 % interval of the mean difference; None with one seed.
        high: upper end.
        p: that of the sign test; None with one seed.
    """

    capture: str
    setting: str
    metric: str
    unit: str
    before: float | None
    after: float | None
    seeds: int
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What two warehouses have in common, and in what they differ.

    Attributes:
        differences: in the order of the warehouses.
        same: number of captures, settings and metrics that are equal.
        pairs: number of runs compared.
        alone: runs that only one of the two holds, and captures that are not the same recording, in words.
        parameters: settings whose parameters differ (marked with *), with the change.
        versions: versions of ptpool that made the runs: before, after.
    """

    differences: list[Difference]
    same: int
    pairs: int
    alone: list[str]
    parameters: dict[str, str]
    versions: tuple[str, str]


def compared(before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]]) -> Comparison:
    """Compare the rows of ``compared_runs.sql`` of two warehouses."""
    old, new = _Runs(before), _Runs(after)
    parameters: dict[str, str] = {}
    series: dict[tuple[str, str], list[tuple[Values, Values]]] = {}
    alone, pairs = old.against(new, "before") + new.against(old, "after"), 0
    for key in old.runs:
        capture, setting, _ = key
        if key not in new.runs or old.sha256[capture] != new.sha256[capture]:
            continue
        matching, lonely = _matching(old.runs[key], new.runs[key])
        if not matching:
            alone.append(f"{setting} of {capture}: several sets of parameters, none of them on both sides")
            continue
        alone += [f"{_named(setting, matching[0][0], params)} of {capture}, only {side}" for params, side in lonely]
        pairs += len(matching)
        for one, other in matching:
            name = _named(setting, matching[0][0], one)
            if one != other:  # kept apart from pairs with the same parameters on both sides
                name = f"{setting}*"
                parameters[name] = _changed(one, other)
            series.setdefault((capture, name), []).append((old.runs[key][one], new.runs[key][other]))
    differences, same = [], 0
    for (capture, setting), both in series.items():
        for metric in dict.fromkeys(name for values in both for side in values for name in side):
            values = [(a.get(metric), b.get(metric)) for a, b in both]
            if all(a == b for a, b in values):
                same += 1
            else:
                differences.append(_difference(capture, setting, metric, old.units | new.units, values))
    return Comparison(differences, same, pairs, list(dict.fromkeys(alone)), parameters, (old.version, new.version))


def compare_warehouses(before: Path, after: Path, capture: str) -> Comparison:
    """Compare two files.

    Args:
        before: a warehouse.
        after: another.
        capture: a capture's name, or ``all``.

    Raises:
        UsageError: one is no warehouse, lacks the capture, or holds no run.
    """
    sides = []
    for path in (before, after):
        with open_warehouse(path) as connection:
            if capture != "all":
                capture_row(connection, capture)
            rows = [row for row in ask(connection, "compared_runs").records() if capture in ("all", row["capture"])]
        if not rows:
            raise UsageError(f"{path}: holds no run to compare", "replay first: ptpool replay run")
        sides.append(rows)
    return compared(*sides)


class _Runs:
    """Runs of a warehouse: by capture, setting and seed, their metrics by their parameters."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.runs: dict[tuple[str, str, int], dict[str, Values]] = {}
        self.sha256: dict[str, str] = {}
        self.units: dict[str, str] = {}
        versions = set()
        for row in rows:
            key = row["capture"], _setting(row), row["seed"]
            self.runs.setdefault(key, {}).setdefault(row["params"], {})[row["metric"]] = row["value"]
            self.sha256[row["capture"]] = row["sha256"]
            self.units[row["metric"]] = row["unit"]
            versions.add(row["code_version"])
        self.version = ", ".join(sorted(versions))

    def against(self, other: "_Runs", side: str) -> list[str]:
        """What the other lacks."""
        missing = []
        for capture, setting, seed in self.runs:
            if capture not in other.sha256:
                missing.append(f"{capture}, only {side}")
            elif other.sha256[capture] != self.sha256[capture]:
                missing.append(f"{capture}, a different recording of that name")
            elif (capture, setting, seed) not in other.runs:
                missing.append(f"{setting} of {capture}, only {side}")
        return missing


def _setting(row: dict[str, Any]) -> str:
    parts = [str(row["strategy"])]
    parts += [f"{name} {row[name]}" for name, usual in _USUAL.items() if row[name] != usual]
    return ", ".join(parts)


def _matching(one: dict[str, Values], other: dict[str, Values]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Parameters to compare: those on both sides, then the only other ones of each; and what is left, with its side."""
    both = [(params, params) for params in one if params in other]
    left, right = ([params for params in side if (params, params) not in both] for side in (one, other))
    if len(left) == len(right) == 1:
        return [*both, (left[0], right[0])], []
    return both, [*((params, "before") for params in left), *((params, "after") for params in right)]


def _named(setting: str, usual: str, params: str) -> str:
    """A setting with the parameters in which it differs from the usual ones."""
    a, b = json.loads(usual), json.loads(params)
    return ", ".join([setting, *(f"{name} {value}" for name, value in b.items() if a.get(name) != value)])


def _changed(one: str, other: str) -> str:
    a, b = json.loads(one), json.loads(other)
    return ", ".join(f"{name} {a.get(name)} to {b.get(name)}" for name in {**a, **b} if a.get(name) != b.get(name))


def _difference(
    capture: str, setting: str, metric: str, units: dict[str, str], values: list[tuple[float | None, float | None]]
) -> Difference:
    both = [(a, b) for a, b in values if a is not None and b is not None]
    if not both:  # it applies on one side only
        sides = [[value for value in side if value is not None] for side in zip(*values, strict=True)]
        means = [sum(side) / len(side) if side else None for side in sides]
        return Difference(capture, setting, metric, units[metric], means[0], means[1], len(values))
    before, after = (sum(side) / len(both) for side in zip(*both, strict=True))
    if len(both) == 1:
        return Difference(capture, setting, metric, units[metric], before, after, 1)
    changes = np.array([b - a for a, b in both])
    low, high = interval(changes)
    return Difference(capture, setting, metric, units[metric], before, after, len(both), low, high, sign_test(changes))


def interval(changes: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over resampled pairs; always the same for the same numbers."""
    draws = np.random.default_rng(0).choice(changes, (_RESAMPLES, len(changes)))
    low, high = np.percentile(draws.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
