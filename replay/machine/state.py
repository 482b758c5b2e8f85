"""What a run is at a moment: the simulated machine, the strategy's accounts on it, and what has happened so far."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import CONSUMERS, SLOW_PATH_STEPS, SPLIT_CAUSES
from replay.contract.actions import Change, Chunk
from replay.contract.permissions import users_of
from replay.contract.strategy import PoolView, Strategy
from replay.demand.demand import Demand
from replay.demand.shadow_stacks import with_shadow_stacks
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import KSWAPD
from replay.kernel.page_alloc import free_pages, start_timers
from replay.machine import pool as pools
from replay.machine.boot import BootMemory
from replay.machine.latency import Latencies
from replay.machine.loop import take_above_reserve
from replay.machine.reclaim import NONE, Reclaim, Variant, variant_of
from replay.machine.schedule import Running
from replay.machine.tally import (
    CLOCK,
    COUNTS,
    EVENTS,
    LAST_UNMOVABLE,
    NEXT_NAME,
    PTP_LIVE,
    PTP_PEAK,
    SAMPLED,
    SAMPLES,
    UNKEYED,
    UNPLACED,
    Tally,
    name_pages,
    place_table,
)
from replay.profiles.costs import Costs, built_in
from replay.start.recorded_machine import InitialState

WARM_UP = SPLIT_CAUSES.index("warm_up")

_INCIDENT_ROWS = 1000


class Observer:
    """Receives failures as they happen. This one ignores them; a study that needs only the first may raise."""

    def incident(self, kind: str, order: int | None) -> None:
        """Something went wrong: a kind of incident, and the order of the request, if it was one."""

    def unplaced(self, running: Running) -> None:
        """A recorded allocation is left out."""


class Baseline(NamedTuple):
    """The machine after the warm-up: what a run is measured from."""

    page_tables: int
    """Pages of page tables alive."""
    not_supplied: int
    """Pages of page tables alive before the first event that the strategy could not supply."""
    pte_pages: int
    """Pages of the direct map mapped at 4K."""
    leaf_runs: NDArray[np.int64]
    """Of the direct map: see `replay.kernel.leaves`."""


class State:
    """A simulated machine on which a strategy supplies page tables; `replay.machine.machine` sets it in motion.

    Args:
        start: the machine before the first event; it is copied.
        demand: what is replayed.
        strategy: supplies the page tables.
        reclaim: variant of reclaim.
        costs: what operations take; None: what the built-in profile says.
        observer: is called for each failure, at once.
    """

    def __init__(
        self,
        start: InitialState,
        demand: Demand,
        strategy: Strategy,
        reclaim: str = NONE,
        costs: Costs | None = None,
        observer: Observer | None = None,
    ) -> None:
        strategy = strategy.on(start.geometry)
        if strategy.shadow_stacks:
            demand = with_shadow_stacks(demand, 1 << start.geometry.page_shift)
        self.start, self.demand, self.strategy = start, demand, strategy
        geometry = start.geometry
        level = start.level.copy()
        if strategy.boot_map_4k:
            level[:] = maps.PTE
        self.direct_map = maps.direct_map(start.mapped, level, geometry)
        fast = strategy.fast_path()
        self.allocator, self.pool = pools.empty_pool(
            start.allocator, merges=fast.merges, users=fast.users, counts_free=fast.counts_free
        )
        variant = variant_of(reclaim)
        self.tally = _tally(start, demand, strategy, variant)
        names = (self.tally.page_of, self.tally.name_of)
        self.reclaim = Reclaim(variant, self.allocator, *names, start.page_cache, start.reclaimable)
        self.boot_memory = BootMemory(self.allocator, self.tally, self.reclaim)
        self.booting = not start.switched_on
        """Whether memory is asked for as at boot (replay.machine.boot)."""
        self.view = _View(self)
        self.costs = costs or built_in().of(start.arch)
        self.flags = np.zeros((geometry.max_order + 1, len(SLOW_PATH_STEPS)), np.int64)
        self.refill_attempts = np.zeros((geometry.max_order + 1, 2), np.int64)
        self.failures = np.zeros(geometry.max_order + 1, np.int64)
        self.refills = self.stalls = self.shrunk = self.deferred = self.kills_by_refill = 0
        self.walked = self.isolated_movable = self.list_held_ns = 0
        self.unkeyed_split_tables = self.changes_left_out = 0
        self.latencies = Latencies()
        self.incidents: list[tuple[int, str, int | None, str]] = []
        self.incident_counts: dict[str, int] = {}
        self._observer = observer or Observer()
        self.now = demand.first_ns
        self.running = Running([], -1, 0, WARM_UP, "boot", self.now, range(0))

    @property
    def cpu(self) -> int:
        """The CPU of the decision that is running."""
        return self.running.cpu

    @property
    def cause(self) -> int:
        """Why a split that happens now happens."""
        return self.running.cause

    def start_counting(self) -> Baseline:
        """The warm-up is over: accounts start at zero. Returns what was there by then."""
        live = int(self.tally.counts[PTP_LIVE])
        kept = [PTP_LIVE, UNKEYED, LAST_UNMOVABLE, NEXT_NAME]
        values = self.tally.counts[kept]
        self.tally.counts[:] = 0
        self.tally.counts[kept] = values
        self.tally.counts[PTP_PEAK] = live
        self.tally.counts[CLOCK] = self.demand.first_ns
        self.tally.integral[:] = 0
        self.tally.attempts[:] = 0
        self.allocator.counts[:] = 0
        start_timers(self.allocator, self.demand.first_ns)
        self.pool.counts[pools.HELD_PEAK] = self.pool.counts[pools.HELD]
        self.pool.counts[pools.LOW] = pools.tables_cached(self.pool)
        self.pool.counts[pools.LOCKED] = 0
        self.flags[:] = 0
        self.refill_attempts[:] = 0
        self.failures[:] = 0
        self.refills = self.stalls = self.shrunk = self.deferred = self.kills_by_refill = 0
        self.walked = self.isolated_movable = self.list_held_ns = 0
        self.unkeyed_split_tables = 0
        self.booting = False
        self.reclaim.done.clear()
        self.reclaim.failures[:] = 0
        not_supplied = self.incident_counts.get("ptp_null", 0)
        self.incidents.clear()
        self.incident_counts.clear()
        self.direct_map.counts[maps.REWRITES] = self.direct_map.counts[maps.HINTS] = 0
        pte_pages = int(self.direct_map.counts[maps.PAGES + maps.PTE])
        return Baseline(live, not_supplied, pte_pages, maps.leaf_runs(self.direct_map))

    def abandon(self, why: str) -> None:
        """The decision that is running never ends: what it has in hand goes back."""
        self.incident("deadlock", None, why)
        for chunk in self.running.in_hand:
            free_pages(self.allocator, self.cpu, chunk.pfn, chunk.order)
        self.running.in_hand.clear()

    def take_above_reserve(self, order: int, consumer: int) -> int:
        """Memory of the pool for a consumer, if it keeps its reserve; -1 if not."""
        return int(take_above_reserve(self.allocator, self.pool, self.tally, self.cpu, order, consumer))

    def place_constructed(self, recorded: int, pfn: int, order: int, *, keyed: bool) -> None:
        """Put a page table on its pages after its constructor has ended, with the key or without."""
        if not keyed:
            self.incident("unkeyed_table", order, "the constructor of a page table did not set its key")
        kind = pools.TABLE_KEYED if keyed else pools.TABLE_PLAIN
        place_table(self.allocator, self.tally, recorded, pfn, order, kind)

    def pages_of(self, recorded: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) the pages that stand for recorded ones; the recorded place of those that none stands for."""
        page_of = self.tally.page_of[np.minimum(recorded, len(self.tally.page_of) - 1)]
        known = (recorded < len(self.tally.page_of)) & (page_of >= 0)
        return np.where(known, page_of, recorded).astype(np.int64)

    def unplaced(self) -> None:
        """The recorded allocation that the running decision is about is left out."""
        self.tally.counts[EVENTS] += 1
        self.tally.counts[UNPLACED] += 1
        self._observer.unplaced(self.running)

    def incident(self, kind: str, order: int | None, detail: str) -> None:
        """Something went wrong."""
        self.incident_counts[kind] = self.incident_counts.get(kind, 0) + 1
        if self.incident_counts[kind] <= _INCIDENT_ROWS:
            self.incidents.append((self.now, kind, order, detail))
        self._observer.incident(kind, order)

    def kswapd_wakes(self) -> NDArray[np.int64]:
        """(orders,) allocations that found no zone above its low watermark."""
        wakes: NDArray[np.int64] = self.allocator.counts[KSWAPD:]
        return wakes

    def keyed(self) -> NDArray[np.bool_]:
        """(P,) pages whose leaf carries the key."""
        return maps.keyed(self.direct_map)


