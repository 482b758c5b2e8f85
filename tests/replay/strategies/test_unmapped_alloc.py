"""A private buddy allocator of unmapped pages, by hand on a toy machine."""

from accounts import metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of, tables

from replay.kernel import direct_map as maps
from replay.strategies.unmapped_alloc import UnmappedAlloc

WHOLE = UnmappedAlloc(block_order=2, page_by_page=False)


def test_a_private_buddy_serves_from_its_smallest_chunk_and_merges_what_is_freed():
    machine = finished(machine_of(64), demand_of(tables(3)), WHOLE)
    assert machine.state.view.idle_chunks() == [(3, 0)]
    script = [*tables(3), ("free", 0, 0, OTHER), ("free", 2, 0, OTHER)]
    assert finished(machine_of(64), demand_of(script), WHOLE).state.view.idle_chunks() == [
        (0, 0),
        (2, 1),
    ]
    script += [("free", 1, 0, OTHER)]
    merged = finished(machine_of(64), demand_of(script), WHOLE)
    assert merged.state.view.idle_chunks() == [(0, 2)]
    assert metrics(merged)["permission_changes"] == 1


def test_unmapped_alloc_refills_from_the_block_downward():
    """Every other pair of pages is free: no 2M block (order 2), so order 1."""
    start = machine_of(64, free=[page % 4 < 2 for page in range(64)], level=maps.PTE)
    machine = finished(start, demand_of(tables(3)), WHOLE)
    assert machine.state.refill_attempts[:3].tolist() == [[0, 0], [2, 0], [2, 2]]
    assert metrics(machine)["pages_permission_changed"] == 4


def test_the_private_buddy_gives_its_smallest_chunks_back_first_without_a_flush():
    """Page 3 is idle alone, 4 to 7 in one piece; memory is short for one page, and `seeks` lets one scan happen."""

    class Reluctant(UnmappedAlloc):
        seeks = 20

    script = [*tables(4), ("alloc", 120, 0, PGTABLE), ("free", 120, 0, OTHER), ("free", 3, 0, OTHER)]
    start = machine_of(64, free=[page < 8 for page in range(64)], level=maps.PTE)
    machine = finished(
        start,
        demand_of([*script, ("alloc", 100, 0, OTHER)]),
        Reluctant(block_order=2, page_by_page=False, shrink_batch=1),
    )
    values = metrics(machine)

    assert machine.state.view.idle_chunks() == [(4, 2)]
    assert values["shrunk_pages"] == 1
    assert values["permission_changes"] == 3  # two refills and the page that went back
    assert values["tlb_flushes"] == 2


def test_as_posted_a_refill_is_converted_page_by_page_and_splits_its_leaf():
    """A block of four pages under a 2M leaf: four changes, a flush for the split and one for all of them."""
    start = machine_of(64, level=maps.PMD)
    as_posted, whole = (finished(start, demand_of(tables(3)), each) for each in (UnmappedAlloc(block_order=2), WHOLE))
    wanted = ("splits_2m", "permission_changes", "pages_permission_changed", "tlb_flushes")
    assert [metrics(as_posted)[name] for name in wanted] == [1, 4, 4, 2]
    assert [metrics(whole)[name] for name in wanted] == [0, 1, 4, 1]


def test_what_others_free_beside_a_small_refill_stays_theirs():
    """Every other page is in use: a single page comes in; its neighbour is freed and goes to the page allocator."""
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)], level=maps.PTE)
    script = [*tables(1), *(("free", page, 0, OTHER) for page in range(1, 64, 2))]
    machine = finished(start, demand_of(script), UnmappedAlloc(block_order=2))
    assert machine.state.view.idle_chunks() == []
    assert machine.state.allocator.free_pages.sum() == 63
