"""Rick Edgecombe's two kinds of user: one big pool of memory that is not mapped, and small caches that feed on it."""

from dataclasses import dataclass

from replay.contract.actions import (
    Apply,
    Change,
    Convert,
    Decision,
    Free,
    Give,
    Lock,
    Tables,
    Take,
    Unlock,
    Walk,
    Withdraw,
    changed_or_freed,
    first_free,
)
from replay.contract.permissions import PERMISSIONS, SHARED, TABLES
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy, param
from replay.kernel.direct_map import NOT_PRESENT


@strategy(
    "generic",
    title="one pool of unmapped memory for secrets, and for small caches of page tables, shadow stacks and code",
    source="Rick Edgecombe, answering Mike Rapoport's __GFP_PTE_MAPPED, 2021-08-23, and Kevin Brodsky's pool proposal, "
    "2025-09-18 (6e5d24de6a6661f83442741f6be8daf691a05a20.camel@intel.com)",
    colour="#661100",
    line="dashdot",
    marker="H",
    toy={"cache_order": 2, "shrink_batch": 2},  # a cache takes half a block
)
@dataclass(frozen=True)
class Generic(Strategy):
    """All users of memory with a special permission share one pool.

    text  "a big cache of grouped unmapped pages that category one usages could share": secret memory is served from it
          as it is, and comes back as it is. "re-allocations can share unmapped pages without doing any expensive
          maintenance"
    text  "little category two allocators could have their own caches that feed on it too": page tables ("this rfc"),
          whose only alias is the direct map, have a permission of their own. "Just ask for unmapped pages and convert
          them without a flush."
    text  Users, in the mail of 2025: "pkeys usages (page tables and secret protection)", "kernel shadow stacks", "More
          efficient executable code allocations".
    ours  Kernel shadow stacks are of the second category. The mail of 2021 does not name them.
    ours  Executable memory also has a cache of its own; by the mail of 2021 unmapped memory would do for modules.
    ours  Shadow stacks are one page for each kernel stack of the recording; no kernel has them.
    ours  The big pool is a private buddy. It is refilled as the September 2025 proposal refills, with a 2M block, else
          four pages; a cache that runs short takes `cache_order` from it at a time. The first such chunk of a block
          that one leaf maps splits that leaf.
    ours  A page that is freed goes to the cache of its permission. When a cache has more than twice `cache_order`
          pages, those unused for longest go back to the big pool in batches: unmapped again, with one flush.
    ours  Tables of the direct map come from the cache of page tables, which keeps `reserve` pages for them, under one
          mutex. Permission changes by others are prepared as in `reserve-block`.
    ours  The shrinker gives back idle whole blocks of the big pool, then chunks that are already mapped small. It
          looks at every chunk under the list's lock.
    """

    refill_orders: tuple[int, ...] = param((9, 2), "orders tried in turn for the big pool", "ours")
    cache_order: int = param(6, "order of what a cache takes from the big pool at a time", "ours")
    reserve: int = param(2, "pages of the cache of page tables that only splits may use", "ours")
    shrink_batch: int = param(128, "SHRINK_BATCH: pages that one scan of the shrinker frees", "ours")

    shadow_stacks = True
    separate = False

    def __post_init__(self) -> None:
        """Refuse single pages: one cannot pay for the two tables that its own split may take."""
        super().__post_init__()
        if self.cache_order < 1 or not self.refill_orders or min(self.refill_orders) < 1:
            raise ValueError(
                "cache_order and refill_orders are 1 or more: a page cannot pay for the tables that its split takes"
            )

    def fast_path(self) -> FastPath:
        """A list for each kind of user, which gives back its surplus."""
        batch = 0 if self.separate else 1 << self.cache_order
        return FastPath(pooled=True, merges=True, reserve=self.reserve, users=True, user_batch=batch)

    def boot(self, pool: PoolView) -> Decision:
        """Fill the reserve for the first time."""
        yield from self._fill(TABLES, Tables.BOOT)

    def refill(self, pool: PoolView, order: int) -> Decision:
        """More page tables."""
        return (yield from self.refill_user(pool, TABLES))

    def refill_user(self, pool: PoolView, user: int) -> Decision:
        """More memory for a cache, or for the big pool itself."""
        yield Lock("pool_mutex")
        filled = yield from self._fill(user, Tables.POOL)
        yield Unlock("pool_mutex")
        return filled

    def _fill(self, user: int, tables: Tables) -> Decision:
        if user == SHARED or self.separate:
            return (yield from self._more(user, tables))
        chunk = yield from self._unmapped(tables)
        if chunk is None:
            return None
        change = Change(chunk.pfn, chunk.pages, PERMISSIONS[user], NOT_PRESENT)
        done = yield Convert(change, tables, flush=False)
        yield Give(chunk, user if done else None)
        return done or None

    def _unmapped(self, tables: Tables) -> Decision:
        """A chunk of the big pool, smaller than `cache_order` where it could only be refilled with less."""
        orders = [self.cache_order, *(order for order in self.refill_orders if order < self.cache_order)]
        for order in orders:
            if (chunk := (yield Take(order))) is not None:
                return chunk
        if (yield from self._more(SHARED, tables)) is None:
            return None
        for order in orders:
            if (chunk := (yield Take(order))) is not None:
                return chunk
        return None

    def _more(self, user: int, tables: Tables) -> Decision:
        """Memory of the page allocator: not mapped for the big pool, with a user's permission for its own."""
        chunk = yield from first_free(self.refill_orders)
        if chunk is None:
            return None
        change = Change(chunk.pfn, chunk.pages, NOT_PRESENT if user == SHARED else PERMISSIONS[user])
        if not (yield from changed_or_freed(chunk, Convert(change, tables, flush=True))):
            return None
        yield Give(chunk, None if user == SHARED else user)
        return True

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Refill until the tables needed are there beyond the reserve, then split with them."""
        yield Lock("pool_mutex")
        ready: bool | None = True
        while ready and pool.cached < self.reserve + pool.tables_needed(change):
            ready = yield from self._fill(TABLES, Tables.POOL)
        done = ready and (yield Apply(change, Tables.POOL))
        yield Unlock("pool_mutex")
        return bool(done)

    def shrink(self, pool: PoolView) -> Decision:
        """Give back what costs no table: the largest chunks first."""
        freed = 0
        chunks = pool.idle_chunks()
        yield Walk(len(chunks))
        for chunk in reversed(chunks):
            back = Change(chunk.pfn, chunk.pages, 0, NOT_PRESENT)
            if freed < self.shrink_batch and pool.tables_needed(back) == 0 and (yield Withdraw(chunk)):
                yield Convert(back, Tables.POOL, flush=False)
                yield Free(chunk)
                freed += chunk.pages
        return freed


@strategy(
    "generic-separate",
    title="the same users, each with a pool of its own: what generic is to be compared with",
    source="a comparison, not a proposal",
    colour="#aa7755",
    line="dotted",
    marker="h",
    toy={"cache_order": 2, "shrink_batch": 2},
)
@dataclass(frozen=True)
class GenericSeparate(Generic):
    """Every kind of user refills a pool of its own from the page allocator, as each proposal does for itself.

    ours  Secret memory, page tables, shadow stacks and code have a 2M block each, or more, or four pages at a time,
          with their permission set on all of it at once. None of these blocks is split or shared.
    ours  Only secret memory goes back (by the shrinker of `generic`).
    """

    separate = True
