"""A strategy of our own: what the findings about the proposals suggest."""

from dataclasses import dataclass

from replay.actions import (
    Alloc,
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
    Unlock,
    Withdraw,
)
from replay.kernel.direct_map import KEYED
from replay.registry import FastPath, PoolView, Strategy, param, strategy

REFILL_TABLES = 2
"""What the split of a refill takes at most: a PMD and a PTE table, since its chunk is naturally aligned."""


@strategy(
    "buddy-reserve",
    title="ours: a private buddy, six pages in reserve, one lock for all splits and no allocation under it",
    source="ours, after what the replays and the search say of the proposals",
)
@dataclass(frozen=True)
class BuddyReserve(Strategy):
    """A pool that cannot lack a table for a split, however many tasks refill and split at once.

    ours  Six pages are in reserve: two for the split of the pool's own refill, four for a change by others, which cuts
          a 1G leaf at both ends at most. Ordinary page tables are handed out while more are left, without any lock but
          the list's.
    ours  Whatever splits does so under one lock, holds it for that split only, and allocates nothing under it. Others
          split when their tables are there and two besides; else they drop the lock and refill first. So whoever gets
          the lock finds at least two pages, and every refill brings more than it takes: four pages or more.
    ours  A refill asks for a block, else for four pages. `looks`: it asks for the largest order that the free lists
          have first. That saves the stall for a block that is not there, and the block that compaction would have made.
    ours  `one_refill`: who finds a refill under way waits for it and looks again, and takes no block of its own. It
          holds less memory where many refill at once, and waits long where each refill has to reclaim.
    ours  Idle pages merge (a private buddy), and tables come from the smallest chunk: used blocks fill up, whole blocks
          stay whole, and the two pages of a PGD are neighbours without a search.
    ours  Shrinker: the largest idle chunks whose key can be cleared without a split, while `keep` pages stay. It takes
          them under the lock of the splits, so that no split meets a reserve that is on its way out.
    ours  A list for each CPU takes `1 << magazine_order` pages at a time, and keeps up to twice as many; 0: none.
    """

    reserve: int = param(6, "keyed pages that only splits may use: 2 for a refill's own, 4 for others'", "ours")
    block_order: int = param(9, "largest order of a refill: a 2M block", "ours")
    last_order: int = param(2, "order of the last attempt", "ours")
    looks: bool = param(False, "ask for the largest order that is free first, instead of a block", "ours")
    one_refill: bool = param(False, "one refill at a time; others wait for it", "ours")
    magazine_order: int = param(4, "order of what a CPU's list takes at a time; 0: no lists of CPUs", "ours")
    keep: int = param(16, "pages that the shrinker leaves", "ours")
    shrink_batch: int = param(512, "pages after which one scan of the shrinker stops", "ours")

    def fast_path(self) -> FastPath:
        """Hand out while more than the reserve is left."""
        batch = 1 << self.magazine_order if self.magazine_order else 0
        return FastPath(pooled=True, reserve=self.reserve, merges=True, cpu_batch=batch)

    def boot(self, pool: PoolView) -> Decision:
        """Fill the reserve for the first time, until it is whole."""
        while pool.cached < self.reserve:
            if (yield from self._refill(pool, Tables.BOOT)) is None:
                return

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Refill; or wait for who does already, and look again."""
        if not self.one_refill:
            return (yield from self._refill(pool, Tables.POOL))
        yield Lock("refill_mutex")
        enough = order == 0 and pool.cached > self.reserve
        refilled = enough or (yield from self._refill(pool, Tables.POOL))
        yield Unlock("refill_mutex")
        return refilled

    def _refill(self, pool: PoolView, tables: Tables) -> Decision:
        largest = max(min(pool.largest_free, self.block_order), self.last_order) if self.looks else self.block_order
        chunk = yield Alloc(largest)
        if chunk is None and largest > self.last_order:
            chunk = yield Alloc(self.last_order)
        if chunk is None:
            return None
        yield Lock("split_mutex")
        keyed = yield SetKey(chunk, tables)
        if keyed:
            yield Give(chunk)
        yield Unlock("split_mutex")
        if not keyed:
            yield Free(chunk)
            return None
        return True

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Split when the tables are there and two besides; refill until they are."""
        while True:
            yield Lock("split_mutex")
            ready = pool.cached >= pool.tables_needed(change) + REFILL_TABLES
            done = ready and (yield Apply(change, Tables.POOL))
            yield Unlock("split_mutex")
            if ready:
                return done
            if (yield from self._refill(pool, Tables.POOL)) is None:
                return False

    def shrink(self, pool: PoolView) -> Decision:
        """Give back what takes no table, the largest chunks first."""
        given: list[Chunk] = []
        yield Lock("split_mutex")
        for chunk in reversed(pool.idle_chunks()):
            if sum(taken.pages for taken in given) >= self.shrink_batch:
                break
            if pool.cached - chunk.pages < self.keep or pool.tables_needed(_unkeying(chunk)) > 0:
                continue
            if not (yield Withdraw(chunk)):
                continue
            if pool.cached < self.keep:  # others took pages meanwhile
                yield Give(chunk)
                break
            yield ResetKey(chunk, Tables.POOL)
            given.append(chunk)
        yield Unlock("split_mutex")
        for chunk in given:
            yield Free(chunk)
        return sum(chunk.pages for chunk in given)


def _unkeying(chunk: Chunk) -> Change:
    return Change(chunk.pfn, chunk.pages, 0, KEYED)
