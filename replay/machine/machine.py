"""One run in motion: drives the compiled loop and the decisions that it stops for."""

from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any

from ptpool.vocabulary import SPLIT_CAUSES
from replay.contract.actions import Action
from replay.demand.program import OUTSIDE_CHANGE, RECLAIMED, Program
from replay.kernel.gfp import GFP_KERNEL
from replay.machine.decisions import memory_from_pool, new_table, outside_change, short_of_memory, trim
from replay.machine.loop import BALANCE, CONSTRUCT, DONE, FOREVER, OUTSIDE, PUT_OFF, RECLAIM, REFILL, TRIM, run
from replay.machine.perform import perform
from replay.machine.schedule import Running, Schedule
from replay.machine.state import State
from replay.machine.tally import BUSY, KSWAPD_RUNS, NEW_TABLE, advance
from replay.machine.vmscan import kswapd, kswapd_due, put_off_kswapd
from replay.machine.warm_up import warm_up

_CAUSE = {
    why: SPLIT_CAUSES.index(cause)
    for why, cause in ((REFILL, "refill"), (RECLAIM, "ptp"), (CONSTRUCT, "ptp"), (OUTSIDE, "outside"))
}
"""Why splits happen in the decisions that the loop stops for."""


class Machine:
    """A simulated machine at its first event, warmed up, and what happens to it from there on.

    Attributes:
        state: the machine at this moment.
        baseline: what was there after the warm-up.
        schedule: decisions under way.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.baseline = warm_up(state, self.perform)
        self.schedule = Schedule(state, self.perform, self._ended)
        self._put_off: dict[int, deque[int]] = {}  # events that wait for their task, by task
        self._waits_for: dict[int, int] = {}  # the task that an event on a recorded page waits for
        self._at = 0  # the event that the loop has come to
        self._balanced_at = 0  # the same, when kswapd last ran
        self.watch: Callable[[int], None] | None = None  # called with that event, at every stop

    def replay(self) -> None:
        """Replay the program to its end."""
        program, schedule = self.state.demand.program, self.schedule
        at, end, ts = 0, len(program.op), program.ts
        while at < end or schedule.horizon < FOREVER:
            why = DONE
            if at < end and ts[at] < schedule.horizon:
                at, why = self._run(at, end, 0, schedule.horizon)
            self._at = at
            if self.watch is not None:
                self.watch(at)
            if why == BALANCE or (why == DONE and self._kswapd_due() <= schedule.horizon < FOREVER):
                self._kswapd()
            elif why != DONE:
                self._decide(at, why, int(program.ts[at]))
                at += 1
            elif schedule.horizon < FOREVER:
                self._advance(schedule.horizon)
                schedule.resume()
            self._catch_up()
        self._advance(self.state.demand.last_ns + 1)

    def perform(self, action: Action) -> tuple[Any, int]:
        """Carry out an action of the decision that is running: see replay.machine.perform."""
        return perform(self.state, action)

    @property
    def whereabouts(self) -> str:
        """How far the replay has come, to say where it broke off."""
        demand = self.state.demand
        seconds = (self.state.now - demand.first_ns) / 1e9
        return f"at event {min(self._at + 1, len(demand.program.op)):,}, {seconds:.6f} s after the first"

    def _run(self, at: int, end: int, not_before: int, horizon: int) -> tuple[int, int]:
        """The compiled loop: the event it stopped at, and why."""
        state = self.state
        arrays = (state.allocator, state.direct_map, state.pool, state.tally, state.demand.program)
        at, why = run(*arrays, at, end, not_before, horizon)
        return int(at), int(why)

    def _kswapd_due(self) -> int:
        return kswapd_due(self.state) if self.state.tally.fast[KSWAPD_RUNS] else FOREVER

    def _kswapd(self) -> None:
        """Kswapd begins; if it has not finished since it was last woken, it looks again later."""
        state, now = self.state, max(self.state.now, kswapd_due(self.state))
        if any(running.operation == "kswapd" for running in self.schedule.in_flight):
            put_off_kswapd(state, now + state.allocator.features.kswapd_ns)
            return
        program, since = state.demand.program, slice(self._balanced_at, self._at)
        self._balanced_at = self._at
        state.reclaim.recorded = int((1 << program.order[since][program.op[since] == RECLAIMED].astype(int)).sum())
        put_off_kswapd(state)
        self._advance(now)
        state.now = now
        self.schedule.begin(Running([kswapd(state)], -1, 0, SPLIT_CAUSES.index("shrink"), "kswapd", now, range(0)))

    def _advance(self, ns: int) -> None:
        """Let time pass; what happens after the last event is not accounted for."""
        state = self.state
        advance(state.allocator, state.direct_map, state.pool, state.tally, min(ns, state.demand.last_ns + 1))

    def _decide(self, at: int, why: int, now: int) -> None:
        """An event that the loop stopped at: a decision begins, or the event is put off."""
        state, program, tally = self.state, self.state.demand.program, self.state.tally
        recorded, order, task = int(program.pfn[at]), int(program.order[at]), int(program.task[at])
        consumer, cpu, pages = int(program.consumer[at]), int(program.cpu[at]), _pages(program, at)
        state.now = now
        if why == PUT_OFF:
            owner = task if tally.busy[task] else next(self._waits_for[page] for page in pages if tally.pending[page])
            self._put_off.setdefault(owner, deque()).append(at)
            self._hold_back(pages, owner, 1)
            return
        if why == TRIM:  # by a worker: a free does not wait for it
            by = SPLIT_CAUSES.index("shrink")
            self.schedule.begin(Running([trim(state)], -1, cpu, by, "trim", now, range(0)))
            return
        operation, decision = "ptp_alloc" if tally.protected[consumer] else "alloc", short_of_memory(state, at)
        if why == REFILL:
            decision = memory_from_pool(state, recorded, order, consumer)
        elif why == CONSTRUCT:
            decision = new_table(state, recorded, int(tally.counts[NEW_TABLE]), order)
        elif why == OUTSIDE:
            operation, decision = "outside", outside_change(state, at)
        tally.busy[task] += 1
        tally.counts[BUSY] += 1
        self._hold_back(pages, task, 1)
        context = GFP_KERNEL if program.op[at] == OUTSIDE_CHANGE else int(program.context[at])
        self.schedule.begin(Running([decision], task, cpu, _CAUSE[why], operation, now, pages, context))

    def _hold_back(self, pages: range, task: int, count: int) -> None:
        """Count one more thing that these recorded pages wait for (1), done by a task; or one less (-1)."""
        for page in pages:
            self.state.tally.pending[page] += count
            self._waits_for[page] = task
            if not self.state.tally.pending[page]:
                del self._waits_for[page]

    def _decides_on(self, pages: range) -> int:
        """The task of a decision under way that is about one of these recorded pages; -1: there is none."""
        for running in self.schedule.in_flight:
            if running.pages.start < pages.stop and pages.start < running.pages.stop:
                return running.task
        return -1

    def _ended(self, running: Running) -> None:
        """A decision has ended: its task is free, unless it began another before."""
        if running.task < 0:
            return
        self.state.latencies.add(running.operation, self.state.now - running.began)
        self.state.tally.busy[running.task] -= 1
        self.state.tally.counts[BUSY] -= 1
        self._hold_back(running.pages, running.task, -1)

    def _catch_up(self) -> None:
        """Events that waited for tasks that are free now happen, at this time and in their order."""
        program, busy = self.state.demand.program, self.state.tally.busy
        while (task := next((task for task in self._put_off if not busy[task]), None)) is not None:
            at = self._put_off[task].popleft()
            if not self._put_off[task]:
                del self._put_off[task]
            pages = _pages(program, at)
            self._hold_back(pages, task, -1)
            if (owner := self._decides_on(pages)) >= 0:  # its task is free now, its pages are not
                insort(self._put_off.setdefault(owner, deque()), at)
                self._hold_back(pages, owner, 1)
                continue
            while (why := self._run(at, at + 1, self.state.now, FOREVER)[1]) == BALANCE:
                self._kswapd()
            if why != DONE:
                self._decide(at, why, self.state.now)


def _pages(program: Program, at: int) -> range:
    """The recorded pages that an event is about."""
    if program.op[at] == OUTSIDE_CHANGE:
        return range(0)
    return range(int(program.pfn[at]), int(program.pfn[at]) + (1 << int(program.order[at])))
