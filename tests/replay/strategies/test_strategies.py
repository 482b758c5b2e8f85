"""What is characteristic of each strategy beyond a list with a reserve, by hand on a toy machine."""

from accounts import metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of

from replay.kernel import direct_map as maps
from replay.machine import pool as pools
from replay.strategies.freetype import Freetype
from replay.strategies.migrate_unmapped import MigrateUnmapped
from replay.strategies.pte_cache import PteCache
from replay.strategies.reserve_block import ReserveBlock
from replay.strategies.reserve_block_percpu import ReserveBlockPerCpu
from replay.strategies.unmapped_alloc import UnmappedAlloc

BLOCK = ReserveBlock(block_order=2, last_order=2)


def table_script(wanted):
    return [("alloc", page, 0, PGTABLE) for page in range(wanted)]


def test_magazines_take_the_lock_of_the_shared_list_once_for_all_their_pages():
    """Blocks of 4, a reserve of 2, magazines of 2. Boot: 4 pages, 2 of them above the reserve: a magazine, and 2 tables.

    The third finds neither: the loop looks, the decision looks again, and then a refill of 4 pages serves it and the
    fourth. 2 magazines and 2 looks in vain are 4 times the lock for 4 tables. Freed, they make two full magazines, which
    stay; without lists of CPUs every table and every free takes the lock.
    """
    percpu = ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=1)
    script = table_script(4) + [("free", page, 0, OTHER) for page in range(4)]
    machine = finished(machine_of(64), demand_of(script), percpu)
    values = metrics(machine)

    assert values["pool_lock_acquisitions"] == 4
    assert values["refills"] == 1
    assert machine.state.pool.on_own.tolist() == [4, 0, 0]
    assert machine.state.pool.counts[pools.CACHED] == 4  # the reserve, and the other half of the block
    plain = metrics(finished(machine_of(64), demand_of(script), BLOCK))
    assert plain["pool_lock_acquisitions"] == 4 + 4
    assert plain["pool_idle_pages_mean"] == values["pool_idle_pages_mean"]  # pages of CPUs are idle, too


def test_the_third_full_magazine_of_a_cpu_goes_back():
    percpu = ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=1)
    script = table_script(5) + [("free", page, 0, OTHER) for page in range(5)]
    machine = finished(machine_of(64), demand_of(script), percpu)
    assert machine.state.pool.on_own.tolist() == [4, 0, 0]  # one of the second magazine was there, and five came back


def test_a_block_for_each_cpu_costs_blocks():
    """One table on each of two CPUs: the pool of one list serves both from its first block."""
    demand = demand_of(table_script(2))
    demand.program.cpu[1] = 1
    held = [
        metrics(finished(machine_of(64), demand, strategy))["pool_pages_peak"]
        for strategy in (BLOCK, ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=2))
    ]
    assert held == [4, 8]


def test_a_private_buddy_serves_from_its_smallest_chunk_and_merges_what_is_freed():
    machine = finished(machine_of(64), demand_of(table_script(3)), UnmappedAlloc(block_order=2))
    assert machine.state.view.idle_chunks() == [(3, 0)]
    script = [*table_script(3), ("free", 0, 0, OTHER), ("free", 2, 0, OTHER)]
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
    machine = finished(start, demand_of(table_script(3)), UnmappedAlloc(block_order=2))
    assert machine.state.refill_attempts[:3].tolist() == [[0, 0], [2, 0], [2, 2]]
    assert metrics(machine)["pages_permission_changed"] == 4


def test_the_private_buddy_gives_its_smallest_chunks_back_first_without_a_flush():
    """Page 3 is idle alone, 4 to 7 in one piece; memory is short for one page."""
    script = [*table_script(4), ("alloc", 120, 0, PGTABLE), ("free", 120, 0, OTHER), ("free", 3, 0, OTHER)]
    start = machine_of(64, free=[page < 8 for page in range(64)], level=maps.PTE)
    machine = finished(
        start, demand_of([*script, ("alloc", 100, 0, OTHER)]), UnmappedAlloc(block_order=2, shrink_batch=1)
    )
    values = metrics(machine)

    assert machine.state.view.idle_chunks() == [(4, 2)]
    assert values["shrunk_pages"] == 1
    assert values["permission_changes"] == 3  # two refills and the page that went back
    assert values["tlb_flushes"] == 2


