"""A strategy of our own, from the findings about the proposals."""

from dataclasses import dataclass

from replay.contract.actions import (
    Alloc,
    Apply,
    Change,
    Chunk,
    Convert,
    Decision,
    Free,
    Give,
    Isolate,
    Lock,
    Tables,
    Unlock,
    Walk,
    Withdraw,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, by_granule, param
from replay.kernel.direct_map import KEYED

REFILL_TABLES = 2
"""What the split of a refill takes at most: a PMD and a PTE table, since its chunk is naturally aligned."""


@strategy(
    "buddy-reserve",
    title="ours: splits a block only for all that is free in it, gives whole blocks back, never lacks a table",
    source="ours, after what the replays and the search say of the proposals",
    colour="#009e73",
    line="solid",
    marker="*",
    toy={
        "magazine_order": 0,  # a list for each CPU only adds states: the reserve is on the shared one
        "keep": 6,  # of 16: the reserve, less than a block
        "shrink_batch": 8,  # a block, as in the strategy
    },
)
@dataclass(frozen=True)
class BuddyReserve(Strategy):
    """A pool that cannot lack a table for a split, splits a 2M leaf only for all that is free in it, and keeps little.

    ours  Six pages are in reserve: two for the split of the pool's own refill, four for a change by others, which cuts
          a 1G leaf at both ends at worst. Ordinary page tables are handed out while more are left; only the list's lock
          is taken.
    ours  Every split takes one lock, holds it for that split only, and allocates nothing under it. A change by others
          splits when its tables and two more pages are there; otherwise it drops the lock and refills first. So a task
          that gets the lock finds at least two pages. Every refill brings more than it takes: three pages or more.
    ours  `looks`: a refill asks for a block only where the free lists have one, else for no more than they have. So it
          does not stall for a block that is not there, and does not get one that compaction would have made.
    ours  `isolates`: a refill that gets less than a block takes everything else that is free in its pageblock, as
          compaction does (isolate_freepages_block()). The leaf has to be split in any case, and then its pages should
          serve as long as they can. Their keys are set one by one, with one flush after the last. Where movable pages
          are in use in that pageblock it puts unmovable ones among them: metric `isolated_movable_pages` counts those.
    ours  Idle pages merge (a private buddy), and tables come from the smallest chunk: used blocks fill up, whole blocks
          stay whole, and two adjacent pages for a PGD (page-table isolation) are easy to find.
    ours  The shrinker gives back the largest idle chunks whose key can be cleared without a split, while `keep` pages
          stay, with one flush after the last. It looks at every chunk under the list's lock. It holds the lock of the
          splits, so no split finds the reserve half given away. A worker also runs it when tables are freed and more
          than `spare_blocks` whole blocks are idle.
    ours  With 16K and 64K pages the largest order is kpkeys v6's (11, and 9 with 64K pages), as for all pools.
    ours  A list for each CPU takes `1 << magazine_order` pages at a time, and keeps up to twice as many; 0: none.
    """

    reserve: int = param(6, "keyed pages that only splits may use: 2 for a refill's own, 4 for others'", "ours")
    block_order: int = by_granule(9, 11, 9, "largest order of a refill: a 2M block", "ours")
    last_order: int = param(2, "order of the last attempt", "ours")
    looks: bool = param(True, "ask for a block only where one is free", "ours")
    isolates: bool = param(
        True, "take what else is free in the pageblock, where a refill gets less than a block", "ours"
    )
    spare_blocks: int = param(1, "whole idle blocks that stay; what is more goes back", "ours")
    magazine_order: int = param(4, "order of what a CPU's list takes at a time; 0: no lists of CPUs", "ours")
    keep: int = param(16, "pages that the shrinker leaves", "ours")
    shrink_batch: int = by_granule(
        512, 2048, 8192, "pages after which one scan of the shrinker stops: a block's", "ours"
    )

    def fast_path(self) -> FastPath:
        """Hand out while more than the reserve is left."""
        batch = 1 << self.magazine_order if self.magazine_order else 0
        return FastPath(pooled=True, reserve=self.reserve, merges=True, cpu_batch=batch, spare_blocks=self.spare_blocks)

    def boot(self, pool: PoolView) -> Decision:
        """Fill the reserve for the first time, until it is whole."""
        while pool.cached < self.reserve:
            if (yield from self._refill(pool, Tables.BOOT)) is None:
                return

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Refill, each task for itself."""
        return (yield from self._refill(pool, Tables.POOL))

    def _refill(self, pool: PoolView, tables: Tables) -> Decision:
        chunks = yield from self._memory(pool)
        if not chunks:
            return None
        yield Lock("split_mutex")
        keyed = yield from self._change(chunks, KEYED, 0, tables)
        if keyed:
            for chunk in chunks:
                yield Give(chunk)
        yield Unlock("split_mutex")
        if not keyed:
            for chunk in chunks:
                yield Free(chunk)
            return None
        return True

    def _memory(self, pool: PoolView) -> Decision:
        """More pages than their split takes, of one pageblock; nothing if there are none."""
        free = pool.largest_free if self.looks else self.block_order
        first = self.block_order if free >= self.block_order else min(free, self.last_order)
        for order in dict.fromkeys((first, self.last_order)):
            if (chunk := (yield Alloc(order))) is None:
                continue
            others = (yield Isolate(chunk)) if self.isolates and order < self.block_order else ()
            chunks = [chunk, *others]
            if sum(each.pages for each in chunks) > REFILL_TABLES:
                return chunks
            for each in chunks:
                yield Free(each)
        return []

    def _change(self, chunks: list[Chunk], set_bits: int, clear_bits: int, tables: Tables) -> Decision:
        """Set or clear the key of chunks that lie in one block or need no table, with one flush after the last.

        Only the first can need tables: it is split down to pages then. Returns whether it was done.
        """
        for chunk in chunks:
            change = Change(chunk.pfn, chunk.pages, set_bits, clear_bits)
            if not (yield Convert(change, tables, flush=chunk is chunks[-1])):
                return False
        return True

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Split when the tables and two more pages are there; refill until they are."""
        while True:
            yield Lock("split_mutex")
            ready = pool.cached >= pool.tables_needed(change) + REFILL_TABLES
            done = ready and (yield Apply(change, Tables.POOL))
            yield Unlock("split_mutex")
            if ready:
                return done
            if (yield from self._refill(pool, Tables.POOL)) is None:
                return False

    def freeable(self, pool: PoolView) -> int:
        """What may go."""
        return pool.cached - self.keep

    def shrink(self, pool: PoolView) -> Decision:
        """Give back what takes no table, the largest chunks first."""
        taken: list[Chunk] = []
        yield Lock("split_mutex")
        chunks = pool.idle_chunks()
        yield Walk(len(chunks))
        for chunk in reversed(chunks):
            if sum(each.pages for each in taken) >= self.shrink_batch:
                break
            if pool.cached - chunk.pages < self.keep or pool.tables_needed(_unkeying(chunk)) > 0:
                continue
            if not (yield Withdraw(chunk)):
                continue
            if pool.cached < self.keep:  # others took pages meanwhile
                yield Give(chunk)
                break
            taken.append(chunk)
        yield from self._change(taken, 0, KEYED, Tables.POOL)
        yield Unlock("split_mutex")
        for chunk in taken:
            yield Free(chunk)
        return sum(chunk.pages for chunk in taken)


def _unkeying(chunk: Chunk) -> Change:
    return Change(chunk.pfn, chunk.pages, 0, KEYED)
