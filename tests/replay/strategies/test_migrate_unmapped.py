"""Free pages of a pageblock move as one, by hand on a toy machine."""

from accounts import metrics
from toy_machine import OTHER, demand_of, finished, machine_of, tables

from replay.kernel import direct_map as maps
from replay.machine import pool as pools
from replay.strategies.migrate_unmapped import MigrateUnmapped


def test_migrate_unmapped_moves_all_free_pages_of_the_pageblock():
    """Page 1 of each block of 4 is in use; a table takes the free pair and claims the third page. A flush when it gets the key."""
    start = machine_of(64, free=[page % 4 != 1 for page in range(64)], level=maps.PTE)
    script = [*tables(1), ("free", 0, 0, OTHER)]
    held = finished(start, demand_of(script[:1]), MigrateUnmapped(pcp_batch=0))
    back = finished(start, demand_of(script), MigrateUnmapped(pcp_batch=0))

    assert held.state.pool.counts[pools.HELD] == 3
    assert held.state.allocator.free_pages.sum() == 48 - 3
    assert [metrics(run)["permission_changes"] for run in (held, back)] == [2, 3]
    assert [metrics(run)["tlb_flushes"] for run in (held, back)] == [1, 1]  # none for the free
    assert not back.state.keyed().any()


def test_migrate_unmapped_is_the_last_resort_of_others():
    start = machine_of(64, free=[page < 4 for page in range(64)], level=maps.PTE)
    script = [*tables(1), ("alloc", 100, 0, OTHER), ("alloc", 101, 0, OTHER)]
    values = metrics(finished(start, demand_of(script), MigrateUnmapped(pcp_batch=0)))
    assert (values["unplaced_allocations"], values["stalls"]) == (0, 0)
    assert values["shrunk_pages"] == 2  # of an idle page and an idle pair the pair, which serves both
