"""Mike Rapoport's unmapped_alloc(): a private buddy of memory that was converted when it came."""

from dataclasses import dataclass

from replay.contract.actions import (
    Change,
    Chunk,
    Convert,
    Decision,
    Free,
    Give,
    ResetKey,
    Tables,
    Withdraw,
    first_free,
    key_and_give,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param
from replay.kernel.leaves import KEYED


@strategy(
    "unmapped-alloc",
    title="a private buddy, refilled from a 2M block downward to the order of the request; shrinker",
    source="Mike Rapoport, RFC mm: intorduce __GFP_UNMAPPED and unmapped_alloc() (2023-03-08, "
    "20230308094106.227365-1-rppt@kernel.org), patches 1, 3 and 5 of 5",
    colour="#332288",
    line="dotted",
    marker=">",
    toy={"shrink_batch": 2},  # a quarter of a block, as 128 pages are
)
@dataclass(frozen=True)
class UnmappedAlloc(Strategy):
    """Memory changes its permission when it enters a private buddy, and when the shrinker takes it out.

    code  A request that no chunk of the buddy can serve refills it: PMD_ORDER, then 8, 7 and so on down to the order of
          the request, each with the request's own GFP flags (here GFP_KERNEL): order 3 can kill before 2 is tried.
    code  The whole refill is converted page by page (set_direct_map_invalid_noflush()), which splits the large leaf
          that it lies in, and flushed once; allocations and frees change and flush nothing. (1/5 converts `1 << order`
          pages of a refill of `1 << cache_order`: a mistake that is not modelled.)
    code  A freed page merges with its buddies inside the private buddy. There is one private buddy for all CPUs and
          nodes.
    code  Shrinker (3/5): chunks go back from order 0 upward; each is converted back page by page, without a flush, and
          freed past the lists of CPUs. It takes the lock for each chunk, and walks
          no list.
    code  Secret memory is served from it (5/5).
    ours  What others free does not come in. In the posting a page that is freed into the pageblock of any refill goes
          to the private buddy, which is how its own pages find back, and is not converted. The mark is taken away only
          with a whole pageblock, so it also takes in mapped pages: of a smaller refill's neighbours, and what the
          shrinker gave away. A mistake, not modelled.
    ours  Page tables are one user of many, and the key stands for "not mapped".
    ours  The tables of the direct map come from the page allocator, without the key: the posting does not mention them,
          since its users did not have that problem.
    ours  Chunks merge up to a 2M block; in the posting up to MAX_ORDER - 1.
    ours  One scan of the shrinker stops when it has freed `shrink_batch` pages; of one order the lowest goes first.
    ours  `page_by_page=false` converts a chunk in one call, so that a 2M leaf stays whole. The lab's module does that,
          and serves page tables only.
    """

    block_order: int = param(9, "PMD_ORDER: order of the first attempt", "code")
    page_by_page: bool = param(True, "convert memory page by page; false: in one call", "code")
    secrets: bool = param(True, "serve secret memory from the same lists", "code")
    shrink_batch: int = param(128, "SHRINK_BATCH: pages that one scan of the shrinker frees", "ours")

    def fast_path(self) -> FastPath:
        """Hand out of the smallest chunk that has as many pages."""
        return FastPath(pooled=True, merges=True, secrets=self.secrets)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A 2M block, else half of one, and so on down to the request."""
        chunk = yield from first_free(range(self.block_order, order - 1, -1))
        if chunk is None or not self.page_by_page:
            return (yield from key_and_give(chunk, Tables.BUDDY))
        if not (yield from self._each(chunk, KEYED, 0, flush=True)):
            yield Free(chunk)
            return None
        yield Give(chunk)
        return True

    def shrink(self, pool: PoolView) -> Decision:
        """Give chunks back, the smallest first; one stays if a split lacks a table to clear its key."""
        freed = 0
        for chunk in pool.idle_chunks():
            if freed >= self.shrink_batch:
                break
            if not (yield Withdraw(chunk)):
                continue
            if self.page_by_page:
                done = yield from self._each(chunk, 0, KEYED, flush=False)
            else:
                done = yield ResetKey(chunk, Tables.BUDDY, flush=False)
            if not done:
                yield Give(chunk)
                continue
            yield Free(chunk, buddy=True)
            freed += chunk.pages
        return freed

    def _each(self, chunk: Chunk, set_bits: int, clear_bits: int, *, flush: bool) -> Decision:
        """Convert the pages of a chunk one by one. Only the first can lack a table: they lie under one 2M leaf."""
        for page in range(chunk.pfn, chunk.pfn + chunk.pages):
            last = page == chunk.pfn + chunk.pages - 1
            change = Change(page, 1, set_bits, clear_bits)
            if not (yield Convert(change, Tables.BUDDY, flush=flush and last)):
                return False
        return True
