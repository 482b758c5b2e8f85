"""Mike Rapoport's MIGRATE_UNMAPPED: a type of pageblock whose pages can leave the direct map one by one."""

from dataclasses import dataclass

from ptpool.vocabulary import MOVABLE
from replay.contract.actions import (
    Alloc,
    Decision,
    Free,
    GiveBlock,
    MapSmall,
    Mark,
    Tables,
    Withdraw,
    changed_or_freed,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param
from replay.kernel.geometry import HIGHEST_MAX_ORDER


@strategy(
    "migrate-unmapped",
    title="a migratetype whose pageblocks are mapped at 4K; the key set on each allocation and cleared on each free",
    source="Mike Rapoport, RFC Prototype for direct map awareness in page allocator, MIGRATE_UNMAPPED (2022-01-27, "
    "20220127085608.306306-1-rppt@kernel.org), patches 1 and 2 of 3",
    colour="#cc79a7",
    line="dashdot",
    marker="h",
    toy={"pcp_batch": 1},  # an eighth of a block, as 63 pages are
)
@dataclass(frozen=True)
class MigrateUnmapped(Strategy):
    """Pageblocks change their type, not their permission; pages change their permission when they are allocated.

    code  A request that the lists of this type cannot serve takes a page by the normal fallback (from UNMOVABLE,
          RECLAIMABLE, MOVABLE), from the largest free chunk, splits the PMD of its pageblock, and moves all free pages
          of that to its lists (set_pageblock_unmapped()). It stays a request of its own order.
    code  The pages move between free lists (move_freepages_block()): they stay free memory, which watermarks count.
    code  Every allocation ends with a permission change of its pages and a flush; every free changes them back without
          a flush.
    code  A page that is freed in such a pageblock goes to the lists of its type, whatever it was used for.
    code  Other types use these lists as their last resort (fallbacks[]), as any fallback of that kernel (5.17) does:
          from the largest chunk, with all free pages of its pageblock, which changes its type if half of it is free. A
          movable request that finds no chunk of half pageblock_order takes the smallest that is large enough, whole.
    code  There is no collapse (#if 0, FIXME).
    code  The type is below MIGRATE_PCPTYPES, so its pages are on the lists of CPUs.
    code  Secret memory is served from it (2/3).
    ours  The last resort is entered after the watermark of a waking kswapd; of chunks of one size the highest goes.
    ours  `pcp_batch`: pages that a CPU's list takes at a time; it keeps up to two batches.
    ours  The tables of the direct map come from the page allocator, without the key, which stands for "not mapped".
    """

    block_order: int = param(9, "pageblock_order: what changes its type", "code")
    secrets: bool = param(True, "serve secret memory from the same lists", "code")
    pcp_batch: int = param(63, "pages a CPU's list takes at a time (pcp->batch of a large zone)", "ours")

    def fast_path(self) -> FastPath:
        """Buddy lists behind a list for each CPU; the key for each table, flushed when it is set."""
        return FastPath(
            pooled=True,
            key_each=True,
            flush_frees=False,
            merges=True,
            cpu_batch=self.pcp_batch,
            adopts=HIGHEST_MAX_ORDER,
            counts_free=True,
            secrets=self.secrets,
        )

    def refill(self, pool: PoolView, order: int) -> Decision:
        """The largest free chunk, and with it its pageblock."""
        chunk = yield Alloc(max(order, pool.largest_free), request=order)
        if chunk is None or not (yield from changed_or_freed(chunk, MapSmall(chunk, Tables.BUDDY))):
            return None
        yield Mark(chunk)
        yield GiveBlock(chunk)
        return True

    def fall_back(self, pool: PoolView, order: int, migratetype: int) -> Decision:
        """Give a chunk to a request that found nothing else, or all that is free in its pageblock."""
        idle = pool.idle_chunks()
        enough = [chunk for chunk in idle if chunk.order >= order]
        if not enough:
            return 0
        largest, taken, freed = enough[-1], enough[:1], 0
        if migratetype != MOVABLE or largest.order >= self.block_order // 2:  # can_steal_fallback()
            block = largest.pfn >> self.block_order
            taken = [chunk for chunk in idle if chunk.pfn >> self.block_order == block]
            if 2 * sum(chunk.pages for chunk in taken) >= 1 << self.block_order:
                yield Mark(largest, marked=False)
        for chunk in taken:
            if (yield Withdraw(chunk)):
                yield Free(chunk, buddy=True)
                freed += chunk.pages
        return freed
