"""A private buddy allocator of unmapped pages, by hand on a toy machine."""

from accounts import metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of, tables

from replay.kernel import direct_map as maps
from replay.strategies.unmapped_alloc import UnmappedAlloc


def test_a_private_buddy_serves_from_its_smallest_chunk_and_merges_what_is_freed():
    machine = finished(machine_of(64), demand_of(tables(3)), UnmappedAlloc(block_order=2))
    assert machine.state.view.idle_chunks() == [(3, 0)]
    script = [*tables(3), ("free", 0, 0, OTHER), ("free", 2, 0, OTHER)]
    assert finished(machine_of(64), demand_of(script), UnmappedAlloc(block_order=2)).state.view.idle_chunks() == [
        (0, 0),
        (2, 1),
    ]
    script += [("free", 1, 0, OTHER)]
    merged = finished(machine_of(64), demand_of(script), UnmappedAlloc(block_order=2))
    assert merged.state.view.idle_chunks() == [(0, 2)]
    assert metrics(merged)["permission_changes"] == 1


def test_unmapped_alloc_refills_from_the_block_downward():
    """Every other pair of pages is free: no 2M block (order 2), so order 1."""
    start = machine_of(64, free=[page % 4 < 2 for page in range(64)], level=maps.PTE)
    machine = finished(start, demand_of(tables(3)), UnmappedAlloc(block_order=2))
    assert machine.state.refill_attempts[:3].tolist() == [[0, 0], [2, 0], [2, 2]]
    assert metrics(machine)["pages_permission_changed"] == 4


def test_the_private_buddy_gives_its_smallest_chunks_back_first_without_a_flush():
    """Page 3 is idle alone, 4 to 7 in one piece; memory is short for one page, and `seeks` lets one scan happen."""

    class Reluctant(UnmappedAlloc):
        seeks = 20

    script = [*tables(4), ("alloc", 120, 0, PGTABLE), ("free", 120, 0, OTHER), ("free", 3, 0, OTHER)]
    start = machine_of(64, free=[page < 8 for page in range(64)], level=maps.PTE)
    machine = finished(start, demand_of([*script, ("alloc", 100, 0, OTHER)]), Reluctant(block_order=2, shrink_batch=1))
    values = metrics(machine)

    assert machine.state.view.idle_chunks() == [(4, 2)]
    assert values["shrunk_pages"] == 1
    assert values["permission_changes"] == 3  # two refills and the page that went back
    assert values["tlb_flushes"] == 2
