"""The accounts of a finished machine, held against its pages."""

import numpy as np

from replay.contract.permissions import ANY_PERMISSION, PERMISSIONS
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import FREE
from replay.machine import pool as pools
from replay.machine.results import result_of
from replay.machine.tally import CPU_BATCH, KEY_EACH, POOLED, PTP_LIVE, UNKEYED
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
    page, found = int(machine.state.allocator.link[head, 0]), []
    while page != head:
        assert len(found) < len(machine.state.allocator.link), "a list that never comes back to its head"
        found.append(page)
        page = int(machine.state.allocator.link[page, 0])
    return found


def shared(machine):
    """Pages of the shared list, ascending: of every chunk on the list of its order, merged as far as chunks merge."""
    p, pages = machine.state.pool, []
    for order in range(p.most + 1):
        for first in listed(machine, p.head + order):
            assert p.chunk[first] == order + 1
            assert first % (1 << order) == 0
            assert order == p.most or p.chunk[first ^ (1 << order)] != order + 1
            pages.extend(range(first, first + (1 << order)))
    assert (p.chunk > 0).sum() == sum(len(listed(machine, p.head + order)) for order in range(p.most + 1))
    return sorted(pages)


def assert_consistent(machine, *, tables_of_pool=True):
    """Accounts, lists, kinds and keys agree; the pool's do if every table of a split comes from it."""
    a, p, counts = machine.state.allocator, machine.state.pool, machine.state.tally.counts
    used = (a.kind == pools.POOL_USED) | (a.kind == pools.POOL_SECRET)
    if not isinstance(machine.state.strategy, ORDINARY_SPLIT_TABLES):
        used |= a.kind == pools.SPLIT_TABLE
    assert shared(machine) == np.flatnonzero(a.kind == pools.POOL_IDLE).tolist()
    assert p.counts[pools.CACHED] == (a.kind == pools.POOL_IDLE).sum()
    on_own = [listed(machine, p.own_head + cpu) for cpu in range(len(p.on_own))]
    assert [len(pages) for pages in on_own] == p.on_own.tolist()
    assert sorted(page for pages in on_own for page in pages) == np.flatnonzero(a.kind == pools.POOL_OWN).tolist()
    assert p.counts[pools.ON_OWN] == p.on_own.sum()
    if not p.users:
        assert p.on_own.max() <= 2 * machine.state.tally.fast[CPU_BATCH]
    idle = (a.kind == pools.POOL_IDLE) | (a.kind == pools.POOL_OWN)
    size = 1 << a.pageblock_order
    by_block = np.arange(len(a.kind)) // size
    assert np.bincount(by_block, idle, len(p.idle)).tolist() == p.idle.tolist()
    stranded = int(p.idle[p.used > 0].sum())
    assert p.counts[pools.STRANDED] == stranded
    if machine.state.tally.fast[POOLED] and tables_of_pool:
        assert p.counts[pools.HELD] == idle.sum() + used.sum()
    free = (a.kind == FREE) | ((a.kind == pools.POOL_IDLE) & p.counts_free)
    assert a.free_pages.sum() == free.sum()
    keyed = machine.state.keyed()
    tables = np.isin(a.kind, [pools.POOL_USED, pools.TABLE_PLAIN, pools.TABLE_KEYED])
    if p.users:
        assert_permissions(machine, on_own)
        tables &= keyed | (a.kind == pools.TABLE_PLAIN)
    else:
        assert keyed[tables & (a.kind != pools.TABLE_PLAIN)].all()
        idle_has_key = not machine.state.tally.fast[KEY_EACH]
        assert (keyed[idle] == idle_has_key).all()
    assert counts[PTP_LIVE] == tables.sum()
    assert counts[UNKEYED] == (a.kind == pools.TABLE_PLAIN).sum()
    assert not keyed[a.kind == FREE].any()
    assert not keyed[a.kind == pools.TABLE_PLAIN].any()
    live = machine.state.tally.page_of[machine.state.tally.page_of >= 0]
    assert len(set(live.tolist())) == len(live)  # no simulated page stands for two recorded ones


def assert_permissions(machine, on_own):
    """Every page on a user's list has that user's permission, and no page but those of the shared list is not mapped."""
    attributes = [
        int(maps.attribute_of(machine.state.direct_map, page)) for page in range(len(machine.state.allocator.kind))
    ]
    for permission, pages in zip(PERMISSIONS, on_own, strict=False):
        assert all(attributes[page] & (permission | maps.NOT_PRESENT) == permission for page in pages)
    for page, kind in enumerate(machine.state.allocator.kind):
        if kind in (pools.POOL_IDLE, FREE):
            assert (attributes[page] & maps.NOT_PRESENT != 0) == (kind == pools.POOL_IDLE)
        elif kind == pools.POOL_USED:
            assert attributes[page] & (maps.NOT_PRESENT | ANY_PERMISSION)
