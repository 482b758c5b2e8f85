"""Brendan Jackman's freetypes: whole pageblocks change their permission inside the page allocator."""

from dataclasses import dataclass

from ptpool.vocabulary import UNMOVABLE
from replay.contract.actions import (
    Alloc,
    Chunk,
    Decision,
    Free,
    Give,
    ResetKey,
    Tables,
    Wait,
    Withdraw,
    key_and_give,
)
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param


@strategy(
    "freetype",
    title="whole pageblocks flipped inside the page allocator, and back when unmovable memory is wanted",
    source="Brendan Jackman, mm: Add __GFP_UNMAPPED (v1, 2026-02-25, 20260225-page_alloc-unmapped-v1-0-e8808a03cd66; "
    "v2, 2026-03-20) and ALLOC_UNMAPPED (v3, 2026-07-26, 20260726-page_alloc-unmapped-v3-0-6f5729aa9832; v4). Read: "
    "parts of v1, replies to v2, and mm/page_alloc.c of the author's tree between v2 and v3; v3 and v4 from notes",
    colour="#aa4499",
    line="dotted",
    marker="X",
    toy={"pcp_batch": 1},  # an eighth of a block, as 63 pages are
)
@dataclass(frozen=True)
class Freetype(Strategy):
    """Pageblocks are flipped as a whole, and have free lists of their own.

    code  A request of order 0 that the flipped lists cannot serve takes a whole pageblock from the unmovable lists or
          their fallbacks, flips it with one flush, keeps a page and frees the rest into the flipped lists
          (__rmqueue_direct_map(), from rmqueue_buddy()). The watermarks that count are those of order 0; the request
          reclaims, retries and calls the OOM killer as one of order 0 does.
    code  Nothing smaller is flipped (max(request_order, pageblock_order)). Requests that may not sleep flip nothing.
    code  Flipped free pages stay in NR_FREE_PAGES: watermarks of order 0 count them.
    code  FREETYPE_UNMAPPED has lists for MIGRATE_UNMOVABLE only (freetype_idx()). So an unmovable request that finds
          nothing else flips a whole free block back, without a flush; a movable or reclaimable one does not.
    code  Pages of the pageblock are flipped in one call, so a large leaf stays whole. A table that a split takes is an
          ordinary page: "Pagetables are never allocated with __GFP_UNMAPPED."
    text  A freed page returns to the flipped free lists, and merges there; there is one more bank of per-CPU lists
          (14/19 of v1).
    text  v1 clears a block that is mapped back; the tree between v2 and v3 does not. `clear_ns` is its price.
    reported  Such a request compacts for a whole pageblock ("always direct compact for unmapped allocs", v3 and v4;
              v1 and v2 do not compact, which a reply of 2026-05-13 pointed out). An ordinary request never compacts
              for flipped blocks: "unmapped blocks hold no movable pages so compaction can never free one up".
    reported  Secret memory is the first user (AS_NO_DIRECT_MAP, 26/26 of v4).
    ours  Compaction comes first, as for any unmovable request, and its effort does not rise with the rounds.
    ours  An unmovable request of a higher order also flips a block back. In the tree that was read its watermark check
          does not see flipped lists.
    ours  `pcp_batch`: pages that a CPU's list takes at a time; it keeps up to two batches.
    ours  Page tables were not what the series was for (asked in a reply, 2026-03-05). The key stands for "not mapped".
    """

    block_order: int = param(9, "pageblock_order: what is flipped", "code")
    pcp_batch: int = param(63, "pages a CPU's list takes at a time (pcp->batch of a large zone)", "ours")
    secrets: bool = param(True, "serve secret memory from the same lists", "reported")
    clear_ns: int = param(0, "ns to clear a page of a block that is flipped back: v1 only", "text")

    fall_back_sleeps = True

    def fast_path(self) -> FastPath:
        """Buddy lists behind a list for each CPU."""
        return FastPath(pooled=True, merges=True, cpu_batch=self.pcp_batch, counts_free=True, secrets=self.secrets)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Flip a free pageblock."""
        block = yield Alloc(self.block_order, request=order, compacts=True)
        return (yield from key_and_give(block, Tables.BUDDY))

    def fall_back(self, pool: PoolView, order: int, migratetype: int) -> Decision:
        """Flip a free block back for an unmovable request."""
        for first, idle, _ in pool.idle_blocks() if migratetype == UNMOVABLE else ():
            block = Chunk(first, self.block_order)
            if idle == block.pages and (yield Withdraw(block)):
                if not (yield ResetKey(block, Tables.BUDDY, flush=False)):
                    yield Give(block)
                    return 0
                yield Wait(block.pages * self.clear_ns)
                yield Free(block, buddy=True)
                return block.pages
        return 0
