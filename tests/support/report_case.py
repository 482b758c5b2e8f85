"""A case of strategies with made-up metrics, for tests of what reports say."""

from typing import Any

from looks import LOOKS

from reports.case import Case

BASE = {
    "ptp_allocs": 1000, "ptp_live_start": 100, "ptp_live_peak": 1124, "splits_1g": 0, "splits_2m": 0, "splits_warm_up": 0,
    "pte_share_start": 0.001, "pte_share_mean": 0.002, "refills": None, "pool_pages_peak": None, "pool_idle_pages_mean": None,
    "stranded_pages_mean": None, "reserve_pages_min": None, "permission_changes": None, "ptp_nulls": 0,
    "split_starvations": 0, "deadlocks": 0, "oom_kills": 0, "unkeyed_page_seconds": 0, "stalls": 0, "shrunk_pages": None, "block_failures": 0,
}  # fmt: skip


def facts(**metrics: dict[str, Any]) -> Case:
    """A case of strategies (underscores for dashes) with the named metrics changed."""
    rows = {name.replace("_", "-"): BASE | changed for name, changed in metrics.items()}
    capture = {"timing": "real", "arch": "x86_64", "page_size": 4096}
    return Case(capture=capture, metrics=rows, looks=LOOKS)
