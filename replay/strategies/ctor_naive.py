"""kpkeys v1 to v5 on a direct map of large pages: the key is set in the constructor of every page table."""

from dataclasses import dataclass

from replay.contract.actions import Alloc, Apply, Change, Chunk, Decision, Lock, SetKey, Unlock, keying
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, PoolView, Strategy


@strategy(
    "ctor-naive",
    title="the key set in each page table's constructor, on a direct map of large pages: the recursion",
    source="Kevin Brodsky, kpkeys v1 (2024-12-06) to v5 (2025-08-15); the recursion: his pool proposal, 2025-09-18",
    colour="#a6761d",
    line="dashed",
    marker="x",
)
@dataclass(frozen=True)
class CtorNaive(Strategy):
    """What the early versions would do where the direct map is not in 4K pages. They do not claim to work there.

    code  Each page table comes from the page allocator; its constructor sets the key of its page, and the destructor
          resets it (v2 to v5: __pagetable_ctor() and pagetable_dtor() call kpkeys_protect_pgtable_memory() and its
          reverse).
    text  "calling set_memory_pkey() in pagetable_*_ctor() can cause the linear map to be split, which requires new
          PTP(s) to be allocated, which means more nested call(s) to set_memory_pkey(). This explodes as a non-recursive
          lock is taken on that path."
    ours  A table whose constructor never ends is left without the key, and the run goes on: the report shows how often.
    ours  Permission changes by others construct their tables in the same way.
    """

    leaves_unkeyed = True

    def fast_path(self) -> FastPath:
        """One key change for every allocation and every free."""
        return FastPath(pooled=False, key_each=True)

    def construct(self, pool: PoolView, chunk: Chunk) -> Decision:
        """set_memory_pkey() under the lock that its splits take, with tables that are constructed alike."""
        yield Lock("pgtable_split_lock")
        tables = yield from self._tables(pool, keying(chunk))
        keyed = tables is not None and (yield SetKey(chunk, tables))
        yield Unlock("pgtable_split_lock")
        return keyed

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """A split by others: its tables are constructed under the same lock."""
        yield Lock("pgtable_split_lock")
        tables = yield from self._tables(pool, change)
        done = tables is not None and (yield Apply(change, tables))
        yield Unlock("pgtable_split_lock")
        return done

    def _tables(self, pool: PoolView, change: Change) -> Decision:
        """As many new page tables as a change needs, with their keys; None where there is no memory."""
        tables: list[Chunk] = []
        for _ in range(pool.tables_needed(change)):
            table = yield Alloc(0)
            if table is None:
                return None
            yield from self.construct(pool, table)
            tables.append(table)
        return tuple(tables)
