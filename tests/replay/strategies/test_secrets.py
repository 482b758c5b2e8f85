"""Secret memory from the pools that their postings serve it from, by hand on a toy machine."""

import pytest
from accounts import assert_consistent, metrics
from toy_machine import OTHER, SECRET, demand_of, finished, machine_of

from replay.kernel import direct_map as maps
from replay.machine import pool as pools
from replay.strategies.freetype import Freetype
from replay.strategies.migrate_unmapped import MigrateUnmapped
from replay.strategies.pte_cache import PteCache
from replay.strategies.unmapped_alloc import UnmappedAlloc

SCRIPT = [("alloc", 0, 0, SECRET), ("alloc", 1, 0, SECRET), ("free", 0, 0, OTHER)]
SERVE = [
    Freetype(block_order=2, pcp_batch=0),
    MigrateUnmapped(block_order=2, pcp_batch=0),
    UnmappedAlloc(block_order=2),
]


@pytest.mark.parametrize("strategy", SERVE, ids=lambda strategy: type(strategy).__name__)
def test_secret_memory_comes_from_the_pool_and_goes_back_to_it(strategy):
    machine = finished(machine_of(64, level=maps.PMD), demand_of(SCRIPT), strategy)
    kind, values = machine.state.allocator.kind, metrics(machine)
    assert (kind == pools.POOL_SECRET).sum() == 1
    assert (kind == pools.POOL_IDLE).sum() == 3
    assert machine.state.keyed()[kind == pools.POOL_SECRET].all()
    assert (values["ptp_allocs"], values["ptp_frees"], values["refills"]) == (0, 0, 1)
    assert_consistent(machine)


def test_the_cache_of_pte_mapped_pages_is_for_page_tables():
    """None of the four patches of 2021 touches secret memory: it leaves the direct map page by page."""
    machine = finished(machine_of(64, level=maps.PMD), demand_of(SCRIPT), PteCache(refill_orders=(2, 0)))
    attributes = [int(maps.attribute_of(machine.state.direct_map, page)) for page in range(64)]
    assert sum(attribute & maps.NOT_PRESENT != 0 for attribute in attributes) == 1
    assert metrics(machine)["refills"] == 0
