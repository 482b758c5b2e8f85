"""Our own strategy by hand on a toy machine: blocks of 4 pages, 16 in a 1G leaf."""

from accounts import assert_consistent, metrics
from toy_machine import OTHER, SECRET, demand_of, finished, machine_of, tables

from replay.kernel import direct_map as maps
from replay.strategies.buddy_reserve import REFILL_TABLES, BuddyReserve
from replay.strategies.reserve_block import ReserveBlock

TOY = BuddyReserve(block_order=2, last_order=1, magazine_order=0, keep=8)


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
    """Pairs are free everywhere, four pages only at the start: a block is a vain request, what is there is not."""
    free = [page < 16 or page % 4 < 2 for page in range(96)]
    start = machine_of(96, free=free, level=maps.PTE)
    looks, blind = (
        metrics(
            finished(
                start, demand_of(tables(40)), BuddyReserve(block_order=2, last_order=1, magazine_order=0, looks=looks)
            )
        )
        for looks in (True, False)
    )
    assert looks["stalls"] == 0
    assert blind["stalls"] > 0


def test_what_is_split_serves_with_all_that_is_free_in_it():
    """Three pages of each block are free, nowhere four: who takes pairs splits a block for each, and loses its third page."""
    free = [page < 8 or page % 4 < 3 for page in range(96)]
    start = machine_of(96, free=free, level=maps.PMD)
    all_of_it, pairs = (
        finished(start, demand_of(tables(40)), BuddyReserve(block_order=2, last_order=1, magazine_order=0, isolates=on))
        for on in (True, False)
    )
    assert metrics(all_of_it)["ptp_nulls"] == 0
    assert metrics(pairs)["ptp_nulls"] > 0
    assert metrics(all_of_it)["refills"] == metrics(all_of_it)["splits_2m"]  # one for each
    taken = [metrics(machine)["isolated_movable_pages"] for machine in (all_of_it, pairs)]
    assert taken == [metrics(all_of_it)["splits_2m"], 0]  # the third page of each block, which is of movable pages
    for machine in (all_of_it, pairs):
        assert_consistent(machine)


def test_keys_of_several_chunks_are_flushed_at_once():
    """As above, in a map of single pages, where no split flushes: a pair and a page a refill."""
    free = [page < 8 or page % 4 < 3 for page in range(96)]
    values = metrics(finished(machine_of(96, free=free, level=maps.PTE), demand_of(tables(40)), TOY))
    assert values["refills"] > 10
    assert values["permission_changes"] == 2 * values["refills"]
    assert values["tlb_flushes"] == values["refills"]


def test_a_block_too_many_goes_back_when_tables_are_freed():
    """40 tables come and go: ten blocks, of which one stays whole in addition to the `keep` pages."""
    script = tables(40) + [("free", page, 0, OTHER) for page in range(40)]
    few, all_of_them = (
        finished(
            machine_of(64, level=maps.PMD),
            demand_of(script),
            BuddyReserve(block_order=2, magazine_order=0, keep=2, spare_blocks=spare),
        )
        for spare in (1, 100)
    )
    assert few.state.view.cached < 12
    assert all_of_them.state.view.cached >= 40
    assert metrics(few)["splits_2m"] == metrics(all_of_them)["splits_2m"] == 0
    assert metrics(few)["shrunk_pages"] == all_of_them.state.view.cached - few.state.view.cached
    assert_consistent(few)


def test_the_shrinker_never_splits_and_leaves_what_it_has_to():
    """30 tables come and go; then others want all memory: whole blocks go back, as far as `keep` pages stay."""
    script = tables(30) + [("free", page, 0, OTHER) for page in range(30)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(56)]
    machine = finished(machine_of(64, level=maps.PMD), demand_of(script), TOY)
    values = metrics(machine)

    assert values["shrunk_pages"] > 0
    assert values["splits_2m"] == 0
    assert values["unplaced_allocations"] == 0
    assert machine.state.view.cached >= TOY.keep
    assert_consistent(machine)


def test_it_holds_no_more_than_the_proposal_it_grew_from():
    script = tables(40)
    ours, proposed = (
        metrics(finished(machine_of(), demand_of(script), s)) for s in (TOY, ReserveBlock(block_order=2, last_order=2))
    )
    assert ours["pool_pages_peak"] - proposed["pool_pages_peak"] <= 4  # the larger reserve
    assert ours["splits_1g"] == proposed["splits_1g"]
