"""Rick Edgecombe's patch 17: tables for splitting the whole direct map set aside at boot, and a grouped page cache."""

from dataclasses import dataclass

from replay.contract.actions import (
    Alloc,
    Apply,
    Change,
    Chunk,
    Decision,
    Free,
    ResetKey,
    SetAside,
    Tables,
    Walk,
    Withdraw,
    first_free,
    key_and_give,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, by_granule, param


@strategy(
    "full-reserve",
    title="tables for the whole direct map set aside at boot; page tables from 2M blocks, else single pages; shrinker",
    source="Rick Edgecombe, PKS write protected page tables v2 (2021-08-30), patches 3, 5, 6, 8, 16 and 17, solution 4",
    colour="#999933",
    line="dashed",
    marker="<",
    toy={"shrink_batch": 2},  # a quarter of a block, as 128 pages are
)
@dataclass(frozen=True)
class FullReserve(Strategy):
    """Two caches: one that can never run out for the direct map's own tables, one for every other page table.

    code  calc_tables_needed(): a page for each 1G and one for each 2M of every mapped range, taken in whole 2M chunks
          before the page allocator runs. (Its `unsigned int size` cuts ranges of 4 GiB and more: a mistake of the
          posting that is not modelled.)
    code  A split takes its table from that cache (alloc_dmap_table()). If it were empty, an ordinary page would be
          used, unprotected, with a warning. (It never is: the cache covers the worst case.)
    code  PGDs come from the cache too, one page each, with page-table isolation as without (_pgd_alloc(), patch 5).
          (Those of `--pti recorded` are of two pages and do not: see the rules for all.)
    code  Other page tables come from the grouped page cache: most recently used first; refilled with a 2M block, else
          with a single page; the key is set on what was added, and the first page goes straight to the request. A freed
          table goes back to the list and keeps its key.
          (__replenish_grouped_pages() of patch 6 sets it on one page of a block: a mistake that is not modelled.)
    code  There is no lock around a refill: every task that finds the list empty refills, and takes a block of its own.
    code  The shrinker frees the pages that it isolates one by one and resets the key of each, which splits a block that
          was keyed whole. It does not know about blocks. (It counts what it isolates twice, `sc->nr_scanned +=`, and
          so is entered for half as much: a mistake that is not modelled.)
    code  A request that may not sleep gets a page of the list, else a single page of the page allocator, keyed on the
          spot (get_grouped_page_atomic(), patch 8): the tables for its split are set aside. (In an interrupt
          it is refused; no recording says who was in one. Patch 9 tests `gfp & GFP_ATOMIC`, which GFP_KERNEL passes as
          well: a mistake that is not modelled.)
    code  list_lru_shrink_walk() looks at a page for each that it isolates, under the list's lock.
    ours  The posting is for x86 alone. With 16K and 64K pages the block is as large as kpkeys v6's largest refill.
    ours  The shrinker takes pages by address, up to `shrink_batch` at a time (list_lru_shrink_walk with the default
          batch); the posting walks its per-node lists. There is one node here; the posting has a list for each.
    """

    refill_orders: tuple[int, ...] = by_granule((9, 0), (11, 0), (9, 0), "orders tried in turn", "code")
    shrink_batch: int = param(128, "SHRINK_BATCH: pages that one scan of the shrinker frees", "ours")

    def fast_path(self) -> FastPath:
        """Hand out whatever is there."""
        return FastPath(pooled=True)

    def boot(self, pool: PoolView) -> Decision:
        """Squirrel away enough page tables to map the direct map at 4k."""
        yield SetAside(pool.tables_for_4k)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A 2M block, else a page."""
        chunk = yield from first_free(self.refill_orders)
        return (yield from key_and_give(chunk, Tables.ASIDE, order))

    def refill_atomic(self, pool: PoolView, order: int) -> Decision:
        """A single page."""
        chunk = yield Alloc(0)
        return (yield from key_and_give(chunk, Tables.ASIDE, order))

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Splits by others take their tables from the same cache."""
        return (yield Apply(change, Tables.ASIDE))

    def shrink(self, pool: PoolView) -> Decision:
        """Free idle pages one by one."""
        freed = 0
        pages = pool.all_idle_pages()[: self.shrink_batch]
        yield Walk(len(pages))
        for page in pages:
            chunk = Chunk(page, 0)
            if (yield Withdraw(chunk)):
                yield ResetKey(chunk, Tables.ASIDE)
                yield Free(chunk)
                freed += 1
        return freed
