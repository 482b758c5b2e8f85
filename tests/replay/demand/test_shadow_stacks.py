"""A shadow stack for every kernel stack of a demand."""

from toy_machine import KSTACK, OTHER, demand_of

from replay.contract.permissions import SHADOW_STACK
from replay.demand.demand import Demand
from replay.demand.program import ALLOC
from replay.demand.shadow_stacks import with_shadow_stacks


def freed(first, count):
    return [("free", first + page, 0, KSTACK) for page in range(count)]


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
