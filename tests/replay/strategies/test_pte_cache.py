"""A cache of split blocks, by hand on a toy machine."""

import pytest
from accounts import metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of, tables

from replay.contract.actions import Alloc, Chunk, GiveRest
from replay.kernel import direct_map as maps
from replay.machine import pool as pools
from replay.strategies.full_reserve import FullReserve
from replay.strategies.pte_cache import PteCache


def test_pte_cache_splits_its_block_once_and_sets_the_key_page_by_page():
    """A 2M leaf is split when the block comes; three tables are keyed and two un-keyed: five changes, five flushes."""
    script = tables(3) + [("free", page, 0, OTHER) for page in range(2)]
    machine = finished(machine_of(64, level=maps.PMD), demand_of(script), PteCache(refill_orders=(2, 0), toggles=False))
    values = metrics(machine)

    assert values["splits_2m"] == 1
    assert values["permission_changes"] == 1 + 3 + 2
    assert values["tlb_flushes"] == 1 + 3 + 2  # the first for the split
    assert machine.state.keyed().sum() == 1


def test_what_is_freed_into_a_marked_pageblock_goes_to_the_cache():
    """Every other page is in use: a single page comes with a claim to its neighbour, which is somebody else's now."""
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)], level=maps.PMD)
    machine = finished(start, demand_of(tables(1)), PteCache(refill_orders=(2, 0)))
    (block,) = machine.state.pool.marked.nonzero()[0].tolist()
    neighbour = 4 * block + 1
    script = [*tables(1), ("free", neighbour, 0, OTHER), ("free", (neighbour + 8) % 64, 0, OTHER)]
    after = finished(start, demand_of(script), PteCache(refill_orders=(2, 0)))

    assert [machine.state.pool.counts[pools.CACHED], after.state.pool.counts[pools.CACHED]] == [0, 1]
    assert after.state.view.idle_pages(4 * block) == [neighbour]


def test_as_posted_a_write_into_a_table_toggles_its_protection_and_nothing_is_flushed():
    """The only flush is that of the split. What toggling takes is known once somebody says how often tables are written."""
    script = tables(3) + [("free", page, 0, OTHER) for page in range(2)]
    start = machine_of(64, level=maps.PMD)
    unknown, known = (
        finished(start, demand_of(script), PteCache(refill_orders=(2, 0), pte_writes=writes)) for writes in (0, 10)
    )
    assert metrics(unknown)["tlb_flushes"] == 1
    assert [metrics(unknown)[name] for name in ("permission_changes", "conversion_ns")] == [None, None]
    costs = known.state.costs
    refill = costs.conversion_ns(1, 1, 1, 1, known.state.start.cpus)
    assert metrics(known)["conversion_ns"] == refill + 3 * 10 * costs.toggle_ns
    assert known.state.keyed().sum() == 1


@pytest.mark.parametrize(
    "strategy", [PteCache(), FullReserve(refill_orders=(9, 0))], ids=lambda strategy: type(strategy).__name__
)
@pytest.mark.parametrize("order", [9, 0])
def test_the_first_page_of_a_refill_goes_straight_to_the_request(strategy, order):
    """The caches of 2021 return page[0]: no other task can take it off the list in between."""
    chunk, first, asked, result = Chunk(512, order), Chunk(512, 0), [], None
    decision = strategy.refill(None, 0)
    with pytest.raises(StopIteration) as stop:
        while True:
            asked.append(action := decision.send(result))
            result = chunk if isinstance(action, Alloc) else first if isinstance(action, GiveRest) else True
    assert asked[-1] == GiveRest(chunk, 0)
    assert stop.value.value == first


def test_the_shrinker_looks_at_each_page_that_it_isolates():
    script = [*tables(20), *(("free", page, 0, PGTABLE) for page in range(20))]
    short = [("alloc", 300 + 4 * n, 2, 0) for n in range(20)]
    strategy = PteCache(refill_orders=(2, 0), shrink_batch=4)
    values = metrics(finished(machine_of(64, level=maps.PTE), demand_of([*script, *short]), strategy))
    assert values["pool_pages_walked"] == values["shrunk_pages"] > 0
