"""What ends a trial as a failure, and what does not."""

import numpy as np
from toy_machine import KERNEL, OTHER, PGTABLE, demand_of, machine_of

from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM, NORETRY
from replay.risk.trial import trial
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
