"""Our own strategy by hand on a toy machine: blocks of 4 pages, 16 in a 1G leaf."""

from accounts import assert_consistent, metrics
from toy_machine import OTHER, PGTABLE, SECRET, demand_of, finished, machine_of

from replay.kernel import direct_map as maps
from replay.strategies.buddy_reserve import REFILL_TABLES, BuddyReserve
from replay.strategies.reserve_block import ReserveBlock

TOY = BuddyReserve(block_order=2, magazine_order=0, keep=8)


def tables(count):
    return [("alloc", page, 0, PGTABLE) for page in range(count)]


def test_others_leave_two_pages_for_the_next_refill():
    """Boot: two blocks, of which two pages are above the reserve. Secret memory in untouched 1G leaves takes two tables each."""
    free = [page < 8 or page % 16 == 5 for page in range(96)]
    script = [*tables(2), *(("alloc", 200 + page, 0, SECRET) for page in range(5))]
    machine = finished(machine_of(96, free=free), demand_of(script), TOY)
    values = metrics(machine)

    assert values["reserve_pages_min"] == REFILL_TABLES
    assert values["split_starvations"] == 3  # two of the five leaves were split; there is no memory for a refill
    assert_consistent(machine)


def test_who_looks_does_not_stall_for_a_block_that_is_not_there():
    """Pairs of two are free, four pages nowhere but at the start: a block is a vain request, what is there is not."""
    free = [page < 32 or page % 16 < 4 for page in range(96)]
    start = machine_of(96, free=free, level=maps.PTE)
    looks = BuddyReserve(block_order=3, magazine_order=0, looks=True)
    blind = BuddyReserve(block_order=3, magazine_order=0)
    stalls = [metrics(finished(start, demand_of(tables(40)), strategy))["stalls"] for strategy in (looks, blind)]
    assert stalls[0] == 0
    assert stalls[1] > 0


def test_the_shrinker_never_splits_and_leaves_what_it_has_to():
    """30 tables come and go; then others want all memory: whole blocks go back, as far as `keep` pages stay."""
    script = tables(30) + [("free", page, 0, OTHER) for page in range(30)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(56)]
    machine = finished(machine_of(64, level=maps.PMD), demand_of(script), TOY)
    values = metrics(machine)

    assert values["shrunk_pages"] > 0
    assert values["splits_2m"] == 0
    assert values["unplaced_allocations"] == 0
    assert machine.view.cached >= TOY.keep
    assert_consistent(machine)


def test_two_tasks_that_refill_at_once_take_two_blocks_or_wait():
    demand = demand_of(tables(4), tasks=[0, 0, 0, 1])
    each, wait = (
        finished(machine_of(), demand, BuddyReserve(block_order=2, magazine_order=0, one_refill=one))
        for one in (False, True)
    )
    assert each.refills == 2
    assert wait.refills == 1
    assert wait.schedule.lock_wait_ns > 0


def test_it_holds_no_more_than_the_proposal_it_grew_from():
    script = tables(40)
    ours, proposed = (
        metrics(finished(machine_of(), demand_of(script), s)) for s in (TOY, ReserveBlock(block_order=2, last_order=2))
    )
    assert ours["pool_pages_peak"] - proposed["pool_pages_peak"] <= 4  # the larger reserve
    assert ours["splits_1g"] == proposed["splits_1g"]
