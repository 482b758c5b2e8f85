"""The September 2025 proposal: two pages in reserve, a 2M block, else four pages."""

from dataclasses import dataclass

from replay.contract.actions import Apply, Change, Decision, Lock, Tables, Unlock, first_free, key_and_give
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, by_granule, param


@strategy(
    "reserve-block",
    title="two keyed pages in reserve; refill with a 2M block, else with four pages",
    source="Kevin Brodsky, pool proposal on linux-mm, 2025-09-18, answering Rick Edgecombe's patch 17",
    colour="#0072b2",
    line="solid",
    marker="D",
)
@dataclass(frozen=True)
class ReserveBlock(Strategy):
    """A pool that refills with a whole 2M block, or with four pages if there is none.

    text  "2 pages are reserved at all times (with the appropriate pkey)".
    text  "Try to allocate a 2M block. If needed, use a reserved page as PMD to split a PUD. If successful, set its
          pkey - the entire block can now be used for PTPs. Replenish the reserve from the block if needed."
    text  "If no block is available, make an order-2 allocation (4 pages). If needed, use 1-2 reserved pages to split
          PUD/PMD. Set the pkey of the 4 pages, take 1-2 pages to replenish the reserve if needed."
    ours  One list, most recently used first; a freed table goes back to it and keeps its key; nothing is ever given
          back to the page allocator (the mail names no shrinker).
    ours  A page that the refill's own split used is replaced by a page of the chunk, because there is only one list: an
          ordinary request is served only while more than the reserve is left.
    ours  The first refill happens at boot, with tables set aside before the page allocator runs.
    ours  Permission changes by others take their tables from the pool. The pool is first refilled until it has those
          tables on top of the reserve; the change fails when a refill fails.
    ours  `mutex`: the mail leaves concurrency open ("A bigger concern is concurrency"). The author's own v6 holds a
          mutex, from the split of a refill until its pages are on the list; so does this, from the request on. Without
          it (false), even where a lock allows one split at a time, as arm64's does, a second refill splits before the
          first has put pages back, and counts on the same two.
    ours  The mail's block is of 4K pages. With others the largest order is kpkeys v6's: what a PMD maps, but order 9
          (32M) with 64K pages.
    """

    reserve: int = param(2, "keyed pages that only splits may use", "text")
    block_order: int = by_granule(9, 11, 9, "order of the first attempt: a 2M block", "text")
    last_order: int = param(2, "order of the last attempt", "text")
    mutex: bool = param(True, "one refill or split at a time, from the request to the list", "ours")

    def fast_path(self) -> FastPath:
        """Hand out while more than the reserve is left."""
        return FastPath(pooled=True, reserve=self.reserve)

    def boot(self, pool: PoolView) -> Decision:
        """Fill the reserve for the first time."""
        yield from self._refill(Tables.BOOT)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A 2M block, else four pages; the reserve pays for the split."""
        return (yield from self._refill(Tables.POOL))

    def _refill(self, tables: Tables) -> Decision:
        if self.mutex:
            yield Lock("pool_mutex")
        refilled = yield from self._refill_locked(tables)
        if self.mutex:
            yield Unlock("pool_mutex")
        return refilled

    def _refill_locked(self, tables: Tables) -> Decision:
        chunk = yield from first_free((self.block_order, self.last_order))
        return (yield from key_and_give(chunk, tables))

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Refill until the tables needed are there beyond the reserve, then split with them."""
        if self.mutex:
            yield Lock("pool_mutex")
        done = yield from self._split_for(pool, change)
        if self.mutex:
            yield Unlock("pool_mutex")
        return done

    def _split_for(self, pool: PoolView, change: Change) -> Decision:
        while pool.cached < self.reserve + pool.tables_needed(change):
            if (yield from self._refill_locked(Tables.POOL)) is None:
                return False
        return (yield Apply(change, Tables.POOL))
