"""Rick Edgecombe's solution 1: the large page that is converted supplies its own split tables."""

from dataclasses import dataclass

from replay.contract.actions import Apply, Change, Decision, Tables, first_free, key_and_give
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, by_granule


@strategy(
    "self-split",
    title="the large page that is converted supplies the tables for its own split",
    source="Rick Edgecombe, PKS write protected page tables v2, patch 17 (2021-08-30), "
    "solution 1, considered and rejected there",
    colour="#117733",
    line="solid",
    marker="^",
)
@dataclass(frozen=True)
class SelfSplit(Strategy):
    """There is no reserve: a large page that is converted supplies its own tables.

    text  "Break the direct map with pages allocated from the large page being converted to PKS. This would result in a
          window where the table could be written to right before it was linked into the page tables."
    text  "It also depends on high order pages being available, and so would regress from the un-protected behavior in
          that respect."
    ours  Without a 2M block a page table is refused. `refill_orders` can name smaller orders.
    ours  One list, most recently used first; a freed table goes back to it and keeps its key; nothing is given back.
    ours  Permission changes by others take their tables from the pool, which is first refilled until it has enough.
    """

    refill_orders: tuple[int, ...] = by_granule((9,), (11,), (9,), "orders tried in turn", "text")

    leaves_unkeyed = True

    def fast_path(self) -> FastPath:
        """Hand out whatever is there."""
        return FastPath(pooled=True)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """A large page, split with pages of its own."""
        chunk = yield from first_free(self.refill_orders)
        return (yield from key_and_give(chunk, Tables.OWN))

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Refill until the tables needed are there, then split with them."""
        while pool.cached < pool.tables_needed(change):
            if (yield from self.refill(pool, 0)) is None:
                return False
        return (yield Apply(change, Tables.POOL))