def _tally(start: InitialState, demand: Demand, strategy: Strategy, reclaim: Variant) -> Tally:
    """Accounts at zero; every page in use stands for itself, or on another machine than the recorded for one of it."""
    kind, names = start.allocator.kind, demand.pages + 1 + demand.moves
    if start.stands_for is None:
        names = max(len(kind), names)
    page_of, name_of = np.full(names + start.page_tables_elsewhere, -1, np.int32), np.zeros(len(kind), np.int32)
    last_unmovable = int(name_pages(kind, page_of, start.stands_for is None))
    if start.stands_for is not None:
        named = np.flatnonzero(start.stands_for >= 0)
        page_of[named] = start.stands_for[named]
        name_of[page_of[named]] = named ^ page_of[named]
    fast = strategy.fast_path()
    tally = Tally(
        page_of=page_of,
        name_of=name_of,
        pending=np.zeros(len(page_of), np.int32),
        busy=np.zeros(demand.tasks, np.int32),
        counts=np.zeros(COUNTS, np.int64),
        integral=np.zeros(6, np.float64),
        attempts=np.zeros(start.geometry.max_order + 1, np.int64),
        touched=np.zeros(len(start.allocator.block_type), np.bool_),
        edges=np.linspace(demand.first_ns, demand.last_ns, SAMPLES).astype(np.int64),
        samples=np.zeros((SAMPLES, len(SAMPLED)), np.float64),
        protected=np.array([consumer in strategy.protects() for consumer in (*CONSUMERS, "")]),
        user_of=np.array(users_of(strategy.protects(), lists=fast.users, secrets=fast.secrets), np.int8),
        fast=np.array(
            [
                fast.pooled,
                fast.reserve,
                fast.key_each,
                fast.key_each and not fast.pooled and not strategy.boot_map_4k,
                fast.cpu_batch,
                fast.flush_frees,
                fast.adopts,
                reclaim.name != NONE,
                fast.user_batch,
                fast.spare_blocks,
                reclaim.name != NONE or strategy.shrinks,
                fast.toggles,
            ],
            np.int64,
        ),
    )
    tally.counts[LAST_UNMOVABLE] = last_unmovable
    tally.counts[NEXT_NAME] = demand.pages + 1
    return tally


