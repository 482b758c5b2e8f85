"""PGDs as the modelled kernel allocates them."""

import numpy as np
import pytest
from accounts import metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of
from toy_runs import SMALL

from ptpool.errors import UsageError
from replay.contract.registry import strategies
from replay.demand.pgds import check_pti, without_pti
from replay.machine.tally import PTP_UNKEYED
from replay.strategies.unprotected import Unprotected

SCRIPT = [
    ("alloc", 2, 1, PGTABLE),
    ("alloc", 4, 0, PGTABLE),
    ("alloc", 6, 1, OTHER),
    ("free", 2, 1, OTHER),
    ("free", 6, 1, OTHER),
    ("free", 8, 1, OTHER),
    ("alloc", 2, 1, OTHER),
    ("free", 2, 1, OTHER),
]


def test_a_pgd_is_one_page_from_its_allocation_to_its_free_and_nothing_else_changes():
    demand = demand_of(SCRIPT)
    single = without_pti(demand)

    assert single.program.order.tolist() == [0, 0, 1, 0, 1, 1, 1, 1]
    assert [n for words, n in single.changed.items() if "PGDs" in words] == [1]
    assert all(
        np.array_equal(getattr(single.program, name), getattr(demand.program, name))
        for name in ("op", "ts", "pfn", "consumer")
    )


def test_a_recording_without_such_pgds_is_left_alone():
    demand = demand_of([("alloc", 4, 0, PGTABLE), ("alloc", 6, 1, OTHER)])
    assert without_pti(demand) is demand


SERVES_PAIRS = {"Unprotected", "PteMapped", "CtorNaive", "UnmappedAlloc", "Freetype", "MigrateUnmapped", "BuddyReserve"}
"""Whose tables are of any order: those of the page allocator, keyed or not as its other tables are, and of a buddy."""


@pytest.mark.parametrize("strategy", SMALL, ids=lambda strategy: type(strategy).__name__)
def test_with_pti_a_pool_of_single_pages_leaves_a_pgd_without_the_key(strategy):
    """And without it every strategy keys it; no strategy refuses one, or asks for more than another."""
    script = [("alloc", 2, 1, PGTABLE), ("alloc", 8, 0, PGTABLE)]
    with_pti = finished(machine_of(256), demand_of(script), strategy)
    without = finished(machine_of(256), without_pti(demand_of(script)), strategy)
    plain = 2 if isinstance(strategy, Unprotected) else 0
    if type(strategy).__name__ == "CtorNaive":
        return  # its first table has none on a map of large pages, whatever its order
    expected = plain if type(strategy).__name__ in SERVES_PAIRS else 1

    assert with_pti.state.tally.counts[PTP_UNKEYED] == expected
    assert without.state.tally.counts[PTP_UNKEYED] == plain
    assert metrics(with_pti)["ptp_allocs"] == metrics(without)["ptp_allocs"] == 2
    assert metrics(with_pti)["ptp_live_peak"] - metrics(without)["ptp_live_peak"] == 1
    assert metrics(with_pti)["ptp_nulls"] == metrics(without)["ptp_nulls"] == 0


def test_no_strategy_decides_how_large_a_pgd_is():
    assert not any("pgd" in entry.factory.__dataclass_fields__ for entry in strategies().values())


def test_another_value_is_refused():
    with pytest.raises(UsageError, match="--pti maybe"):
        check_pti("maybe")
