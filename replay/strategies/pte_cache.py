"""Mike Rapoport's cache of PTE-mapped pages: small in the direct map, but not yet protected."""

from dataclasses import dataclass

from replay.contract.actions import (
    Chunk,
    Decision,
    Free,
    Give,
    MapSmall,
    Mark,
    Tables,
    Withdraw,
    changed_or_freed,
    first_free,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param


@strategy(
    "pte-cache",
    title="a cache of pages mapped at 4K, the key set on each when it is handed out; their pageblocks are marked",
    source="Mike Rapoport, RFC mm/page_alloc: cache pte-mapped allocations, __GFP_PTE_MAPPED (2021-08-23)",
    colour="#44aa99",
    line="solid",
    marker="p",
    toy={"shrink_batch": 2},  # a quarter of a block, as 128 pages are
)
@dataclass(frozen=True)
class PteCache(Strategy):
    """Pages that are protected one by one come from few blocks, each split once.

    code  The cache is refilled with PMD order or, if there is none, with a single page. In both cases the whole
          pageblock is mapped with 4K pages (set_memory_4k()) and marked. Its free neighbours stay where they are
          ("TODO").
    code  A single page that is freed into a marked pageblock goes to the cache, whatever it was used for. Larger orders
          do not.
    code  One cache for all CPUs, for single pages, most recently used first (a list for each node).
    code  Shrinker: pages go back to the page allocator; they stay mapped at 4K ("collapse": to do).
    text  A page is in the cache with ordinary permissions: its user changes them when it gets the page and when it
          gives it back, each time with a flush. This splits nothing any more.
    ours  The tables of the direct map come from the page allocator, without the key.
    ours  One scan of the shrinker frees `shrink_batch` pages, by address. There is one node.
    """

    refill_orders: tuple[int, ...] = param((9, 0), "orders tried in turn", "code")
    shrink_batch: int = param(128, "SHRINK_BATCH: pages that one scan of the shrinker frees", "ours")

    def fast_path(self) -> FastPath:
        """The key for each table; what others free into marked pageblocks is kept."""
        return FastPath(pooled=True, key_each=True, adopts=0)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A 2M block, else a page and the claim to its neighbours."""
        chunk = yield from first_free(self.refill_orders)
        if chunk is None or not (yield from changed_or_freed(chunk, MapSmall(chunk, Tables.BUDDY))):
            return None
        yield Mark(chunk)
        yield Give(chunk)
        return True

    def shrink(self, pool: PoolView) -> Decision:
        """Free idle pages one by one."""
        freed = 0
        for page in pool.all_idle_pages()[: self.shrink_batch]:
            chunk = Chunk(page, 0)
            if (yield Withdraw(chunk)):
                yield Free(chunk)
                freed += 1
        return freed