class _View(PoolView):
    """The pool as a decision sees it."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def block_order(self) -> int:
        return int(self._state.pool.block_shift)

    @property
    def cached(self) -> int:
        return int(pools.tables_cached(self._state.pool))

    def tables_needed(self, change: Change) -> int:
        return int(maps.tables_needed(self._state.direct_map, *change))

    @property
    def tables_for_4k(self) -> int:
        d = self._state.direct_map
        pieces = d.in_piece > 0
        leaves = np.add.reduceat(pieces, np.arange(0, len(pieces), 1 << d.table_shift), dtype=np.int64) > 0
        return int(pieces.sum() + leaves.sum())

    @property
    def idle(self) -> int:
        return int(self._state.pool.counts[pools.CACHED])

    @property
    def largest_free(self) -> int:
        a = self._state.allocator
        if self._state.booting:
            return int(a.pageblock_order)
        return min(int(np.flatnonzero(a.nr_free.sum(axis=0)).max(initial=0)), a.pageblock_order)

    def idle_chunks(self) -> list[Chunk]:
        allocator, pool = self._state.allocator, self._state.pool
        found = np.empty((int(pool.counts[pools.CACHED]), 2), np.int64)
        found = found[: pools.idle_chunks(allocator, pool, found)]
        return [Chunk(pfn, order) for pfn, order in found[np.lexsort(found.T)].tolist()]

    def idle_blocks(self) -> list[tuple[int, int, bool]]:
        pool, shift = self._state.pool, self._state.pool.block_shift
        return [(int(b) << shift, int(pool.idle[b]), bool(pool.whole[b])) for b in np.flatnonzero(pool.idle)]

    def idle_pages(self, first: int) -> list[int]:
        size = 1 << self._state.pool.block_shift
        kinds = self._state.allocator.kind[first : first + size]
        return [first + int(offset) for offset in np.flatnonzero(kinds == pools.POOL_IDLE)]
