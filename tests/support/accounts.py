"""The accounts of a finished machine, held against its pages."""

import numpy as np

from replay import pool as pools
from replay import stretch
from replay.kernel import mmzone as kinds
from replay.results import result_of
from replay.strategies.freetype import Freetype
from replay.strategies.migrate_unmapped import MigrateUnmapped
from replay.strategies.pte_cache import PteCache
from replay.strategies.unmapped_alloc import UnmappedAlloc

ORDINARY_SPLIT_TABLES = (UnmappedAlloc, Freetype, PteCache, MigrateUnmapped)
"""They split with pages of the page allocator, which are not the pool's."""


def metrics(machine):
    table = result_of(machine).tables["run_metric"]
    return dict(zip(table["metric"].to_pylist(), table["value"].to_pylist(), strict=True))


def listed(machine, head):
    page, found = int(machine.allocator.link[head, 0]), []
    while page != head:
        assert len(found) < len(machine.allocator.link), "a list that never comes back to its head"
        found.append(page)
        page = int(machine.allocator.link[page, 0])
    return found


def shared(machine):
    """Pages of the shared list, ascending: of every chunk on the list of its order, merged as far as chunks merge."""
    p, pages = machine.pool, []
    for order in range(p.most + 1):
        for first in listed(machine, p.head + order):
            assert p.order[first] == order
            assert first % (1 << order) == 0
            assert order == p.most or p.order[first ^ (1 << order)] != order
            pages.extend(range(first, first + (1 << order)))
    assert (p.order >= 0).sum() == sum(len(listed(machine, p.head + order)) for order in range(p.most + 1))
    return sorted(pages)


def assert_consistent(machine, *, tables_of_pool=True):
    """Accounts, lists, kinds and keys agree; in the pool's, too, where every table of a split comes from it."""
    a, p, counts = machine.allocator, machine.pool, machine.tally.counts
    used = a.kind == kinds.POOL_USED
    if not isinstance(machine.strategy, ORDINARY_SPLIT_TABLES):
        used |= a.kind == kinds.SPLIT_TABLE
    assert shared(machine) == np.flatnonzero(a.kind == kinds.POOL_IDLE).tolist()
    assert p.counts[pools.CACHED] == (a.kind == kinds.POOL_IDLE).sum()
    on_cpus = [listed(machine, p.cpu_head + cpu) for cpu in range(len(p.on_cpu))]
    assert [len(pages) for pages in on_cpus] == p.on_cpu.tolist()
    assert sorted(page for pages in on_cpus for page in pages) == np.flatnonzero(a.kind == kinds.POOL_CPU).tolist()
    assert p.counts[pools.ON_CPUS] == p.on_cpu.sum()
    assert p.on_cpu.max() <= 2 * machine.tally.fast[stretch.CPU_BATCH]
    idle = (a.kind == kinds.POOL_IDLE) | (a.kind == kinds.POOL_CPU)
    size = 1 << a.pageblock_order
    by_block = np.arange(len(a.kind)) // size
    assert np.bincount(by_block, idle, len(p.idle)).tolist() == p.idle.tolist()
    stranded = int(p.idle[p.used > 0].sum())
    assert p.counts[pools.STRANDED] == stranded
    if machine.tally.fast[stretch.POOLED] and tables_of_pool:
        assert p.counts[pools.HELD] == idle.sum() + used.sum()
    assert a.free_pages.sum() == (a.kind == kinds.FREE).sum()
    tables = np.isin(a.kind, [kinds.POOL_USED, kinds.TABLE_PLAIN, kinds.TABLE_KEYED])
    assert counts[stretch.PTP_LIVE] == tables.sum()
    assert counts[stretch.UNKEYED] == (a.kind == kinds.TABLE_PLAIN).sum()
    keyed = machine.keyed()
    assert keyed[np.isin(a.kind, [kinds.POOL_USED, kinds.TABLE_KEYED])].all()
    idle_has_key = not machine.tally.fast[stretch.KEY_EACH]
    assert (keyed[idle] == idle_has_key).all()
    assert not keyed[a.kind == kinds.FREE].any()
    assert not keyed[a.kind == kinds.TABLE_PLAIN].any()
    live = machine.tally.page_of[machine.tally.page_of >= 0]
    assert len(set(live.tolist())) == len(live)  # no simulated page stands for two recorded ones
