"""kpkeys v6's allocator: its rules for each page size, what a refill hands out, its locks, and its end."""

from dataclasses import replace

import numpy as np
import pytest
from accounts import metrics
from toy_machine import PGTABLE, demand_of, finished, machine_of, tables
from toy_runs import TOY_PBA

from replay.contract.actions import GiveRest, Lock, SetKey, Unlock
from replay.contract.registry import configure, find
from replay.demand.others import GUESS
from replay.kernel import direct_map as maps
from replay.kernel.geometry import ARM64_4K, ARM64_16K, ARM64_64K, X86_64
from replay.strategies.pba import Pba


@pytest.mark.parametrize(
    ("geometry", "orders", "worth_it", "batch"),
    [
        (X86_64, (9, 4, 2), 64, 512),
        (ARM64_4K, (9, 4, 2), 64, 512),
        (ARM64_16K, (11, 7, 2), 256, 2048),
        (ARM64_64K, (9, 5, 2), 1024, 8192),
    ],
)
def test_orders_and_the_shrinker_follow_the_page_size(geometry, orders, worth_it, batch):
    chosen = Pba().on(geometry)
    assert (chosen.refill_orders, chosen.shrink_block_min, chosen.shrink_batch) == (orders, worth_it, batch)
    (entry,) = find(["pba"])
    assert configure(entry, {"refill_orders": "4+2"}).on(geometry).refill_orders == (4, 2)
    assert configure(entry, {"refill_orders": "auto"}) == Pba()


def test_a_refill_of_less_than_a_pmd_is_no_block_to_the_shrinker():
    """64K pages: order 9 is not PMD_ORDER, so nothing goes back in one piece. Here: chunks of two pages, leaves of four."""
    script = [*tables(9), *(("free", page, 0, PGTABLE) for page in range(9))]
    small = replace(TOY_PBA, refill_orders=(1,), reserve=0, unshrinkable=0)
    machine = finished(machine_of(level=maps.PTE), demand_of(script), small)
    assert not machine.state.pool.whole.any()
    machine = finished(machine_of(level=maps.PTE), demand_of(script), replace(small, refill_orders=(2,)))
    assert machine.state.pool.whole.any()


def test_nobody_takes_the_page_that_a_refill_is_for():
    """Tasks that ask while a refill puts its pages on the list get those above the reserve, and leave the reserve whole."""
    many = 40
    demand = demand_of(tables(many), tasks=list(range(many)))
    demand.program.ts[:] = np.arange(many) * 7  # several within the time that a page takes to get onto the list
    values = metrics(finished(machine_of(1024, level=maps.PTE), demand, TOY_PBA))
    assert values["ptp_nulls"] == 0
    assert values["decisions_at_once"] > 1
    assert values["reserve_pages_min"] == TOY_PBA.reserve


def actions(decision, chunk, pool):
    """What a decision asks for, when it gets this chunk."""
    asked, result = [], None
    try:
        while True:
            asked.append(action := decision.send(result))
            result = chunk if type(action).__name__ in ("Alloc", "GiveRest") else True
    except StopIteration as stop:
        return asked, stop.value


def test_the_split_lock_is_released_before_the_flush():
    machine = finished(machine_of(), demand_of(tables(1)), TOY_PBA)
    chunk = next(chunk for chunk in machine.state.view.idle_chunks())._replace(order=2)
    asked, served = actions(TOY_PBA.refill(machine.state.view, 0), chunk, machine.state.view)
    assert served == chunk
    locks = [action for action in asked if isinstance(action, Lock | Unlock | SetKey | GiveRest)]
    assert [type(action).__name__ for action in locks] == ["Lock", "Lock", "SetKey", "GiveRest", "Unlock"]
    assert locks[2].unlock == "pgtable_split_lock"
    assert locks[-1] == Unlock("alloc_mutex")


def test_a_change_by_others_waits_for_the_splits_of_a_refill_and_not_for_its_flush():
    """In a map of pages nothing splits: the lock is free while the refill writes the key and flushes."""
    halves = replace(TOY_PBA, refill_orders=(1,), reserve=2)
    waits = {level: [] for level in (maps.PTE, maps.PMD)}
    for level, found in waits.items():
        for count in range(1, 8):  # one of these refills splits a leaf
            demand = demand_of([*tables(count), ("change", 0, 0, PGTABLE)], tasks=[0] * count + [1])
            demand = replace(demand, changes=(GUESS,))
            demand.program.ts[-1] = demand.program.ts[-2] + 60  # after the 50 ns that a request takes
            found.append(finished(machine_of(level=level), demand, halves).schedule.lock_wait_ns)
    assert max(waits[maps.PTE]) == 0 < max(waits[maps.PMD])


def test_an_empty_list_is_a_warning_and_a_deadlock():
    """The first refill lies in the first 1G leaf; with a reserve of none the next one lacks a table for its own leaf."""
    bare = replace(TOY_PBA, reserve=0)
    used = [page % 16 for page in range(256)]  # one block of each 1G leaf is free
    start = machine_of(level=maps.PUD, free=[page < 4 for page in used])
    values = metrics(finished(start, demand_of(tables(20)), bare))
    assert (values["warns"] > 0, values["deadlocks"] > 0, values["split_starvations"]) == (True, True, 0)
    kept = metrics(finished(start, demand_of(tables(20)), TOY_PBA))
    assert kept["warns"] == kept["deadlocks"] == 0


def test_the_shrinker_pays_for_the_pages_that_it_walks():
    """Both walks over the list, under its lock; a table that is asked for meanwhile waits."""
    script = [*tables(60), *(("free", page, 0, PGTABLE) for page in range(60))]
    short = [("alloc", 300 + 4 * n, 2, 0) for n in range(80)]
    values = metrics(finished(machine_of(256, level=maps.PTE), demand_of([*script, *short]), TOY_PBA))
    assert values["shrunk_pages"] > 0
    assert values["pool_pages_walked"] > values["shrunk_pages"]
    assert values["pool_lock_held_max_ns"] >= 60 * 5
