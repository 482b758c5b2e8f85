"""Blocks that are flipped for tables and back, by hand on a toy machine."""

from accounts import metrics
from toy_machine import KSTACK, OTHER, demand_of, finished, machine_of, tables

from ptpool.vocabulary import MOVABLE, SLOW_PATH_STEPS, UNMOVABLE
from replay.contract.actions import Wait
from replay.contract.strategy import PoolView
from replay.kernel import direct_map as maps
from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM
from replay.strategies.freetype import Freetype

TOY = Freetype(block_order=2, pcp_batch=0)


def after_five_tables(consumer):
    """Two blocks flipped, all tables freed, two pages free elsewhere; then somebody wants three pages."""
    script = tables(5) + [("free", page, 0, OTHER) for page in range(5)]
    script += [("alloc", 100 + page, 0, consumer) for page in range(3)]
    start = machine_of(64, free=[page < 10 for page in range(64)], level=maps.PMD)
    return metrics(finished(start, demand_of(script), TOY))


def test_freetype_flips_a_block_back_before_an_unmovable_request_stalls():
    values = after_five_tables(KSTACK)
    assert (values["stalls"], values["shrunk_pages"], values["unplaced_allocations"]) == (0, 4, 0)
    assert values["refills"] == 2


def test_a_request_that_may_not_sleep_flips_nothing_back():
    script = tables(5) + [("free", page, 0, OTHER) for page in range(5)]
    script += [("alloc", 100 + page, 0, KSTACK) for page in range(3)]
    demand = demand_of(script)
    demand.program.context[-3:] = GFP_KERNEL & ~MAY_RECLAIM
    values = metrics(finished(machine_of(64, free=[page < 10 for page in range(64)], level=maps.PMD), demand, TOY))
    assert (values["stalls"], values["shrunk_pages"], values["unplaced_allocations"]) == (0, 0, 1)


def test_a_movable_request_does_not_get_a_flipped_block():
    """FREETYPE_UNMAPPED has lists for unmovable pages only."""
    values = after_five_tables(OTHER)
    assert (values["shrunk_pages"], values["unplaced_allocations"]) == (0, 1)


def test_flipped_pages_are_free_memory():
    machine = finished(machine_of(64, level=maps.PMD), demand_of(tables(1)), TOY)
    assert machine.state.allocator.free_pages.sum() == 63


def test_freetype_has_no_smaller_fallback_than_a_block_and_kills_as_a_request_of_order_0():
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)])
    machine = finished(start, demand_of(tables(1)), TOY)
    assert metrics(machine)["ptp_nulls"] == 1
    assert next((kind, order) for _, kind, order, _ in machine.state.incidents) == ("oom_kill", 0)
    assert machine.state.refill_attempts[2].tolist() == [1, 1]


def test_a_request_of_order_0_compacts_for_a_block():
    """A page of each block is in use, and can be moved."""
    start = machine_of(64, free=[page % 4 != 1 for page in range(64)], level=maps.PMD)
    machine = finished(start, demand_of(tables(1)), TOY, "optimistic")
    assert machine.state.reclaim.done["compacted"] == 1
    assert machine.state.flags[0, SLOW_PATH_STEPS.index("compact_async")] == 1
    assert metrics(machine)["ptp_nulls"] == 0


def test_v1_clears_a_block_that_it_flips_back():
    class OneBlock(PoolView):
        def idle_blocks(self):
            return [(8, 4, True)]

    waits = []
    decision = Freetype(block_order=2, clear_ns=7).fall_back(OneBlock(), 0, UNMOVABLE)
    result = None
    try:
        while True:
            action = decision.send(result)
            waits += [action.ns] if isinstance(action, Wait) else []
            result = True
    except StopIteration as stop:
        assert stop.value == 4
    assert waits == [28]
    assert next(Freetype().fall_back(OneBlock(), 0, MOVABLE), "nothing") == "nothing"
