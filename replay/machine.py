"""One run: a machine, a strategy, a program. Performs actions, makes decisions, and goes on."""

import copy
from typing import Any

import numpy as np

from ptpool.vocabulary import CONSUMERS, UNMOVABLE
from replay import pool as pools
from replay import stretch
from replay.actions import (
    Action,
    Alloc,
    Apply,
    Change,
    Chunk,
    Decision,
    Free,
    Give,
    Lock,
    ResetKey,
    SetKey,
    Tables,
    Take,
    Unlock,
    Withdraw,
)
from replay.demand import Demand
from replay.initial_state import InitialState
from replay.kernel import direct_map as maps
from replay.kernel.fallback import unreserve_highatomic
from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM, MEMALLOC
from replay.kernel.mmzone import KSWAPD, POOL_IDLE, POOL_USED, SPLIT_TABLE, TABLE_KEYED, TABLE_PLAIN, USED
from replay.kernel.page_alloc import alloc_pages, alloc_pages_after_reclaim, free_pages, start_timers
from replay.kernel.per_cpu import drain_all_pages
from replay.registry import PoolView, Strategy

CAUSES = ("ptp", "refill", "shrink", "outside", "warm_up")
"""Why the direct map was split; a cause's place in this tuple is its code in the log."""

FLAGS = ("kswapd", "compact_async", "reclaim", "compact_sync", "oom_kill", "null")
COSTLY_ORDER = 3
"""PAGE_ALLOC_COSTLY_ORDER: above it the kernel reclaims once and gives up instead of killing."""

_INCIDENT_ROWS = 1000
_REFILL_TRIES = 8
"""Refills for one request before it counts as refused: each refill yields at least a page more than it costs."""


