"""One pool for all kinds of user, against a pool for each, by hand on a toy machine: blocks of 4 pages, 16 in a 1G leaf."""

from accounts import assert_consistent, metrics
from toy_machine import KSTACK, OTHER, PGTABLE, SECRET, demand_of, finished, machine_of

from replay.contract.permissions import TABLES
from replay.demand.demand import Demand
from replay.kernel import direct_map as maps
from replay.machine import pool as pools
from replay.strategies.generic import Generic, GenericSeparate

TOY = {"refill_orders": (2,), "cache_order": 1}


def stack(first):
    """A kernel stack of four pages that vmalloc gets one by one."""
    return [("alloc", first + page, 0, KSTACK) for page in range(4)]


def freed(first, count):
    return [("free", first + page, 0, KSTACK) for page in range(count)]


def test_secret_memory_comes_from_the_big_pool_and_goes_back_without_a_change():
    """The first page takes the block out of the direct map, under a 1G leaf that boot has split; the others cost nothing."""
    script = [("alloc", page, 0, SECRET) for page in range(2)] + [("free", page, 0, OTHER) for page in range(2)]
    machine = finished(machine_of(64), demand_of(script), Generic(**TOY))
    values = metrics(machine)

    assert values["permission_changes"] == 0  # boot's refill of the reserve left two pages of a block
    assert (values["splits_1g"], values["splits_2m"]) == (0, 0)
    assert values["ptp_live_peak"] == 0
    assert machine.state.view.idle_chunks() == [(2, 1)]
    assert_consistent(machine)


def test_a_cache_converts_what_it_takes_without_a_flush_and_splits_its_block_once():
    """Boot: block 0 is unmapped, its first pair keyed: the reserve. The first table takes the second pair, the third block 1.

    The conversion of the second pair changes nothing but the permission of two pages. Block 1 leaves the direct map whole
    (a change and a flush), and the pair that the cache takes of it splits it (a change, and the flush of the split).
    """
    script = [("alloc", page, 0, PGTABLE) for page in range(3)]
    machine = finished(machine_of(64), demand_of(script), Generic(**TOY))
    values = metrics(machine)

    assert values["permission_changes"] == 1 + 2
    assert values["tlb_flushes"] == 0 + 2
    assert (values["splits_1g"], values["splits_2m"]) == (0, 1)
    assert values["reserve_pages_min"] == 1  # the table that the split took
    assert values["refills"] == 1
    assert_consistent(machine)


def test_what_a_cache_has_too_much_of_can_serve_others():
    """Six tables are freed: two batches and the reserve stay, the rest is secret memory without a new block."""
    script = [("alloc", page, 0, PGTABLE) for page in range(6)] + [("free", page, 0, OTHER) for page in range(6)]
    script += [("alloc", 20 + page, 0, SECRET) for page in range(2)]
    machine = finished(machine_of(64), demand_of(script), Generic(**TOY))
    blocks = metrics(machine)["pool_blocks_end"]

    assert machine.state.pool.on_own[TABLES] <= 2 * 2
    assert blocks == metrics(finished(machine_of(64), demand_of(script[:12]), Generic(**TOY)))["pool_blocks_end"]
    assert_consistent(machine)


def test_separate_pools_take_a_block_for_each_kind_of_user():
    script = [("alloc", 0, 0, PGTABLE), ("alloc", 1, 0, SECRET), *stack(20)]
    held = [
        metrics(finished(machine_of(64), demand_of(script), strategy(**TOY))) for strategy in (Generic, GenericSeparate)
    ]
    assert [values["pool_pages_peak"] for values in held] == [8, 12]
    assert [values["ptp_live_peak"] for values in held] == [1, 1]


def test_a_kernel_stack_has_a_shadow_stack_of_one_page_with_a_permission_of_its_own():
    machine = finished(machine_of(64), demand_of([*stack(20), *stack(40), *freed(20, 4)]), Generic(**TOY))
    attributes = [int(maps.attribute_of(machine.state.direct_map, page)) for page in range(64)]
    assert sum(attribute & maps.READ_ONLY != 0 for attribute in attributes) == 2
    assert machine.state.pool.on_own.tolist()[2] == 1  # one is in use, and one idle
    assert machine.state.pool.counts[pools.HELD] == 4
    assert any(
        "1 kernel shadow stacks" in line or "2 kernel shadow stacks" in line for line in _said(machine.state.demand)
    )


def _said(demand: Demand):
    return [what.format(count) for what, count in demand.changed.items()]


def test_the_shrinker_gives_a_whole_block_back_without_a_table():
    """Secret memory of two blocks is freed; then others want all of the memory."""
    script = [("alloc", page, 0, SECRET) for page in range(8)] + [("free", page, 0, OTHER) for page in range(8)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(58)]
    machine = finished(machine_of(64), demand_of(script), Generic(**TOY))
    values = metrics(machine)
    assert values["shrunk_pages"] >= 4
    assert values["pool_pages_walked"] > 0
    assert values["unplaced_allocations"] == 0
    assert values["splits_2m"] == 0
    assert_consistent(machine)
