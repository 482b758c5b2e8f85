"""Page tables are asked for in the context that was recorded, and so is what a strategy asks for on the way."""

import pytest
from accounts import metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of, tables
from toy_runs import BLOCK, SMALL, TOY_PBA

from replay.kernel.gfp import GFP_KERNEL, IS_HIGH, MAY_FS, WAKES_KSWAPD
from replay.kernel.mmzone import ZONE_NORMAL
from replay.risk.trial import trial
from replay.strategies.full_reserve import FullReserve
from replay.strategies.pte_mapped import PteMapped
from replay.strategies.unprotected import Unprotected

ATOMIC = ZONE_NORMAL | IS_HIGH | WAKES_KSWAPD
NOFS = GFP_KERNEL & ~MAY_FS
RESERVE = FullReserve(refill_orders=(2, 0))


def in_context(script, context):
    demand = demand_of(script)
    demand.program.context[demand.program.consumer == PGTABLE] = context
    return demand


@pytest.mark.parametrize("strategy", SMALL, ids=lambda strategy: type(strategy).__name__)
def test_tables_in_a_context_that_may_not_sleep_are_counted_for_every_strategy(strategy):
    values = metrics(finished(machine_of(256), in_context(tables(3), ATOMIC), strategy))
    assert values["ptp_atomic"] == 3
    assert values["ptp_allocs"] + values["ptp_refused_context"] == 3
    assert values["ptp_nulls"] == 0
    assert metrics(finished(machine_of(256), demand_of(tables(3)), strategy))["ptp_atomic"] == 0


@pytest.mark.parametrize("strategy", [BLOCK, TOY_PBA], ids=lambda strategy: type(strategy).__name__)
def test_a_pool_serves_them_from_its_list_and_refuses_them_when_that_is_empty(strategy):
    """At boot there are four pages: what is above the reserve is handed out, and nothing is refilled."""
    served = 4 - strategy.reserve
    machine = finished(machine_of(256), in_context(tables(6), ATOMIC), strategy)
    values = metrics(machine)

    assert values["ptp_allocs"] == served
    assert values["ptp_refused_context"] == 6 - served
    assert values["refills"] == 0
    assert machine.state.incident_counts == {"ptp_refused": 6 - served}


def test_the_grouped_page_cache_takes_a_single_page_for_them():
    values = metrics(finished(machine_of(256), in_context(tables(6), ATOMIC), RESERVE))
    assert (values["ptp_allocs"], values["ptp_refused_context"], values["refills"]) == (6, 0, 6)
    assert metrics(finished(machine_of(256), demand_of(tables(6)), RESERVE))["refills"] == 2  # of four pages


@pytest.mark.parametrize("strategy", [Unprotected(), PteMapped()], ids=lambda strategy: type(strategy).__name__)
def test_a_table_of_the_page_allocator_has_the_rights_of_its_context(strategy):
    """Without reclaim it fails at once where GFP_KERNEL would reclaim, stall and kill."""
    start = machine_of(64, free=[page < 28 for page in range(64)])
    script = [("alloc", 100 + page, 0, PGTABLE) for page in range(32)]
    atomic = finished(start, in_context(script, ATOMIC), strategy)
    kernel = finished(start, demand_of(script), strategy)

    assert metrics(atomic)["ptp_nulls"] == metrics(kernel)["ptp_nulls"] > 0
    assert (metrics(atomic)["stalls"], metrics(atomic)["oom_kills"]) == (0, 0)
    assert metrics(kernel)["oom_kills"] == metrics(kernel)["ptp_nulls"]


def test_a_refill_has_the_rights_of_the_request_that_it_is_for():
    """A NOFS scope holds for the refill: it kills nobody and loops to the end."""
    start = machine_of(64, free=[page < 8 for page in range(64)])
    kernel = finished(start, demand_of(tables(12)), BLOCK).state.incident_counts
    nofs = finished(start, in_context(tables(12), NOFS), BLOCK).state.incident_counts

    assert kernel.get("oom_kill") and not kernel.get("livelock")
    assert nofs.get("livelock") and not nofs.get("oom_kill")


def test_what_is_refused_for_its_context_is_no_failure_of_memory():
    demand = in_context([*tables(6), ("alloc", 300, 0, OTHER)], ATOMIC)
    assert trial(machine_of(256), demand, BLOCK, "none").failed is None
