"""One run: a machine, a strategy, a program. Drives the compiled loop and the decisions that it stops for."""

import copy
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ptpool.vocabulary import CONSUMERS, UNMOVABLE
from replay import pool as pools
from replay import requests, stretch
from replay.actions import Action, Change, Chunk, Decision
from replay.costs import costs_of
from replay.demand import Demand
from replay.initial_state import InitialState
from replay.kernel import direct_map as maps
from replay.kernel.gfp import GFP_KERNEL
from replay.kernel.mmzone import KSWAPD, POOL_IDLE, TABLE_KEYED, TABLE_PLAIN, USED
from replay.kernel.page_alloc import alloc_pages, free_pages, start_timers
from replay.latency import Latencies
from replay.perform import perform
from replay.reclaim import NONE, Reclaim, Variant, variant_of
from replay.registry import PoolView, Strategy
from replay.requests import CAUSES, FLAGS, WARM_UP
from replay.schedule import FOREVER, Running, Schedule

_INCIDENT_ROWS = 1000


class Machine:
    """A simulated machine on which a strategy supplies page tables."""

    def __init__(self, start: InitialState, demand: Demand, strategy: Strategy, reclaim: str = NONE) -> None:
        self.start, self.demand, self.strategy = start, demand, strategy
        geometry = start.geometry
        self.allocator = copy.deepcopy(start.allocator)
        level = start.level.copy()
        if strategy.boot_map_4k:
            level[:] = maps.PTE
        self.direct_map = maps.direct_map(start.mapped, level, geometry)
        self.pool = pools.empty_pool(self.allocator, merges=strategy.fast_path().merges)
        variant = variant_of(reclaim)
        self.tally = _tally(start, demand, strategy, variant)
        self.reclaim = Reclaim(variant, self.allocator, self.tally.page_of, self.tally.name_of, start.page_cache)
        self.view = _View(self)
        self.costs = costs_of(start.arch)
        self.flags = np.zeros((geometry.max_order + 1, len(FLAGS)), np.int64)
        self.refill_attempts = np.zeros((geometry.max_order + 1, 2), np.int64)
        self.failures = np.zeros(geometry.max_order + 1, np.int64)
        self.refills = self.stalls = self.shrunk = 0
        self.latencies = Latencies()
        self.incidents: list[tuple[int, str, int | None, str]] = []
        self.incident_counts: dict[str, int] = {}
        self.now = demand.first_ns
        self.schedule = Schedule(self, timeless=True)
        self.running: Running
        self._put_off: dict[int, deque[int]] = {}  # events that wait for their task, by task
        self._waits_for: dict[int, int] = {}  # the task that an event on a recorded page waits for

    @property
    def cpu(self) -> int:
        """The CPU of the decision that is running."""
        return self.running.cpu

    @property
    def cause(self) -> int:
        """Why a split that happens now happens."""
        return self.running.cause

    # ------------------------------------------------------------------------------------------------ the run

    def warm_up(self) -> None:
        """Boot the strategy and supply the page tables that were alive before the first event; then start counting."""
        self.running = self._running([], -1, 0, "boot", WARM_UP, range(0))
        if self.strategy.boot_map_4k:
            self._set_aside_tables()
        self.tally.counts[stretch.CLOCK] = self.demand.first_ns
        self._at_once(self.strategy.boot(self.view))
        for pfn in self.start.page_tables:
            self._adopt(int(pfn))
        for nth in range(self.start.page_tables_elsewhere):
            self._supply(len(self.tally.page_of) - 1 - nth)
        self._start_counting()

    def replay(self) -> None:
        """Replay the program to its end."""
        program, schedule = self.demand.program, self.schedule
        at, end = 0, len(program.op)
        while at < end or schedule.horizon < FOREVER:
            at, why = self._run(at, end, 0, schedule.horizon)
            if why != stretch.DONE:
                self._decide(at, why, int(program.ts[at]))
                at += 1
            elif schedule.horizon < FOREVER:
                self._advance(schedule.horizon)
                schedule.resume()
            self._catch_up()
        self._advance(self.demand.last_ns + 1)

    def _run(self, at: int, end: int, not_before: int, horizon: int) -> tuple[int, int]:
        """The compiled loop, and kswapd between its stretches: the event it stopped at, and why."""
        a, d, p, t = self.allocator, self.direct_map, self.pool, self.tally
        why = stretch.BALANCE
        while why == stretch.BALANCE:
            at, why = stretch.run(a, d, p, t, self.demand.program, at, end, not_before, horizon)
            if why == stretch.BALANCE:
                self.reclaim.balance()
        return int(at), int(why)

    def _advance(self, ns: int) -> None:
        """Let time pass; what happens after the last event is not accounted for."""
        stretch.advance(self.allocator, self.direct_map, self.pool, self.tally, min(ns, self.demand.last_ns + 1))

    def _decide(self, at: int, why: int, now: int) -> None:
        """An event that the loop stopped at: a decision begins, or the event is put off."""
        program, tally = self.demand.program, self.tally
        recorded, order, task = int(program.pfn[at]), int(program.order[at]), int(program.task[at])
        pages = _pages(program, at)
        self.now = now
        if why == stretch.PUT_OFF:
            owner = task if tally.busy[task] else next(self._waits_for[page] for page in pages if tally.pending[page])
            self._put_off.setdefault(owner, deque()).append(at)
            self._hold_back(pages, owner, 1)
            return
        new = int(tally.counts[stretch.NEW_TABLE])
        begin: dict[int, tuple[str, str, Callable[[], Decision]]] = {
            stretch.REFILL: ("ptp_alloc", "refill", lambda: requests.table_from_pool(self, recorded, order)),
            stretch.RECLAIM: ("alloc", "ptp", lambda: requests.short_of_memory(self, at)),
            stretch.CONSTRUCT: ("ptp_alloc", "ptp", lambda: requests.new_table(self, recorded, new, order)),
            stretch.OUTSIDE: ("outside", "outside", lambda: requests.outside_change(self, at)),
        }
        operation, cause, decision = begin[why]
        if why == stretch.RECLAIM and tally.protected[program.consumer[at]]:
            operation = "ptp_alloc"
        tally.busy[task] += 1
        tally.counts[stretch.BUSY] += 1
        self._hold_back(pages, task, 1)
        cpu = int(program.cpu[at])
        self.schedule.begin(self._running([decision()], task, cpu, operation, CAUSES.index(cause), pages))

    def _running(self, stack: list[Decision], task: int, cpu: int, operation: str, cause: int, pages: range) -> Running:
        return Running(stack, task, cpu, cause, operation, self.now, pages)

    def _hold_back(self, pages: range, task: int, count: int) -> None:
        """Events on these recorded pages wait for a task, or (-1) one thing less that they wait for."""
        for page in pages:
            self.tally.pending[page] += count
            self._waits_for[page] = task
            if not self.tally.pending[page]:
                del self._waits_for[page]

    def _decides_on(self, pages: range) -> int:
        """The task of a decision under way that is about one of these recorded pages; -1: there is none."""
        for running in self.schedule.in_flight:
            if running.pages.start < pages.stop and pages.start < running.pages.stop:
                return running.task
        return -1

    def ended(self, running: Running) -> None:
        """A decision has ended: its task is free, unless it began another before."""
        if running.task < 0:
            return
        self.latencies.add(running.operation, self.now - running.began)
        self.tally.busy[running.task] -= 1
        self.tally.counts[stretch.BUSY] -= 1
        self._hold_back(running.pages, running.task, -1)

    def _catch_up(self) -> None:
        """Events that waited for tasks that are free now happen, at this time and in their order."""
        program, tally = self.demand.program, self.tally
        while (task := next((task for task in self._put_off if not tally.busy[task]), None)) is not None:
            at = self._put_off[task].popleft()
            if not self._put_off[task]:
                del self._put_off[task]
            pages = _pages(program, at)
            self._hold_back(pages, task, -1)
            if (owner := self._decides_on(pages)) >= 0:  # its task is free now, its pages are not
                insort(self._put_off.setdefault(owner, deque()), at)
                self._hold_back(pages, owner, 1)
                continue
            _, why = self._run(at, at + 1, self.now, FOREVER)
            if why != stretch.DONE:
                self._decide(at, why, self.now)

    # --------------------------------------------------------------------------------------------- the warm-up

    def _at_once(self, decision: Decision) -> None:
        """A decision before the first event: nothing takes time."""
        self.schedule.begin(self._running([decision], -1, 0, "boot", WARM_UP, range(0)))

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
                self.incident("ptp_null", 0, "no memory for the tables of an all-4K direct map")
                return
            else:
                order -= 1

    def _adopt(self, pfn: int) -> None:
        """Supply a table that was alive before the recording the way this strategy would have supplied it."""
        if self.tally.fast[stretch.POOLED]:
            self.tally.page_of[pfn] = -1
            free_pages(self.allocator, self.cpu, pfn, 0)
            self._at_once(requests.table_from_pool(self, pfn, 0))
        else:
            self._at_once(requests.table_on_pages(self, pfn, pfn, 0))

    def _supply(self, recorded: int) -> None:
        """Supply a table of which only the existence is known."""
        if self.tally.fast[stretch.POOLED]:
            self._at_once(requests.table_from_pool(self, recorded, 0))
        else:
            self._at_once(requests.table_from_page_allocator(self, recorded))

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
        self.pool.counts[pools.LOCKED] = 0
        self.flags[:] = 0
        self.refill_attempts[:] = 0
        self.failures[:] = 0
        self.refills = self.stalls = self.shrunk = 0
        self.reclaim.done.clear()
        self.missing_start = self.incident_counts.get("ptp_null", 0)
        self.incidents.clear()
        self.incident_counts.clear()
        self.schedule = Schedule(self)
        self.live_start = live
        self.direct_map.counts[maps.REWRITES] = self.direct_map.counts[maps.HINTS] = 0
        self.pte_pages_start = int(self.direct_map.counts[maps.PAGES + maps.PTE])
        self.level_start = self.direct_map.level.copy()
        self.keyed_start = self.keyed()

    # -------------------------------------------------------------------------------------------- what happened

    def perform(self, action: Action) -> tuple[Any, int]:
        """Carry out an action of the decision that is running: see replay.perform."""
        return perform(self, action)

    def abandon(self, why: str) -> None:
        """The decision that is running never ends: what it has in hand goes back."""
        self.incident("deadlock", None, why)
        for chunk in self.running.in_hand:
            free_pages(self.allocator, self.cpu, chunk.pfn, chunk.order)
        self.running.in_hand.clear()

    def take_above_reserve(self, order: int) -> int:
        """A page table of the pool, if it keeps its reserve; -1 if not."""
        return int(stretch.take_above_reserve(self.allocator, self.pool, self.tally, self.cpu, order))

    def place_constructed(self, recorded: int, pfn: int, order: int, *, keyed: bool) -> None:
        """Put a page table on its pages after its constructor has ended, with the key or without."""
        if not keyed:
            self.incident("unkeyed_table", order, "the constructor of a page table did not set its key")
        kind = TABLE_KEYED if keyed else TABLE_PLAIN
        stretch.place_table(self.allocator, self.tally, recorded, pfn, order, kind)

    def unplaced(self) -> None:
        """A recorded allocation is left out."""
        self.tally.counts[stretch.EVENTS] += 1
        self.tally.counts[stretch.UNPLACED] += 1

    def incident(self, kind: str, order: int | None, detail: str) -> None:
        """Something went wrong."""
        self.incident_counts[kind] = self.incident_counts.get(kind, 0) + 1
        if self.incident_counts[kind] <= _INCIDENT_ROWS:
            self.incidents.append((self.now, kind, order, detail))

    def kswapd_wakes(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(orders,) allocations that found no zone above its low watermark."""
        wakes: np.ndarray[Any, np.dtype[np.int64]] = self.allocator.counts[KSWAPD:]
        return wakes

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


def _pages(program: stretch.Program, at: int) -> range:
    """The recorded pages that an event is about."""
    if program.op[at] == stretch.OUTSIDE_CHANGE:
        return range(0)
    return range(int(program.pfn[at]), int(program.pfn[at]) + (1 << int(program.order[at])))


def _tally(start: InitialState, demand: Demand, strategy: Strategy, reclaim: Variant) -> stretch.Tally:
    """Accounts at zero; every page in use stands for itself, or on another machine than the recorded for one of it."""
    pages = max(len(start.mapped), demand.pages + 1 + demand.moves) + start.page_tables_elsewhere
    page_of, kind = np.full(pages, -1, np.int32), start.allocator.kind
    if start.stands_for is None:
        used = np.flatnonzero(kind >= USED)
        page_of[used] = used
    else:
        page_of[: len(start.stands_for)] = start.stands_for
    name_of = np.full(len(kind), -1, np.int32)
    named = np.flatnonzero(page_of >= 0)
    name_of[page_of[named]] = named
    unmovable = np.flatnonzero(kind == USED + UNMOVABLE)
    fast = strategy.fast_path()
    tally = stretch.Tally(
        page_of=page_of,
        name_of=name_of,
        pending=np.zeros(pages, np.int32),
        busy=np.zeros(demand.tasks, np.int32),
        counts=np.zeros(stretch.COUNTS, np.int64),
        integral=np.zeros(6, np.float64),
        attempts=np.zeros(start.geometry.max_order + 1, np.int64),
        touched=np.zeros(len(start.allocator.block_type), np.bool_),
        edges=np.linspace(demand.first_ns, demand.last_ns, stretch.SAMPLES).astype(np.int64),
        samples=np.zeros((stretch.SAMPLES, len(stretch.SAMPLED)), np.float64),
        protected=np.array([consumer in strategy.protects() for consumer in CONSUMERS]),
        fast=np.array(
            [
                fast.pooled,
                fast.reserve,
                fast.key_each,
                strategy.pgd == "bypass",
                fast.key_each and not strategy.boot_map_4k,
                fast.cpu_batch,
                fast.flush_frees,
                fast.adopts,
                reclaim.name != NONE,
            ],
            np.int64,
        ),
    )
    tally.counts[stretch.LAST_UNMOVABLE] = unmovable[-1] if len(unmovable) else 0
    tally.counts[stretch.NEXT_NAME] = demand.pages + 1
    return tally


class _View(PoolView):
    """The pool as a decision sees it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def cached(self) -> int:
        return int(self._machine.pool.counts[pools.CACHED])

    def tables_needed(self, change: Change) -> int:
        return int(maps.tables_needed(self._machine.direct_map, *change))

    @property
    def tables_for_4k(self) -> int:
        d = self._machine.direct_map
        pieces = np.add.reduceat(d.mapped, np.arange(0, len(d.mapped), 1 << d.table_shift), dtype=np.int64) > 0
        leaves = np.add.reduceat(pieces, np.arange(0, len(pieces), 1 << d.table_shift), dtype=np.int64) > 0
        return int(pieces.sum() + leaves.sum())

    @property
    def largest_free(self) -> int:
        a = self._machine.allocator
        return min(int(np.flatnonzero(a.nr_free.sum(axis=0)).max(initial=0)), a.pageblock_order)

    def idle_chunks(self) -> list[Chunk]:
        order = self._machine.pool.order
        heads = np.flatnonzero(order >= 0)
        return [Chunk(int(pfn), int(order[pfn])) for pfn in heads[np.argsort(order[heads], kind="stable")]]

    def idle_blocks(self) -> list[tuple[int, int, bool]]:
        pool, shift = self._machine.pool, self._machine.pool.block_shift
        return [(int(b) << shift, int(pool.idle[b]), bool(pool.whole[b])) for b in np.flatnonzero(pool.idle)]

    def idle_pages(self, first: int) -> list[int]:
        size = 1 << self._machine.pool.block_shift
        kinds = self._machine.allocator.kind[first : first + size]
        return [first + int(offset) for offset in np.flatnonzero(kinds == POOL_IDLE)]
