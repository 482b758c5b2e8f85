"""kpkeys v6's page-table block allocator, PBA."""

from dataclasses import dataclass

from replay.contract.actions import (
    Apply,
    Change,
    Chunk,
    Decision,
    Free,
    Give,
    Lock,
    ResetKey,
    SetKey,
    Tables,
    Take,
    Unlock,
    Withdraw,
    first_free,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param


@strategy(
    "pba",
    title="kpkeys v6: refill orders 9, 4, 2 into one list; reserve of 2 + 2 pages; shrinker",
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

    code  A page is handed out iff more than PBA_NR_RESERVED_PAGES (4) are cached; otherwise the pool is refilled and
          the request is served from what was added.
    code  refill_orders[] = {PMD_ORDER, 4, 2}, each tried with plain GFP_KERNEL (no NORETRY, no NOWARN).
    code  alloc_mutex is held while the key of the new chunk is set: one refill splits at a time. The reserve is 2 pages
          for that split and 2 for any other: kpkeys_prepare_direct_map_split() refills while fewer than 4 are cached,
          and kpkeys_ready_for_direct_map_split() looks again under the lock of the linear map.
    code  A request that may not sleep gets a page of the list, with a warning (check_gfp(): VM_WARN unless all of
          GFP_KERNEL is there). A refill takes a mutex and uses GFP_KERNEL: with an empty list it counts as refused.
    code  A freed table goes to the head of the list (list_add()) and keeps its key.
    code  The shrinker gives a whole free block back in one piece, if 16 pages stay; failing that it breaks up the block
          with most free pages, if that has at least 64 and more than there are outside blocks; failing that it frees
          pages outside blocks one by one. It never leaves fewer than 16. Pages leave the list before the first key is
          reset. (release_page_list() loses the rest where one cannot be reset: a mistake that is not modelled.)
    code  One refill early in boot; its key is set later, with tables from memblock (PPA; its own 2M chunks, which hold
          the tables of the direct map, are not modelled).
    ours  The pages of a new chunk are handed out from the lowest up; pba's list has its last page first. The shrinker
          takes single pages from the lowest up, pba's from the head of its list.
    code  The shrinker is registered with `seeks = 0` and `batch = 512`: the core scans half of what could be given back
          each time, in batches, and defers less than a batch until memory is so short that it scans all.
    code  kpkeys_pgtable_alloc() has no order: a PGD of two pages (page-table isolation) is not served.
    """

    refill_orders: tuple[int, ...] = param((9, 4, 2), "orders tried in turn", "code")
    reserve: int = param(4, "PBA_NR_RESERVED_PAGES: pages that ordinary requests leave", "code")
    unshrinkable: int = param(16, "PBA_UNSHRINKABLE_PAGES: pages that the shrinker leaves", "code")
    shrink_block_min: int = param(
        64, "PBA_SHRINK_BLOCK_MIN_PAGES: free pages that make a block worth breaking up", "code"
    )
    seeks: int = param(0, "seeks of the registered shrinker: 0, nothing has to be read again", "code")
    shrink_batch: int = param(512, "batch of the registered shrinker", "code")

    def fast_path(self) -> FastPath:
        """Hand out iff more than the reserve is cached."""
        return FastPath(pooled=True, reserve=self.reserve)

    def boot(self, pool: PoolView) -> Decision:
        """pba_init() and pba_init_late(): one refill."""
        yield from self._refill_pages(Tables.BOOT)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Refill, then take the first page of the new chunk."""
        if (yield from self._refill_pages(Tables.POOL)) is None:
            return None
        return (yield Take(order))

    def _refill_pages(self, tables: Tables) -> Decision:
        """__refill_pages()."""
        chunk = yield from first_free(self.refill_orders)
        if chunk is None:
            return None
        yield Lock("alloc_mutex")
        yield Lock("pgtable_split_lock")
        keyed = yield SetKey(chunk, tables)
        yield Unlock("pgtable_split_lock")
        if keyed:
            yield Give(chunk)
        yield Unlock("alloc_mutex")
        if not keyed:
            yield Free(chunk)
            return None
        return True

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """kpkeys_prepare_direct_map_split(), then the split takes its tables from the list, if it is still ready."""
        while True:
            while pool.cached < self.reserve:
                if (yield from self._refill_pages(Tables.POOL)) is None:
                    return False
            yield Lock("pgtable_split_lock")
            ready = pool.cached >= self.reserve
            done = ready and (yield Apply(change, Tables.POOL))
            yield Unlock("pgtable_split_lock")
            if ready:
                return done

    def freeable(self, pool: PoolView) -> int:
        """The shrinker's count."""
        return pool.cached - self.unshrinkable

    def shrink(self, pool: PoolView) -> Decision:
        """The shrinker's scan."""
        shrinkable = pool.cached - self.unshrinkable
        if shrinkable <= 0:
            return 0
        blocks = pool.idle_blocks()
        whole = [(idle, first) for first, idle, in_block in blocks if in_block]
        outside_blocks = sum(idle for _, idle, in_block in blocks if not in_block)
        most, target = max(whole, default=(0, -1))
        block_order = self.refill_orders[0]
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
