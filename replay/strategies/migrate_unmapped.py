"""Mike Rapoport's MIGRATE_UNMAPPED: a type of pageblock whose pages can leave the direct map one by one."""

from dataclasses import dataclass

from replay.contract.actions import (
    Decision,
    Free,
    GiveBlock,
    MapSmall,
    Mark,
    Tables,
    Withdraw,
    changed_or_freed,
    first_free,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param
from replay.kernel.geometry import HIGHEST_MAX_ORDER


@strategy(
    "migrate-unmapped",
    title="a migratetype whose pageblocks are mapped at 4K; the key set on each allocation and cleared on each free",
    source="Mike Rapoport, RFC Prototype for direct map awareness in page allocator, MIGRATE_UNMAPPED (2022-01-27)",
    colour="#cc79a7",
    line="dashdot",
    marker="h",
    toy={"pcp_batch": 1},  # an eighth of a block, as 63 pages are
)
@dataclass(frozen=True)
class MigrateUnmapped(Strategy):
    """Pageblocks change their type, not their permission; pages change their permission when they are allocated.

    code  A request that the lists of this type cannot serve takes a page by the normal fallback (from UNMOVABLE,
          RECLAIMABLE, MOVABLE), splits the PMD of its pageblock, and moves all free pages of that to its lists
          (set_pageblock_unmapped()).
    code  Every allocation ends with a permission change of its pages and a flush; every free changes them back without
          a flush.
    code  A page that is freed in such a pageblock goes to the lists of its type, whatever it was used for.
    code  Other types use these lists as their last resort. There is no collapse (#if 0, FIXME).
    code  The type is below MIGRATE_PCPTYPES, so its pages are on the lists of CPUs.
    ours  The fallback takes from the largest free chunk (find_suitable_fallback()); all of it is taken at once, since
          the other free pages of the pageblock follow.
    ours  The last resort is the largest free chunk, given back before the request that wants it stalls. The whole chunk
          changes lists, while the kernel takes only the pages it wants.
    ours  `pcp_batch`: pages that a CPU's list takes at a time; it keeps up to two batches.
    ours  The tables of the direct map come from the page allocator, without the key.
    """

    pcp_batch: int = param(63, "pages a CPU's list takes at a time (pcp->batch of a large zone)", "ours")

    shrinks_early = True

    def fast_path(self) -> FastPath:
        """Buddy lists behind a list for each CPU; the key for each table, flushed when it is set."""
        return FastPath(
            pooled=True,
            key_each=True,
            flush_frees=False,
            merges=True,
            cpu_batch=self.pcp_batch,
            adopts=HIGHEST_MAX_ORDER,
        )

    def refill(self, pool: PoolView, order: int) -> Decision:
        """The largest free chunk, and with it its pageblock."""
        chunk = yield from first_free((max(order, pool.largest_free), order))
        if chunk is None or not (yield from changed_or_freed(chunk, MapSmall(chunk, Tables.BUDDY))):
            return None
        yield Mark(chunk)
        yield GiveBlock(chunk)
        return True

    def shrink(self, pool: PoolView) -> Decision:
        """Give the largest chunk to a request that found nothing else."""
        for chunk in reversed(pool.idle_chunks()):
            if (yield Withdraw(chunk)):
                yield Free(chunk)
                return chunk.pages
        return 0
