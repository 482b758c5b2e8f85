"""One run: drives the compiled loop and the decisions that it stops for."""

from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any

from ptpool.vocabulary import SPLIT_CAUSES, UNMOVABLE
from replay.contract.actions import Action, Decision
from replay.contract.strategy import Strategy
from replay.demand.demand import Demand
from replay.kernel import direct_map as maps
from replay.kernel.gfp import GFP_KERNEL
from replay.kernel.page_alloc import alloc_pages, free_pages
from replay.machine import requests, stretch
from replay.machine.perform import perform
from replay.machine.reclaim import NONE
from replay.machine.schedule import FOREVER, Running, Schedule
from replay.machine.state import WARM_UP, State
from replay.profiles.costs import Costs
from replay.start.recorded_machine import InitialState


class Machine(State):
    """A simulated machine, in motion: what happens to it, and when."""

    def __init__(
        self,
        start: InitialState,
        demand: Demand,
        strategy: Strategy,
        reclaim: str = NONE,
        costs: Costs | None = None,
    ) -> None:
        super().__init__(start, demand, strategy, reclaim, costs)
        self.schedule = Schedule(self, timeless=True)
        self._put_off: dict[int, deque[int]] = {}  # events that wait for their task, by task
        self._waits_for: dict[int, int] = {}  # the task that an event on a recorded page waits for
        self._at = -1  # the event that the loop has come to

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
        self.start_counting()
        self.schedule = Schedule(self)

    def replay(self) -> None:
        """Replay the program to its end."""
        program, schedule = self.demand.program, self.schedule
        at, end = 0, len(program.op)
        while at < end or schedule.horizon < FOREVER:
            at, why = self._run(at, end, 0, schedule.horizon)
            self._at = at
            if why != stretch.DONE:
                self._decide(at, why, int(program.ts[at]))
                at += 1
            elif schedule.horizon < FOREVER:
                self._advance(schedule.horizon)
                schedule.resume()
            self._catch_up()
        self._advance(self.demand.last_ns + 1)

    @property
    def whereabouts(self) -> str:
        """How far it has come, for who has to say where it broke off."""
        if self._at < 0:
            return "before the first event"
        seconds = (self.now - self.demand.first_ns) / 1e9
        return f"at event {min(self._at + 1, len(self.demand.program.op)):,}, {seconds:.6f} s after the first"

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
        if why == stretch.TRIM:  # by a worker: a free does not wait for it
            by, cpu = SPLIT_CAUSES.index("shrink"), int(program.cpu[at])
            self.schedule.begin(self._running([requests.trim(self)], -1, cpu, "trim", by, range(0)))
            return
        new, consumer = int(tally.counts[stretch.NEW_TABLE]), int(program.consumer[at])
        begin: dict[int, tuple[str, str, Callable[[], Decision]]] = {
            stretch.REFILL: ("ptp_alloc", "refill", lambda: requests.memory_from_pool(self, recorded, order, consumer)),
            stretch.RECLAIM: ("alloc", "ptp", lambda: requests.short_of_memory(self, at)),
            stretch.CONSTRUCT: ("ptp_alloc", "ptp", lambda: requests.new_table(self, recorded, new, order)),
            stretch.OUTSIDE: ("outside", "outside", lambda: requests.outside_change(self, at)),
        }
        operation, cause, decision = begin[why]
        if why in (stretch.RECLAIM, stretch.REFILL):
            operation = "ptp_alloc" if tally.protected[consumer] else "alloc"
        tally.busy[task] += 1
        tally.counts[stretch.BUSY] += 1
        self._hold_back(pages, task, 1)
        cpu = int(program.cpu[at])
        self.schedule.begin(self._running([decision()], task, cpu, operation, SPLIT_CAUSES.index(cause), pages))

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

    def perform(self, action: Action) -> tuple[Any, int]:
        """Carry out an action of the decision that is running: see replay.machine.perform."""
        return perform(self, action)

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
            self._at_once(requests.memory_from_pool(self, pfn, 0))
        else:
            self._at_once(requests.table_on_pages(self, pfn, pfn, 0))

    def _supply(self, recorded: int) -> None:
        """Supply a table of which only the existence is known."""
        if self.tally.fast[stretch.POOLED]:
            self._at_once(requests.memory_from_pool(self, recorded, 0))
        else:
            self._at_once(requests.table_from_page_allocator(self, recorded))


def _pages(program: stretch.Program, at: int) -> range:
    """The recorded pages that an event is about."""
    if program.op[at] == stretch.OUTSIDE_CHANGE:
        return range(0)
    return range(int(program.pfn[at]), int(program.pfn[at]) + (1 << int(program.order[at])))