class Machine:
    """Carries out a strategy's decisions on the simulated machine."""

    def __init__(self, start: InitialState, demand: Demand, strategy: Strategy) -> None:
        self.start, self.demand, self.strategy = start, demand, strategy
        geometry = start.geometry
        self.allocator = copy.deepcopy(start.allocator)
        level = start.level.copy()
        if strategy.boot_map_4k:
            level[:] = maps.PTE
        self.direct_map = maps.direct_map(start.mapped, level, geometry)
        self.pool = pools.empty_pool(self.allocator)
        pages = max(len(start.mapped), demand.pages + 1 + demand.moves)
        page_of = np.full(pages + start.page_tables_elsewhere, -1, np.int32)
        used = np.flatnonzero(self.allocator.kind >= USED)
        page_of[used] = used
        unmovable = np.flatnonzero(self.allocator.kind == USED + UNMOVABLE)
        fast = strategy.fast_path()
        protected = np.array([consumer in strategy.protects() for consumer in CONSUMERS])
        self.tally = stretch.Tally(
            page_of=page_of,
            counts=np.zeros(stretch.COUNTS, np.int64),
            integral=np.zeros(4, np.float64),
            attempts=np.zeros(geometry.max_order + 1, np.int64),
            touched=np.zeros(len(self.allocator.block_type), np.bool_),
            edges=np.linspace(demand.first_ns, demand.last_ns, stretch.SAMPLES).astype(np.int64),
            samples=np.zeros((stretch.SAMPLES, len(stretch.SAMPLED)), np.float64),
            protected=protected,
            fast=np.array(
                [
                    fast.pooled,
                    fast.reserve,
                    fast.key_each,
                    strategy.pgd == "bypass",
                    fast.key_each and not strategy.boot_map_4k,
                ],
                np.int64,
            ),
        )
        self.tally.counts[stretch.LAST_UNMOVABLE] = unmovable[-1] if len(unmovable) else 0
        self.tally.counts[stretch.NEXT_NAME] = demand.pages + 1
        self.view = _View(self)
        self.flags = np.zeros((geometry.max_order + 1, len(FLAGS)), np.int64)
        self.refill_attempts = np.zeros((geometry.max_order + 1, 2), np.int64)
        self.failures = np.zeros(geometry.max_order + 1, np.int64)
        self.refills = 0
        self._new: set[Chunk] = set()
        self.stalls = 0
        self.shrunk = 0
        self.incidents: list[tuple[int, str, int | None, str]] = []
        self.incident_counts: dict[str, int] = {}
        self.now, self.cpu = demand.first_ns, 0
        self.cause = CAUSES.index("warm_up")
        self._held: set[str] = set()
        self._reclaiming = False

    # ------------------------------------------------------------------------------------------------ the run

    def warm_up(self) -> None:
        """Boot the strategy and supply the page tables that were alive before the first event; then start counting."""
        if self.strategy.boot_map_4k:
            self._set_aside_tables()
        self.tally.counts[stretch.CLOCK] = self.demand.first_ns
        self._drive(self.strategy.boot(self.view))
        for pfn in self.start.page_tables:
            self._adopt(int(pfn))
        for nth in range(self.start.page_tables_elsewhere):
            self._supply(len(self.tally.page_of) - 1 - nth)
        self._start_counting()

    def replay(self) -> None:
        """Replay the program to its end."""
        program = self.demand.program
        at = 0
        while True:
            at, why = stretch.run(self.allocator, self.direct_map, self.pool, self.tally, program, at)
            if why == stretch.DONE:
                break
            self.now, self.cpu = int(program.ts[at]), int(program.cpu[at])
            if why == stretch.REFILL:
                self._supply_table(int(program.pfn[at]), int(program.order[at]))
            elif why == stretch.RECLAIM:
                self._serve_short_of_memory(at)
            elif why == stretch.CONSTRUCT:
                self._construct(int(program.pfn[at]), int(self.tally.counts[stretch.NEW_TABLE]), int(program.order[at]))
                stretch.count_allocation(self.direct_map, self.tally, int(self.tally.counts[stretch.NEW_TABLE]))
            else:
                self._outside_change(at)
            at += 1
        stretch.advance(self.allocator, self.direct_map, self.pool, self.tally, self.demand.last_ns + 1)

    def _set_aside_tables(self) -> None:
        """Take the memory of the extra tables of an all-4K direct map from what is free, a block at a time."""
        wanted = int(self.direct_map.counts[maps.TABLES])
        wanted -= int(maps.direct_map(self.start.mapped, self.start.level, self.start.geometry).counts[maps.TABLES])
        order = self.start.geometry.pageblock_order
        while wanted > 0:
            order = min(order, wanted.bit_length() - 1)
            pfn = alloc_pages(self.allocator, self.cpu, order, UNMOVABLE, GFP_KERNEL)
            if pfn >= 0:
                wanted -= 1 << order
            elif order == 0:
                self._incident("ptp_null", 0, "no memory for the tables of an all-4K direct map")
                return
            else:
                order -= 1

    def _adopt(self, pfn: int) -> None:
        """Supply a table that was alive before the recording the way this strategy would have supplied it."""
        if self.tally.fast[stretch.POOLED]:
            self.tally.page_of[pfn] = -1
            free_pages(self.allocator, self.cpu, pfn, 0)
            self._supply_table(pfn, 0)
        else:
            self._place_table(pfn, pfn, 0)

    def _supply(self, recorded: int) -> None:
        """Supply a table of which only the existence is known."""
        if self.tally.fast[stretch.POOLED]:
            self._supply_table(recorded, 0)
        elif (pfn := self._kernel_pages(0)) >= 0:
            self._place_table(recorded, pfn, 0)
        else:
            self._incident("ptp_null", 0, "the page allocator has no page for a page table")

    def _place_table(self, recorded: int, pfn: int, order: int) -> None:
        if stretch.needs_construction(self.direct_map, self.tally, pfn, order):
            self._construct(recorded, pfn, order)
            return
        stretch.place_table_on_pages(
            self.allocator, self.direct_map, self.tally, recorded, pfn, order, self.now, self.cause
        )

    def _construct(self, recorded: int, pfn: int, order: int) -> None:
        """Let the strategy set the key of a page table whose page lies under a large leaf."""
        keyed = self._with_cause("ptp", self.strategy.construct(self.view, Chunk(pfn, order)))
        if not keyed:
            self._incident("unkeyed_table", order, "the constructor of a page table did not set its key")
        kind = TABLE_KEYED if keyed else TABLE_PLAIN
        stretch.place_table(self.allocator, self.tally, recorded, pfn, order, kind)

    def _start_counting(self) -> None:
        live = int(self.tally.counts[stretch.PTP_LIVE])
        kept = [stretch.PTP_LIVE, stretch.UNKEYED, stretch.LAST_UNMOVABLE, stretch.NEXT_NAME]
        values = self.tally.counts[kept]
        self.tally.counts[:] = 0
        self.tally.counts[kept] = values
        self.tally.counts[stretch.PTP_PEAK] = live
        self.tally.counts[stretch.CLOCK] = self.demand.first_ns
        self.tally.integral[:] = 0
        self.tally.attempts[:] = 0
        self.allocator.counts[:] = 0
        start_timers(self.allocator, self.demand.first_ns)
        self.pool.counts[pools.HELD_PEAK] = self.pool.counts[pools.HELD]
        self.pool.counts[pools.LOW] = self.pool.counts[pools.CACHED]
        self.flags[:] = 0
        self.refill_attempts[:] = 0
        self.failures[:] = 0
        self.refills = self.stalls = self.shrunk = 0
        self.missing_start = self.incident_counts.get("ptp_null", 0)
        self.incidents.clear()
        self.incident_counts.clear()
        self.cause = CAUSES.index("ptp")
        self.live_start = live
        self.direct_map.counts[maps.REWRITES] = self.direct_map.counts[maps.HINTS] = 0
        self.pte_pages_start = int(self.direct_map.counts[maps.PAGES + maps.PTE])
        self.level_start = self.direct_map.level.copy()
        self.keyed_start = self.keyed()

    def keyed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(P,) pages whose leaf carries the key."""
        shift = self.direct_map.table_shift
        d, pages = self.direct_map, len(self.direct_map.mapped)
        by_pmd = np.repeat(d.attr_pmd, 1 << shift)[:pages]
        by_pud = np.repeat(d.attr_pud, 1 << 2 * shift)[:pages]
        level = np.repeat(d.level, 1 << shift)[:pages]
        attribute = np.where(level == maps.PUD, by_pud, np.where(level == maps.PMD, by_pmd, d.attr_pte))
        keyed: np.ndarray[Any, np.dtype[np.bool_]] = (attribute & maps.KEYED) != 0
        return keyed

    # ----------------------------------------------------------------------------------------- decisions due

    def _supply_table(self, recorded: int, order: int) -> None:
        """Serve a page table from the pool: refill until it can, or until the strategy refuses."""
        pfn = int(stretch.take_above_reserve(self.allocator, self.pool, self.tally, order))
        for _ in range(_REFILL_TRIES):
            if pfn >= 0:
                break
            served = self._with_cause("refill", self.strategy.refill(self.view, order))
            if served is None:
                break
            if isinstance(served, Chunk):
                pfn = served.pfn
            else:
                pfn = int(stretch.take_above_reserve(self.allocator, self.pool, self.tally, order))
        if pfn < 0:
            self._incident("ptp_null", order, "the pool is empty and cannot be refilled")
            self._unplaced()
            return
        stretch.place_table(self.allocator, self.tally, recorded, pfn, order, POOL_USED)
        stretch.count_allocation(self.direct_map, self.tally, pfn)

    def _serve_short_of_memory(self, at: int) -> None:
        """The slow path of an allocation of the recorded workload, or of a page table taken from the page allocator."""
        program, tally = self.demand.program, self.tally
        recorded, order = int(program.pfn[at]), int(program.order[at])
        is_table = bool(tally.protected[program.consumer[at]])
        migratetype = UNMOVABLE if is_table else int(program.migratetype[at])
        context = GFP_KERNEL if is_table else int(program.context[at])
        pfn = self._slow_path(order, migratetype, context)
        if pfn < 0:
            if is_table:
                self._incident("ptp_null", order, "the page allocator has no page for a page table")
            self._unplaced()
            return
        if is_table:
            self._place_table(recorded, pfn, order)
        else:
            stretch.place(self.allocator, tally, recorded, pfn, order)
        stretch.count_allocation(self.direct_map, tally, pfn)
        if program.consumer[at] == stretch.SECRET:
            self._outside_change(at)

    def _slow_path(self, order: int, migratetype: int, context: int) -> int:
        """__alloc_pages_slowpath() with reclaim and compaction that free nothing but what shrinkers give back.

        Returns:
            First page frame number, or -1: NULL (order > 3, not allowed to reclaim, or in reclaim), or an OOM kill.
        """
        flags = self.flags[order]
        pfn = -1
        if context & MAY_RECLAIM and not self._reclaiming:
            self.stalls += 1
            flags[FLAGS.index("compact_async")] += order > 0
            flags[FLAGS.index("reclaim")] += 1
            again = True
            while pfn < 0 and again:
                again = self._shrink() > 0 and order <= COSTLY_ORDER  # a costly request reclaims once
                pfn = self._after_reclaim(order, migratetype, context)
            flags[FLAGS.index("compact_sync")] += pfn < 0 and order > 0
            if pfn < 0 and order <= COSTLY_ORDER and unreserve_highatomic(self.allocator, migratetype, True):
                pfn = self._after_reclaim(order, migratetype, context)  # should_reclaim_retry()
            if pfn < 0 and order <= COSTLY_ORDER:
                flags[FLAGS.index("oom_kill")] += 1
                self._incident("oom_kill", order, "nothing left to reclaim")
        if pfn < 0:
            flags[FLAGS.index("null")] += 1
            self.failures[order] += 1
        return pfn

    def _after_reclaim(self, order: int, migratetype: int, context: int) -> int:
        """__alloc_pages_direct_reclaim(): try, and again with what per-CPU lists and reserves hold back."""
        request = (self.allocator, self.cpu, order, migratetype, context)
        pfn = int(alloc_pages_after_reclaim(*request))
        if pfn < 0:
            unreserve_highatomic(self.allocator, migratetype, False)
            drain_all_pages(self.allocator)
            pfn = int(alloc_pages_after_reclaim(*request))
        return pfn

    def _shrink(self) -> int:
        """Enter the strategy's shrinker, as direct reclaim does; it is not entered from within itself."""
        self._reclaiming = True
        freed = self._with_cause("shrink", self.strategy.shrink(self.view))
        self._reclaiming = False
        self.shrunk += freed
        return int(freed)

    def _outside_change(self, at: int) -> None:
        """A permission change by others: secret memory, or one whose place the trace does not tell."""
        program, tally = self.demand.program, self.tally
        if program.op[at] == stretch.OUTSIDE_CHANGE:
            change = Change(int(tally.counts[stretch.LAST_UNMOVABLE]), 1, maps.READ_ONLY)
        else:
            change = Change(int(tally.page_of[program.pfn[at]]), 1 << int(program.order[at]), maps.NOT_PRESENT)
        starved = self.incident_counts.get("split_starvation", 0)
        done = self._with_cause("outside", self.strategy.outside(self.view, change))
        if not done and self.incident_counts.get("split_starvation", 0) == starved:
            self._incident("split_starvation", None, "-ENOMEM for a permission change by others")

    def _unplaced(self) -> None:
        self.tally.counts[stretch.EVENTS] += 1
        self.tally.counts[stretch.UNPLACED] += 1

    # ------------------------------------------------------------------------------------------------ actions

    def _with_cause(self, cause: str, decision: Decision) -> Any:
        before = self.cause
        if before != CAUSES.index("warm_up"):
            self.cause = CAUSES.index(cause)
        result = self._drive(decision)
        self.cause = before
        return result

    def _drive(self, decision: Decision) -> Any:
        """Run a decision to its end, performing each action it yields; returns what the decision returns.

        A decision that waits for a lock it holds never ends: what it has in hand goes back, and the result is None.
        """
        result: Any = None
        held, new = self._held.copy(), self._new.copy()
        try:
            while True:
                result = self._perform(decision.send(result))
        except StopIteration as stop:
            return stop.value
        except DeadlockError as deadlock:
            self._incident("deadlock", None, str(deadlock))
            for chunk in self._new - new:
                free_pages(self.allocator, self.cpu, chunk.pfn, chunk.order)
            self._held, self._new = held, new
            return None

    def _perform(self, action: Action) -> Any:
        match action:
            case Alloc(order):
                return self._alloc(order)
            case Free(chunk):
                self._new.discard(chunk)
                free_pages(self.allocator, self.cpu, chunk.pfn, chunk.order)
            case SetKey(chunk, tables):
                return self._change(Change(chunk.pfn, chunk.pages, maps.KEYED), tables, own=True)
            case ResetKey(chunk, tables):
                return self._change(Change(chunk.pfn, chunk.pages, 0, maps.KEYED), tables, own=True)
            case Apply(change, tables):
                return self._change(change, tables, own=False)
            case Give(chunk):
                self.refills += chunk in self._new  # not when a shrinker puts back what it could not free
                self._new.discard(chunk)
                pools.give(self.allocator, self.pool, chunk.pfn, chunk.pages)
                if chunk.order >= self.allocator.pageblock_order:
                    self.pool.whole[chunk.pfn >> self.allocator.pageblock_order] = True
            case Take(order):
                pfn = pools.take(self.allocator, self.pool, order)
                return Chunk(int(pfn), order) if pfn >= 0 else None
            case Withdraw(chunk):
                for page in range(chunk.pfn, chunk.pfn + chunk.pages):
                    pools.remove(self.allocator, self.pool, page)
                self.pool.whole[chunk.pfn >> self.allocator.pageblock_order] = False
                return True
            case Lock(name):
                if name in self._held:
                    raise DeadlockError(f"{name} is taken by who holds it")
                self._held.add(name)
            case Unlock(name):
                self._held.discard(name)
        return None

    def _alloc(self, order: int) -> Chunk | None:
        if order > self.start.geometry.max_order:
            raise ValueError(f"order {order} is above this machine's MAX_PAGE_ORDER, {self.start.geometry.max_order}")
        self.refill_attempts[order, 0] += 1
        pfn = self._kernel_pages(order)
        if pfn < 0:
            self.refill_attempts[order, 1] += 1
            return None
        self._new.add(chunk := Chunk(pfn, order))
        return chunk

    def _kernel_pages(self, order: int) -> int:
        """alloc_pages(GFP_KERNEL, order), slow path included; first page frame number, or -1."""
        self.tally.attempts[order] += 1
        context = GFP_KERNEL | MEMALLOC if self._reclaiming else GFP_KERNEL  # PF_MEMALLOC: below all watermarks
        pfn = int(alloc_pages(self.allocator, self.cpu, order, UNMOVABLE, context))
        return pfn if pfn >= 0 else self._slow_path(order, UNMOVABLE, context)

    def _change(self, change: Change, tables: Tables | tuple[Chunk, ...], *, own: bool) -> bool:
        """Plan a permission change, get the tables it needs, apply it."""
        d, tally = self.direct_map, self.tally
        needed = self.view.tables_needed(change)
        if tables is Tables.POOL:
            if needed > self.view.cached:
                self._incident("split_starvation", None, f"{needed} tables needed, {self.view.cached} cached")
                return False
            for _ in range(needed):
                pools.take_split_table(self.allocator, self.pool)
        elif tables is Tables.BUDDY:
            if not self._split_tables(change):
                return False
        elif tables is Tables.OWN:
            if needed:
                self._incident("unkeyed_table", None, f"{needed} tables could be written to before they were linked")
            for pfn in range(change.pfn, change.pfn + needed):
                self.allocator.kind[pfn] = SPLIT_TABLE
        elif isinstance(tables, tuple):
            for chunk in tables:
                self._new.discard(chunk)
                self.allocator.kind[chunk.pfn] = SPLIT_TABLE
        if own:
            stretch.change_key(d, tally, *change, self.now, self.cause)
        else:
            before = int(d.counts[maps.SPLITS])
            changed = maps.apply(d, *change, self.now, self.cause)
            tally.counts[stretch.FLUSHES] += maps.flushes(d, int(d.counts[maps.SPLITS]) - before, changed)
        return True

    def _split_tables(self, change: Change) -> bool:
        """Take the tables of a change from the page allocator, all of them or none.

        No lock is held meanwhile (split_large_page(), 6.18), and a shrinker that is entered may split the same leaves:
        so the plan is made again after each page, and pages too many go back.
        """
        taken: list[int] = []
        while len(taken) < (needed := self.view.tables_needed(change)):
            if (pfn := self._kernel_pages(0)) < 0:
                self._incident("split_starvation", 0, "the page allocator has no page for a split")
                break
            taken.append(pfn)
        kept = needed if len(taken) >= needed else 0
        for pfn in taken[:kept]:
            self.allocator.kind[pfn] = SPLIT_TABLE
        for pfn in taken[kept:]:
            free_pages(self.allocator, self.cpu, pfn, 0)
        return len(taken) >= needed

    def _incident(self, kind: str, order: int | None, detail: str) -> None:
        self.incident_counts[kind] = self.incident_counts.get(kind, 0) + 1
        if self.incident_counts[kind] <= _INCIDENT_ROWS:
            self.incidents.append((self.now, kind, order, detail))

    def kswapd_wakes(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(orders,) allocations that found no zone above its low watermark."""
        wakes: np.ndarray[Any, np.dtype[np.int64]] = self.allocator.counts[KSWAPD:]
        return wakes


class DeadlockError(Exception):
    """A decision waits for a lock that it holds."""


class _View(PoolView):
    """The pool as a decision sees it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def cached(self) -> int:
        return int(self._machine.pool.counts[pools.CACHED])

    def tables_needed(self, change: Change) -> int:
        return int(maps.tables_needed(self._machine.direct_map, *change))

    def idle_blocks(self) -> list[tuple[int, int, bool]]:
        pool, shift = self._machine.pool, self._machine.pool.block_shift
        return [(int(b) << shift, int(pool.idle[b]), bool(pool.whole[b])) for b in np.flatnonzero(pool.idle)]

    def idle_pages(self, first: int) -> list[int]:
        size = 1 << self._machine.pool.block_shift
        kinds = self._machine.allocator.kind[first : first + size]
        return [first + int(offset) for offset in np.flatnonzero(kinds == POOL_IDLE)]
