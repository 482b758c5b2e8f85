"""Magazines of CPUs in front of the shared list, by hand on a toy machine."""

from accounts import metrics
from toy_machine import OTHER, demand_of, finished, machine_of, tables

from replay.machine import pool as pools
from replay.strategies.reserve_block import ReserveBlock
from replay.strategies.reserve_block_percpu import ReserveBlockPerCpu

BLOCK = ReserveBlock(block_order=2, last_order=2)


def test_magazines_take_the_lock_of_the_shared_list_once_for_all_their_pages():
    """Blocks of 4, a reserve of 2, magazines of 2. Boot: 4 pages, 2 of them above the reserve: a magazine, and 2 tables.

    The third finds neither: the loop looks, the decision looks again, and then a refill of 4 pages serves it and the
    fourth. 2 magazines and 2 looks in vain are 4 times the lock for 4 tables. Freed, they make two full magazines, which
    stay; without lists of CPUs every table and every free takes the lock.
    """
    percpu = ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=1)
    script = tables(4) + [("free", page, 0, OTHER) for page in range(4)]
    machine = finished(machine_of(64), demand_of(script), percpu)
    values = metrics(machine)

    assert values["pool_lock_acquisitions"] == 4
    assert values["refills"] == 1
    assert machine.state.pool.on_own.tolist() == [4, 0, 0]
    assert machine.state.pool.counts[pools.CACHED] == 4  # the reserve, and the other half of the block
    plain = metrics(finished(machine_of(64), demand_of(script), BLOCK))
    assert plain["pool_lock_acquisitions"] == 4 + 4
    assert plain["pool_idle_pages_mean"] == values["pool_idle_pages_mean"]  # pages of CPUs are idle as well


def test_the_third_full_magazine_of_a_cpu_goes_back():
    percpu = ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=1)
    script = tables(5) + [("free", page, 0, OTHER) for page in range(5)]
    machine = finished(machine_of(64), demand_of(script), percpu)
    assert machine.state.pool.on_own.tolist() == [4, 0, 0]  # one of the second magazine was there, and five came back


def test_a_block_for_each_cpu_costs_blocks():
    """One table on each of two CPUs: the pool of one list serves both from its first block."""
    demand = demand_of(tables(2))
    demand.program.cpu[1] = 1
    held = [
        metrics(finished(machine_of(64), demand, strategy))["pool_pages_peak"]
        for strategy in (BLOCK, ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=2))
    ]
    assert held == [4, 8]
