"""Mike Rapoport's cache of PTE-mapped pages: small in the direct map, but not yet protected."""

from dataclasses import dataclass

from replay.contract.actions import (
    Chunk,
    Decision,
    Free,
    GiveRest,
    MapSmall,
    Mark,
    Tables,
    Walk,
    Withdraw,
    changed_or_freed,
    first_free,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param


@strategy(
    "pte-cache",
    title="a cache of pages mapped at 4K; write protection of a table is toggled around each write into it",
    source="Mike Rapoport, RFC mm/page_alloc: cache pte-mapped allocations, __GFP_PTE_MAPPED (2021-08-23, "
    "20210823132513.15836-1-rppt@kernel.org), patches 3 and 4 of 4",
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
          ("TODO"). The first page goes straight to the request.
    code  A single page that is freed into a marked pageblock goes to the cache, whatever it was used for. Larger orders
          do not.
    code  One cache for all CPUs, for single pages, most recently used first (a list for each node).
    code  Shrinker: pages go back to the page allocator; they stay mapped at 4K ("collapse": to do).
          list_lru_shrink_walk() looks at a page for each that it isolates, under the list's lock.
    code  A page is in the cache with ordinary permissions. Page tables are its user (4/4): each write into one makes it
          writable before and read-only after (enable_pgtable_write(), disable_pgtable_write()): two walks of the direct
          map and two writes, no flush. A table that is freed is made writable; an allocation changes nothing.
    code  Not protected: what was allocated early in boot, the tables of the direct map included.
    ours  A table is protected from its first write on, which comes at once. What a stale TLB entry costs (a spurious
          fault, since nothing is flushed) is in the range of `toggle_ns` in the cost profile.
    ours  `pte_writes`: no recording shows how often a page table is written. At 0 what toggling costs is unknown
          (NULL), and so is the number of changes; a table that is filled once and cleared once has up to 1,024.
    ours  `toggles=false` is a variant that nobody posted: a key for each table, set when it is handed out and cleared
          when it is freed, each time with a flush. It splits nothing any more.
    ours  The tables of the direct map come from the page allocator, without the key.
    ours  One scan of the shrinker frees `shrink_batch` pages, by address. There is one node.
    """

    refill_orders: tuple[int, ...] = param((9, 0), "orders tried in turn", "code")
    toggles: bool = param(True, "toggle write protection around each write into a table; false: a key for each", "code")
    pte_writes: int = param(0, "writes into a page table while it lives; 0: unknown", "ours")
    shrink_batch: int = param(128, "SHRINK_BATCH: pages that one scan of the shrinker frees", "ours")

    def fast_path(self) -> FastPath:
        """The key for each table, toggled or not; what others free into marked pageblocks is kept."""
        return FastPath(pooled=True, key_each=True, toggles=self.toggles, pte_writes=self.pte_writes, adopts=0)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A 2M block, else a page and the claim to its neighbours."""
        chunk = yield from first_free(self.refill_orders)
        if chunk is None or not (yield from changed_or_freed(chunk, MapSmall(chunk, Tables.BUDDY))):
            return None
        yield Mark(chunk)
        return (yield GiveRest(chunk, order))

    def shrink(self, pool: PoolView) -> Decision:
        """Free idle pages one by one."""
        freed = 0
        pages = pool.all_idle_pages()[: self.shrink_batch]
        yield Walk(len(pages))
        for page in pages:
            chunk = Chunk(page, 0)
            if (yield Withdraw(chunk)):
                yield Free(chunk)
                freed += 1
        return freed