def test_freetype_flips_a_block_back_before_a_request_stalls():
    """Two blocks flipped, all tables freed: memory for others comes from the flipped block, without a stall."""
    script = table_script(5) + [("free", page, 0, OTHER) for page in range(5)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(3)]
    start = machine_of(64, free=[page < 10 for page in range(64)], level=maps.PMD)
    machine = finished(start, demand_of(script), Freetype(block_order=2, pcp_batch=0))
    values = metrics(machine)

    assert values["stalls"] == 0
    assert values["shrunk_pages"] == 4
    assert values["unplaced_allocations"] == 0
    assert values["refills"] == 2


def test_freetype_has_no_smaller_fallback_than_a_block():
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)])
    values = metrics(finished(start, demand_of(table_script(1)), Freetype(block_order=2, pcp_batch=0)))
    assert values["ptp_nulls"] == 1


def test_pte_cache_splits_its_block_once_and_sets_the_key_page_by_page():
    """A 2M leaf is split when the block comes; three tables are keyed and two un-keyed: five changes, five flushes."""
    script = table_script(3) + [("free", page, 0, OTHER) for page in range(2)]
    machine = finished(machine_of(64, level=maps.PMD), demand_of(script), PteCache(refill_orders=(2, 0)))
    values = metrics(machine)

    assert values["splits_2m"] == 1
    assert values["permission_changes"] == 1 + 3 + 2
    assert values["tlb_flushes"] == 1 + 3 + 2  # the first for the split
    assert machine.state.keyed().sum() == 1


def test_what_is_freed_into_a_marked_pageblock_goes_to_the_cache():
    """Every other page is in use: a single page comes with a claim to its neighbour, which is somebody else's now."""
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)], level=maps.PMD)
    machine = finished(start, demand_of(table_script(1)), PteCache(refill_orders=(2, 0)))
    (block,) = machine.state.pool.marked.nonzero()[0].tolist()
    neighbour = 4 * block + 1
    script = [*table_script(1), ("free", neighbour, 0, OTHER), ("free", (neighbour + 8) % 64, 0, OTHER)]
    after = finished(start, demand_of(script), PteCache(refill_orders=(2, 0)))

    assert [machine.state.pool.counts[pools.CACHED], after.state.pool.counts[pools.CACHED]] == [0, 1]
    assert after.state.view.idle_pages(4 * block) == [neighbour]


def test_migrate_unmapped_moves_all_free_pages_of_the_pageblock():
    """Page 1 of each block of 4 is in use; a table takes the free pair and claims the third page. A flush when it gets the key."""
    start = machine_of(64, free=[page % 4 != 1 for page in range(64)], level=maps.PTE)
    script = [*table_script(1), ("free", 0, 0, OTHER)]
    held = finished(start, demand_of(script[:1]), MigrateUnmapped(pcp_batch=0))
    back = finished(start, demand_of(script), MigrateUnmapped(pcp_batch=0))

    assert held.state.pool.counts[pools.HELD] == 3
    assert held.state.allocator.free_pages.sum() == 48 - 3
    assert [metrics(run)["permission_changes"] for run in (held, back)] == [2, 3]
    assert [metrics(run)["tlb_flushes"] for run in (held, back)] == [1, 1]  # none for the free
    assert not back.state.keyed().any()


def test_migrate_unmapped_is_the_last_resort_of_others():
    start = machine_of(64, free=[page < 4 for page in range(64)], level=maps.PTE)
    script = [*table_script(1), ("alloc", 100, 0, OTHER), ("alloc", 101, 0, OTHER)]
    values = metrics(finished(start, demand_of(script), MigrateUnmapped(pcp_batch=0)))
    assert (values["unplaced_allocations"], values["stalls"]) == (0, 0)
    assert values["shrunk_pages"] == 2  # of an idle page and an idle pair the pair, which serves both


def test_half_of_a_pair_that_a_shrinker_has_in_hand_is_not_handed_out():
    a = machine_of(64, free=[False] * 64).allocator
    a, pool = pools.empty_pool(a)
    pools.give(a, pool, 4, 2)
    pools.remove(a, pool, 4)
    assert pools.take(a, pool, 1) == -1
    assert pools.take(a, pool, 0) == 5
