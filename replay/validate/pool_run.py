"""A run of the lab in which a real kernel supplied page tables from a pool: what it was, and what its counters say.

A folder as `make record-pools` writes it: a bundle, the kernel's free lists in before/, and what the pool's module
counted (pool_stats) once it was switched on (active/) and at the end (after/).
"""

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptpool.errors import UsageError

Quantity = tuple[str, int | None]
"""What is compared, and the order (None: all)."""

_TWINS: dict[str, tuple[str, dict[str, str]]] = {
    "key-each": ("pte-mapped", {}),
    "reserve-block-mutex": ("reserve-block", {"mutex": "true"}),
    "pba": ("pba", {"seeks": "2"}),
}
"""Strategies of the module that are ours with a parameter: it registers every shrinker with DEFAULT_SEEKS."""


@dataclass(frozen=True)
class PoolRun:
    """One run."""

    folder: Path
    strategy: str
    parameters: dict[str, str] = field(hash=False)
    """As `--set` takes them."""
    cell: str
    """What it shares with runs of other strategies: workload, wear, CPUs and memory."""
    counted: dict[Quantity, float] = field(hash=False)
    """What the kernel counted from switching the pool on to the end."""
    refill_ns: int | None = None
    """What a refill that nobody disturbed took, whatever it split and flushed; None: not known."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def has_trace(self) -> bool:
        """Whether it can be replayed; without a trace there are only counters."""
        return any(self.folder.glob("trace*"))


def read_run(folder: Path) -> PoolRun:
    """Read what a run was, and its counters.

    Raises:
        UsageError: the folder is not one of `make record-pools`.
    """
    remedy = "give folders of make record-pools, such as those in data/pools"
    try:
        stats = {moment: (folder / moment / "pool_stats").read_text() for moment in ("active", "after")}
        vmstat = {moment: (folder / moment / "vmstat").read_text() for moment in ("active", "after")}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder}: not a run of a pool in the lab: {error}", remedy) from None
    counted = {moment: _quantities(stats[moment], vmstat[moment]) for moment in stats}
    named = re.search(r"^strategy (\S+)", stats["after"], re.M)
    if named is None:
        raise UsageError(f"{folder}/after/pool_stats: has no line that names the strategy", remedy)
    strategy, parameters = _TWINS.get(named[1], (named[1], {}))
    about = _about(folder)
    grown = {
        quantity: value - (0.0 if quantity[0] in _EXTREMES else counted["active"].get(quantity, 0.0))
        for quantity, value in counted["after"].items()
    }
    return PoolRun(
        folder,
        strategy,
        {
            "kernel_tables": "false",
            **parameters,
            **{name: _as_set(value) for name, value in about.get("parameters", {}).items()},
        },
        "-".join(str(about[name]) for name in _CELL if name in about) or folder.name.removesuffix(f"-{strategy}"),
        grown,
        about.get("refill_ns"),
    )


_SPREAD = {
    "splits_2m": "splits_2m", "splits_1g": "splits_1g", "outside_tables": "splits_by_others",
    "starved_own": "split_starvations", "starved_outside": "split_starvations", "held_max": "pool_pages_peak",
    "cached_min": "reserve_pages_min", "shrunk_pages": "shrunk_pages", "nulls": "ptp_nulls", "oom_kill": "oom_kills",
}  # fmt: skip
"""Columns `quantity` of spread.csv by our names; those of refills end in their order."""


def repeated(runs: Iterable[PoolRun]) -> list[PoolRun]:
    """Repetitions of runs, of which only the numbers are kept: spread.csv next to their folders."""
    again = []
    for run in runs:
        path = run.folder.parent / "spread.csv"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        counted: dict[str, dict[Quantity, float]] = {}
        for row in csv.DictReader(text.splitlines()):
            name, _, order = row["quantity"].partition("_order_")
            key = (name, int(order)) if order else (_SPREAD.get(name, name), None)
            if row["repeats"] == run.name and key in run.counted:
                found = counted.setdefault(row["run"], {})
                found[key] = found.get(key, 0.0) + float(row["value"])
        again += [replace(run, folder=path / name, counted=found) for name, found in counted.items()]
    return again


def _as_set(value: Any) -> str:
    """A parameter's value as `--set` takes it."""
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


_CELL = ("workload", "fragmentation", "cpus", "memory_mib", "threads")
"""What runs that can be compared have in common, by the names of run.json."""


def _about(folder: Path) -> dict[str, Any]:
    """What run.json says; nothing without one."""
    path = folder / "run.json"
    try:
        about: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}", "make record-pools writes it") from None
    return about


_EXTREMES = ("pool_pages_peak", "reserve_pages_min")


def _quantities(stats: str, vmstat: str) -> dict[Quantity, float]:
    """The counters of one moment, by the names of table run_metric."""
    value = {name: float(number) for name, number in re.findall(r"^(\S+) (-?\d+)$", stats + "\n" + vmstat, re.M)}
    found: dict[Quantity, float] = {}
    for order, tried, got in re.findall(r"^refill_order_(\d+) tried (\d+) got (\d+)", stats, re.M):
        found["refills_tried", int(order)] = float(tried)
        found["refills_got", int(order)] = float(got)
    set_aside = value.get("aside_left", 0.0)
    return found | {
        ("splits_2m", None): value.get("direct_map_level2_splits", 0.0),
        ("splits_1g", None): value.get("direct_map_level3_splits", 0.0),
        ("splits_by_others", None): value.get("outside_tables", 0.0),
        ("split_starvations", None): value.get("starved_own", 0.0) + value.get("starved_outside", 0.0),
        ("pool_pages_peak", None): value.get("held_max", 0.0),
        ("reserve_pages_min", None): set_aside or value.get("cached_min", 0.0),
        ("shrunk_pages", None): value.get("shrunk_pages", 0.0),
        ("ptp_nulls", None): value.get("nulls", 0.0) + value.get("nulls_atomic", 0.0),
        ("oom_kills", None): value.get("oom_kill", 0.0),
        ("deadlocks", None): min(value.get("recursions", 0.0), 1.0),  # the module's guard lets the kernel go on
    }
