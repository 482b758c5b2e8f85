"""Brendan Jackman's freetypes: whole pageblocks change their permission inside the page allocator."""

from dataclasses import dataclass

from replay.contract.actions import (
    Alloc,
    Chunk,
    Decision,
    Free,
    Give,
    ResetKey,
    Tables,
    Withdraw,
    key_and_give,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param


@strategy(
    "freetype",
    title="whole pageblocks flipped inside the page allocator, and back when ordinary memory is wanted",
    source="Brendan Jackman, mm: Add __GFP_UNMAPPED (v1, 2026-02-25) to ALLOC_UNMAPPED (v4); after notes on v4, whose "
    "implementing patch was not read",
    colour="#aa4499",
    line="dotted",
    marker="X",
    toy={"pcp_batch": 1},  # an eighth of a block, as 63 pages are
)
@dataclass(frozen=True)
class Freetype(Strategy):
    """Pageblocks are flipped as a whole, and have free lists of their own.

    text  A request that the flipped lists cannot serve flips a whole free pageblock, with one flush: "amortising that
          flush cost into almost nothing".
    text  FREETYPE_UNMAPPED implies MIGRATE_UNMOVABLE. "always direct compact for unmapped allocs", because "unmapped
          blocks contain no movable pages, so compaction can never free one up": there is no smaller fallback.
    text  A freed page returns to the flipped free lists, and merges there.
    text  There is one more bank of per-CPU lists. The page allocator does not zero flipped pages.
    text  A block is flipped back when ordinary memory is wanted.
    ours  It is flipped back as a whole, before the request that wants it stalls, without a flush (rights are added).
    ours  `pcp_batch`: pages that a CPU's list takes at a time; it keeps up to two batches.
    ours  The tables of the direct map come from the page allocator, without the key: page tables were not what the
          series was for (asked in a reply, 2026-03-05).
    """

    block_order: int = param(9, "pageblock_order: what is flipped", "text")
    pcp_batch: int = param(63, "pages a CPU's list takes at a time (pcp->batch of a large zone)", "ours")

    shrinks_early = True

    def fast_path(self) -> FastPath:
        """Buddy lists behind a list for each CPU."""
        return FastPath(pooled=True, merges=True, cpu_batch=self.pcp_batch)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Flip a free pageblock."""
        block = yield Alloc(self.block_order)
        return (yield from key_and_give(block, Tables.BUDDY))

    def shrink(self, pool: PoolView) -> Decision:
        """Flip a free block back."""
        for first, idle, _ in pool.idle_blocks():
            block = Chunk(first, self.block_order)
            if idle == block.pages and (yield Withdraw(block)):
                if not (yield ResetKey(block, Tables.BUDDY, flush=False)):
                    yield Give(block)
                    return 0
                yield Free(block)
                return block.pages
        return 0
