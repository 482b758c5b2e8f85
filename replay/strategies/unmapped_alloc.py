"""Mike Rapoport's unmapped_alloc(): a private buddy of memory that was converted when it came."""

from dataclasses import dataclass

from replay.contract.actions import Decision, Free, Give, ResetKey, Tables, Withdraw, first_free, key_and_give
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param


@strategy(
    "unmapped-alloc",
    title="a private buddy, refilled from a 2M block downward to the order of the request; shrinker",
    source="Mike Rapoport, RFC mm: intorduce __GFP_UNMAPPED and unmapped_alloc() (2023-03-08), patches 1 and 2 of 5",
    colour="#332288",
    line="dotted",
    marker=">",
    toy={"shrink_batch": 2},  # a quarter of a block, as 128 pages are
)
@dataclass(frozen=True)
class UnmappedAlloc(Strategy):
    """Memory changes its permission when it enters a private buddy, and when the shrinker takes it out.

    code  A request that no chunk of the buddy can serve refills it: PMD_ORDER, then 8, 7 and so on down to the order of
          the request, each with the request's own GFP flags (here GFP_KERNEL).
    code  The whole refill is converted and flushed once; allocations and frees change and flush nothing. (Patch 1
          converts `1 << order` pages of a refill of `1 << cache_order`: a mistake that is not modelled.)
    code  A freed page merges with its buddies inside the private buddy. There is one private buddy for all CPUs and
          nodes.
    code  Any page that is freed into the pageblock of a refill goes to the private buddy, whatever it was used for, and
          is not converted. (With a refill smaller than the pageblock it takes in mapped pages: a mistake, not
          modelled.)
    reported  Shrinker: chunks go back from order 0 upward; each is converted back, without a flush, and not merged with
              its neighbours in the direct map (patch 2).
    ours  Page tables are one user of many, and the key stands for "not mapped".
    ours  The tables of the direct map come from the page allocator, without the key: the posting does not mention them,
          since its users did not have that problem.
    ours  Chunks merge up to a 2M block; in the posting up to MAX_ORDER - 1.
    ours  One scan of the shrinker stops when it has freed `shrink_batch` pages.
    """

    block_order: int = param(9, "PMD_ORDER: order of the first attempt", "code")
    shrink_batch: int = param(128, "SHRINK_BATCH: pages that one scan of the shrinker frees", "ours")

    def fast_path(self) -> FastPath:
        """Hand out of the smallest chunk that has as many pages."""
        return FastPath(pooled=True, merges=True)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A 2M block, else half of one, and so on down to the request."""
        chunk = yield from first_free(range(self.block_order, order - 1, -1))
        return (yield from key_and_give(chunk, Tables.BUDDY))

    def shrink(self, pool: PoolView) -> Decision:
        """Give chunks back, the smallest first; one stays if a split lacks a table to clear its key."""
        freed = 0
        for chunk in pool.idle_chunks():
            if freed >= self.shrink_batch:
                break
            if not (yield Withdraw(chunk)):
                continue
            if not (yield ResetKey(chunk, Tables.BUDDY, flush=False)):
                yield Give(chunk)
                continue
            yield Free(chunk)
            freed += chunk.pages
        return freed
