"""One pool for all kinds of user, against a pool for each, by hand on a toy machine: blocks of 4 pages, 16 in a 1G leaf."""

from accounts import assert_consistent, metrics
from toy_machine import KSTACK, OTHER, PGTABLE, SECRET, demand_of, finished, machine_of

from replay.contract.permissions import SHADOW_STACK, TABLES
from replay.demand.demand import Demand
from replay.demand.program import ALLOC
from replay.demand.shadow_stacks import with_shadow_stacks
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


def test_shadow_stacks_follow_the_pages_of_kernel_stacks():
    """Allocated as anything (vmalloc's bulk allocator has no event), known as stacks when they are freed; in any order."""
    script = [("alloc", page, 0, OTHER) for page in (7, 3, 9, 5)] + [
        *freed(3, 1),
        *freed(5, 1),
        *freed(7, 1),
        *freed(9, 1),
    ]
    script += [("free", 30, 0, KSTACK), ("alloc", 8, 2, KSTACK), ("alloc", 40, 0, OTHER), ("free", 40, 0, OTHER)]
    demand = demand_of(script)
    program = with_shadow_stacks(demand, 4096).program
    shadows = [
        (int(op), int(pfn))
        for op, pfn, who in zip(program.op, program.pfn, program.consumer, strict=True)
        if who == SHADOW_STACK
    ]
    first, second = demand.pages + 1, demand.pages + 2

    assert shadows == [(ALLOC, first), (1, first), (ALLOC, second)]  # the second is not freed
    assert with_shadow_stacks(demand, 4096).moves == demand.moves + 2
    assert any("frees 1 pages" in line for line in _said(with_shadow_stacks(demand, 4096)))
    assert (program.ts[1:] >= program.ts[:-1]).all()
    assert len(with_shadow_stacks(demand, 65536).program.op) == len(script) + 4 * 2 + 1  # a page is a stack


def test_a_demand_without_kernel_stacks_stays_as_it_is():
    demand = demand_of([("alloc", 1, 0, OTHER)])
    assert len(with_shadow_stacks(demand, 4096).program.op) == 1
    assert not with_shadow_stacks(demand_of([]), 4096).changed


def test_the_shrinker_gives_a_whole_block_back_without_a_table():
    """Secret memory of two blocks is freed; then others want all of the memory."""
    script = [("alloc", page, 0, SECRET) for page in range(8)] + [("free", page, 0, OTHER) for page in range(8)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(58)]
    machine = finished(machine_of(64), demand_of(script), Generic(**TOY))
    values = metrics(machine)
    assert values["shrunk_pages"] >= 4
    assert values["unplaced_allocations"] == 0
    assert values["splits_2m"] == 0
    assert_consistent(machine)
