"""Free pages of a pageblock move as one, by hand on a toy machine."""

import pytest
from accounts import metrics
from toy_machine import KSTACK, OTHER, demand_of, finished, machine_of, tables

from replay.kernel import direct_map as maps
from replay.machine import pool as pools
from replay.strategies.migrate_unmapped import MigrateUnmapped

TOY = MigrateUnmapped(block_order=2, pcp_batch=0)


def test_migrate_unmapped_moves_all_free_pages_of_the_pageblock():
    """Page 1 of each block of 4 is in use; a table takes the free pair and claims the third page. A flush when it gets the key."""
    start = machine_of(64, free=[page % 4 != 1 for page in range(64)], level=maps.PTE)
    script = [*tables(1), ("free", 0, 0, OTHER)]
    held = finished(start, demand_of(script[:1]), TOY)
    back = finished(start, demand_of(script), TOY)

    assert held.state.pool.counts[pools.HELD] == 3
    assert held.state.allocator.free_pages.sum() == 48 - 1  # those on its lists are free memory
    assert [metrics(run)["permission_changes"] for run in (held, back)] == [2, 3]
    assert [metrics(run)["tlb_flushes"] for run in (held, back)] == [1, 1]  # none for the free
    assert not back.state.keyed().any()


def last_resort(consumer, strategy):
    """Four pages are free; a table takes one, and its pageblock. Then somebody wants two."""
    start = machine_of(64, free=[page < 4 for page in range(64)], level=maps.PTE)
    script = [*tables(1), ("alloc", 100, 0, consumer), ("alloc", 101, 0, consumer)]
    machine = finished(start, demand_of(script), strategy)
    values = metrics(machine)
    assert (values["unplaced_allocations"], values["stalls"]) == (0, 0)
    return values["shrunk_pages"], bool(machine.state.pool.marked[0])


@pytest.mark.parametrize("consumer", [OTHER, KSTACK])
def test_a_fallback_takes_all_that_is_free_in_the_pageblock_and_its_type_with_it(consumer):
    assert last_resort(consumer, TOY) == (3, False)


def test_a_movable_request_takes_only_a_chunk_where_none_is_half_a_pageblock():
    """Of an idle page and an idle pair the page, and then the pair; the type of the pageblock stays."""
    larger = MigrateUnmapped(block_order=6, pcp_batch=0)
    assert last_resort(OTHER, larger) == (3, True)
    start = machine_of(64, free=[page < 4 for page in range(64)], level=maps.PTE)
    one = finished(start, demand_of([*tables(1), ("alloc", 100, 0, OTHER)]), larger)
    assert metrics(one)["shrunk_pages"] == 1
