"""kpkeys v6's page-table block allocator, PBA."""

from dataclasses import dataclass

from replay.contract.actions import (
    Apply,
    Change,
    Chunk,
    Decision,
    Free,
    Give,
    GiveRest,
    Lock,
    ResetKey,
    SetKey,
    Tables,
    Unlock,
    Walk,
    Warn,
    Withdraw,
    first_free,
    keying,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, by_granule, param


@strategy(
    "pba",
    title="kpkeys v6: refill orders 9, 4, 2 (4K pages) into one list; reserve of 2 + 2 pages; shrinker",
    source="Kevin Brodsky, kpkeys_hardened_pgtables v6, patches 14-17 of 30 (2026-02-27)",
    colour="#d55e00",
    line="dashdot",
    marker="P",
    toy={
        "unshrinkable": 6,  # of 16: more than the reserve, less than a block
        "shrink_block_min": 1,  # an eighth of a block, as in the posting
        "shrink_batch": 8,  # a block, as in the posting
    },
)
@dataclass(frozen=True)
class Pba(Strategy):
    """One global list, most recently used first, refilled under a mutex.

    reported  v6 is the last version with this allocator. v7, v8 and RFC v9 (2026-08-18) set the key page by page on a
          linear map of pages, and leave the block allocator for later: `pte-mapped` stands for them.
    code  A page is handed out iff more than PBA_NR_RESERVED_PAGES (4) are cached; otherwise the pool is refilled, and
          the first page of what came never gets onto the list: no other task can take it.
    code  refill_orders[] = {PMD_ORDER, 4, 2} with 4K pages, {PMD_ORDER, 7, 2} with 16K, {9, 5, 2} with 64K, whose
          PMD_ORDER is 13; each tried with plain GFP_KERNEL (no NORETRY, no NOWARN).
    code  alloc_mutex is held while the key of the new chunk is set: one refill splits at a time. The reserve is 2 pages
          for that split and 2 for any other: kpkeys_prepare_direct_map_split() refills once where fewer than 4 are
          cached.
    text  kpkeys_ready_for_direct_map_split() "should be called once the linear map lock has been acquired. If false,
          the lock should be released and another refill attempted." (15/30; the caller in arm64 was not found.)
    code  That lock, arm64's pgtable_split_lock, is held for the splits only: in 6.18 split_kernel_leaf_mapping()
          releases it before the range is written and the TLBs are flushed.
    code  A split that finds the list empty is a WARN (get_cached_page()), and goes on to refill: the task waits for
          alloc_mutex or pgtable_split_lock, which it holds, for ever. So does every later refill. (In the replay a
          deadlock is counted and its locks are released, or nothing would be left to replay.) Where the page allocator
          has no page either, the split fails instead, with -ENOMEM.
    code  A request that may not sleep gets a page of the list, with a warning (check_gfp(): VM_WARN unless all of
          GFP_KERNEL is there). A refill takes a mutex and uses GFP_KERNEL: with an empty list it counts as refused.
    code  A freed table goes to the head of the list (list_add()) and keeps its key.
    code  The shrinker gives a whole free block back in one piece; where fewer than 16 pages would stay it frees nothing
          at all. Without such a block it breaks up the one with most free pages, if these are at least 64 and pages
          outside blocks are fewer than these and fewer than it is to scan; that block, its used pages too, is none from
          then on. Else it frees pages outside blocks one by one. It never leaves fewer than 16. Pages leave the list
          before the first key is reset. (release_page_list() loses the rest where one cannot be reset: a mistake that
          is not modelled.)
    code  A block is what a PMD maps, that came in one piece: with 64K pages no refill is one, and the shrinker frees
          single pages only.
    code  The scan walks the list under its lock, with bottom halves off: once to count, up to the first whole free
          block, once more until it has taken off what goes.
    ours  Where in the list the pages of a block are is not modelled: the first walk, unless it meets a whole free block
          (then half of the list), and the second are over all of it.
    code  One refill early in boot (pba_init()); its key is set later (pba_init_late()), with tables that come off the
          list: pages of that refill, which do not have the key yet. (Here they are set aside: see the rules for all.
          PPA has 2M chunks of memblock for the tables that are there before: not modelled.)
    ours  The pages of a new chunk are handed out from the lowest up; pba's list has its last page first. The shrinker
          takes single pages from the lowest up, pba's from the head of its list.
    code  The shrinker is registered with `seeks = 0` and a block's pages as batch: the core scans half of what could be
          given back each time, in batches, and defers less than a batch until memory is so short that it scans all.
    code  kpkeys_pgtable_alloc() has no order: a PGD of two pages (page-table isolation) is not served.
    """

    refill_orders: tuple[int, ...] = by_granule((9, 4, 2), (11, 7, 2), (9, 5, 2), "orders tried in turn", "code")
    reserve: int = param(4, "PBA_NR_RESERVED_PAGES: pages that ordinary requests leave", "code")
    unshrinkable: int = param(16, "PBA_UNSHRINKABLE_PAGES: pages that the shrinker leaves", "code")
    shrink_block_min: int = by_granule(
        64, 256, 1024, "PBA_SHRINK_BLOCK_MIN_PAGES: free pages that make a block worth breaking up: an eighth", "code"
    )
    seeks: int = param(0, "seeks of the registered shrinker: 0, nothing has to be read again", "code")
    shrink_batch: int = by_granule(512, 2048, 8192, "batch of the registered shrinker: a block's pages", "code")

    def fast_path(self) -> FastPath:
        """Hand out iff more than the reserve is cached."""
        return FastPath(pooled=True, reserve=self.reserve)

    def boot(self, pool: PoolView) -> Decision:
        """pba_init() and pba_init_late(): one refill."""
        yield from self._refill_pages(pool, Tables.BOOT)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Refill, and hand out the first page of the new chunk: refill_pages_and_alloc_one()."""
        return (yield from self._refill_pages(pool, Tables.POOL, order))

    def _refill_pages(self, pool: PoolView, tables: Tables, alloc_one: int | None = None) -> Decision:
        """__refill_pages(). Returns None if it failed, or 2^alloc_one pages of the chunk if these are asked for."""
        chunk = yield from first_free(self.refill_orders)
        if chunk is None:
            return None
        yield Lock("alloc_mutex")
        yield Lock("pgtable_split_lock")
        if tables is Tables.POOL and pool.tables_needed(keying(chunk)) > pool.cached:
            yield from self._no_table(pool)
            yield Unlock("pgtable_split_lock")
            yield Unlock("alloc_mutex")
            yield Free(chunk)
            return None
        yield SetKey(chunk, tables, unlock="pgtable_split_lock")
        served: object = True
        if alloc_one is None:
            yield Give(chunk)
        else:
            served = yield GiveRest(chunk, alloc_one)
        yield Unlock("alloc_mutex")
        return served

    def _no_table(self, pool: PoolView) -> Decision:
        """pba_pgtable_alloc() for a split, on an empty list: it warns, and enters the refill again."""
        yield Warn("WARN_ON(!page) in get_cached_page(): a split finds the list empty")
        yield from self._refill_pages(pool, Tables.POOL, 0)

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """kpkeys_prepare_direct_map_split(), then the split takes its tables from the list, if it is still ready."""
        while True:
            while pool.cached < self.reserve:
                if (yield from self._refill_pages(pool, Tables.POOL)) is None:
                    return False
            yield Lock("pgtable_split_lock")
            ready = pool.cached >= self.reserve
            done = False
            if ready and pool.tables_needed(change) > pool.cached:
                yield from self._no_table(pool)
            elif ready:
                done = yield Apply(change, Tables.POOL)
            yield Unlock("pgtable_split_lock")
            if ready:
                return done

    def freeable(self, pool: PoolView) -> int:
        """The shrinker's count."""
        return pool.cached - self.unshrinkable

    def shrink(self, pool: PoolView) -> Decision:
        """The shrinker's scan."""
        yield Walk(self._walked(pool))
        shrinkable = pool.cached - self.unshrinkable
        if shrinkable <= 0:
            return 0
        blocks = pool.idle_blocks()
        whole = [(idle, first) for first, idle, in_block in blocks if in_block]
        outside_blocks = sum(idle for _, idle, in_block in blocks if not in_block)
        most, target = max(whole, default=(0, -1))
        block_order = pool.block_order
        if whole and most == 1 << block_order:
            if shrinkable < most:
                return 0
            return (yield from self._give_back([Chunk(target, block_order)]))
        limit = min(shrinkable, self.shrink_batch)
        if outside_blocks < most and outside_blocks < self.shrink_batch and most >= self.shrink_block_min:
            pages = pool.idle_pages(target)
        else:
            pages = [page for first, _, in_block in blocks if not in_block for page in pool.idle_pages(first)]
        return (yield from self._give_back([Chunk(page, 0) for page in pages[:limit]]))

    def _walked(self, pool: PoolView) -> int:
        """Pages of the list that a scan looks at, in both walks together."""
        block = 1 << pool.block_order
        found = any(in_block and idle == block for _, idle, in_block in pool.idle_blocks())
        return pool.cached + (pool.cached // 2 if found else pool.cached)

    def _give_back(self, chunks: list[Chunk]) -> Decision:
        """Take all off the list, then clear their keys and free them; where one lacks a table, it and the rest stay."""
        taken: list[Chunk] = []
        for chunk in chunks:
            taken += [chunk] if (yield Withdraw(chunk)) else []
        freed = 0
        while taken and (yield ResetKey(taken[0], Tables.POOL)):
            freed += taken[0].pages
            yield Free(taken.pop(0))
        for chunk in taken:
            yield Give(chunk)
        return freed
