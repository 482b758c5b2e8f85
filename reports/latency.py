"""Sentences on how long a page-table allocation takes and waits. Pure functions of a ``Case``."""

from collections import defaultdict

from reports.case import Case
from reports.formats import duration, listed, number

_QUANTILES = [
    ("median", "ptp_alloc_p50_ns"),
    ("99th percentile", "ptp_alloc_p99_ns"),
    ("99.9th percentile", "ptp_alloc_p999_ns"),
]


def standing(case: Case) -> str:
    """What the numbers are worth, by the clock of the recording."""
    if case.capture["timing"] == "real":
        return ""
    clock = "under emulation" if case.capture["timing"] == "emulated" else "by a clock of which nobody knows the rate"
    return (
        f"**Sensitivity, not a finding:** this was recorded {clock}, so how often requests meet, and with it every "
        "wait, is not that of a real machine. What an allocation takes without waiting does not depend on it."
    )


def findings(case: Case) -> list[str]:
    """Strategies by their quantiles, those that are equal together."""
    rows = case.answers["latency_quantiles"].records()
    said = []
    if rows and all(row[column] == row["ptp_alloc_p50_ns"] for row in rows for _, column in _QUANTILES):
        quantiles = [("median, 99th and 99.9th percentile alike", "ptp_alloc_p50_ns")]
    else:
        quantiles = _QUANTILES
    for words, column in quantiles:
        groups: dict[float, list[str]] = defaultdict(list)
        for row in rows:
            if row[column] is not None:
                groups[row[column]].append(row["strategy"])
        if groups:
            values = "; ".join(f"{duration(ns)} {listed(names)}" for ns, names in sorted(groups.items()))
            said.append(f"{words[0].upper()}{words[1:]}: {values}.")
        else:
            said.append(f"{words[0].upper()}{words[1:]}: too few samples in every run.")
    waits = {row["strategy"]: row["lock_wait_ns"] for row in rows if row["lock_wait_ns"]}
    if waits:
        said.append(f"Waited for locks in all: {listed([f'{name} {duration(ns)}' for name, ns in waits.items()])}.")
    elif rows:
        said.append(
            "No refill waited for another here. Contention for the list's own lock is not in a replay: see "
            "[how many CPUs can share a pool](#how-many-cpus-can-share-a-pool)."
        )
    return said


def caption(case: Case) -> str:
    """What the figure shows."""
    rows = [row for row in case.answers["latency_quantiles"].records() if row["samples"]]
    if not rows:
        return "No page table was allocated: there is nothing to draw."
    slow = [f"{row['strategy']} {number(row['from_1_us'])}" for row in rows if row["from_1_us"]]
    return (
        "How long page-table allocations take, modelled service and waiting, logarithmic both ways: the height of a "
        "bar is how many fell into its bucket; below, the median, 99th and 99.9th percentile where there are "
        f"samples enough. Allocations of 1 µs and more: {listed(slow) if slow else 'none'}."
    )
