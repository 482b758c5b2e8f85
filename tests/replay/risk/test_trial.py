"""What ends a trial as a failure, and what does not."""

from dataclasses import dataclass

import numpy as np
from toy_machine import KERNEL, OTHER, PGTABLE, demand_of, machine_of

from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM, NORETRY
from replay.risk.trial import trial
from replay.strategies.ctor_naive import CtorNaive
from replay.strategies.full_reserve import FullReserve
from replay.strategies.self_split import SelfSplit
from replay.strategies.unprotected import Unprotected


def pressed_toy(pages: int):
    free = np.zeros(256, np.bool_)
    free[:pages] = True
    return machine_of(256, free=free)


def test_an_oom_kill_ends_a_trial_at_its_time():
    demand = demand_of([("alloc", 300 + page, 0, OTHER) for page in range(20)])
    demand.program.context[:] = GFP_KERNEL
    outcome = trial(pressed_toy(8), demand, Unprotected(), "none")
    assert (outcome.failed, outcome.page_order, outcome.allocations) == ("oom_kill", 0, 8)
    assert outcome.at_ns == 108_000, "the ninth allocation, and the round of reclaim before it kills"
    assert trial(pressed_toy(20), demand, Unprotected(), "none").failed is None


def test_null_is_a_failure_only_for_requests_that_rely_on_being_served():
    demand = demand_of([("alloc", 300 + page, 0, OTHER) for page in range(20)])
    for context, failed in (
        (KERNEL & ~MAY_RECLAIM, None),
        (KERNEL | NORETRY, None),
        (2 | MAY_RECLAIM, "livelock"),  # GFP_NOIO: it kills nobody and loops
        (1 | MAY_RECLAIM, "null"),  # __GFP_DMA32: nobody is killed for lowmem
    ):
        demand.program.context[:] = context
        assert trial(pressed_toy(8), demand, Unprotected(), "none").failed == failed


def test_a_refill_of_four_pages_kills_as_any_small_request_does():
    demand = demand_of([("alloc", 300 + page, 0, PGTABLE) for page in range(20)])
    pool = SelfSplit(refill_orders=(2,))
    outcome = trial(pressed_toy(16), demand, pool, "none")
    assert (outcome.failed, outcome.page_order) == ("oom_kill", 2)
    assert trial(pressed_toy(64), demand, pool, "none").failed is None


@dataclass(frozen=True)
class _Unkeyed(SelfSplit):
    """A strategy that promises keys, and whose first table has none."""

    leaves_unkeyed = False


def test_a_table_without_its_key_is_a_failure_where_the_posting_promises_one():
    demand = demand_of([("alloc", 300, 0, PGTABLE)])
    assert trial(machine_of(256), demand, SelfSplit(refill_orders=(2,)), "none").failed is None
    assert trial(machine_of(256), demand, _Unkeyed(refill_orders=(2,)), "none").failed == "unkeyed_table"
    assert trial(machine_of(256), demand, CtorNaive(), "none").failed is None


def test_what_does_not_fit_at_boot_is_a_failure_before_the_first_event():
    demand = demand_of([("alloc", 300, 0, PGTABLE)])
    assert trial(pressed_toy(50), demand, FullReserve(refill_orders=(2, 0)), "none")[:3] == ("boot", 0, None)
    assert trial(pressed_toy(90), demand, FullReserve(refill_orders=(2, 0)), "none").failed is None
