"""Lock waiting on many CPUs: against the replay's own schedule, against a replay, and against queueing theory."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import PGTABLE, demand_of, machine_of

from replay.contention import grid, steps
from replay.contention.simulate import lists_at_start, simulate
from replay.contention.steps import BEGIN, END, LIST, LOCK, THINK, UNLOCK, WAIT, Steps, steps_of
from replay.contract.actions import Alloc, Chunk, Give, GiveRest, Lock, SetKey, Take, Unlock, Wait
from replay.contract.registry import configure, find
from replay.contract.strategy import PoolView
from replay.kernel import direct_map as maps
from replay.kernel.geometry import X86_64
from replay.machine.machine import Machine
from replay.machine.schedule import Running, Schedule
from replay.machine.state import State
from replay.profiles.costs import built_in
from replay.strategies.pba import Pba

COSTS = built_in().of("x86_64")
FREE = replace(COSTS, hit_ns=0, page_ns=0, handoff_ns=0)


class Cpus(PoolView):
    """The same closed loop, played by the strategy's decisions themselves and the schedule of the replay."""

    def __init__(self, strategy, largest, change_ns, think):
        fast = strategy.fast_path()
        self.strategy, self.largest, self.change_ns, self.think = strategy, largest, change_ns, think
        self.batch, self.reserve = fast.cpu_batch, fast.reserve
        self.own = lists_at_start(steps_of(strategy, largest, change_ns, COSTS), len(think)).tolist()
        self.pages, self.last, self.now, self.running = fast.reserve, None, 0, None
        self.done = self.spent = self.refills = 0
        self.schedule = Schedule(self, self.perform, self.ended)
        for cpu in range(len(think)):
            self.schedule.begin(Running([self.task(cpu)], cpu, cpu, cpu, "", 0, range(0)))

    cached = property(lambda self: self.pages)

    def tables_needed(self, change):
        return 0 if change.pages == 512 else 1

    def listed(self, cpu, ns, pages, least, then_one=False):
        """Take up to so many pages off the shared list, or put some on it, under its lock, and take one of these."""
        yield Lock("the list")
        if self.last != cpu:
            self.last = cpu
            yield Wait(COSTS.handoff_ns)
        if pages < 0:
            yield Wait(ns)
            self.pages -= pages
            self.refills += 1
            moved = int(then_one)
            if then_one:
                yield Wait(COSTS.hit_ns)
                self.pages -= 1
        else:
            moved = max(min(pages, self.pages - least), 0)
            self.pages -= moved
            yield Wait(ns + (moved * COSTS.page_ns if self.batch and least else 0))
        yield Unlock("the list")
        return moved

    def task(self, cpu):
        asked = 0
        while True:
            yield Wait(int(self.think[cpu, asked % self.think.shape[1]]))
            asked, began, served = asked + 1, self.now, False
            while not served:
                if self.batch and self.own[cpu]:
                    self.own[cpu] -= 1
                    yield Wait(COSTS.hit_ns)
                    break
                moved = yield from self.listed(cpu, COSTS.hit_ns, self.batch or 1, self.reserve)
                self.own[cpu] += max(moved - 1, 0)
                served = moved > 0 or isinstance((yield from self.strategy.refill(self, 0)), Chunk)
            self.spent += self.now - began
            self.done += 1

    def perform(self, action):
        match action:
            case Wait(ns):
                return None, ns
            case Alloc(order):
                return (Chunk(0, order) if order <= self.largest else None), COSTS.alloc_ns
            case SetKey(chunk, _, unlock):
                return self.keyed(chunk, unlock), 0
            case GiveRest(chunk):
                return self.given_rest(self.running.cpu, chunk), 0
            case Give(chunk):
                net = chunk.pages - (chunk.order < 9)
                return self.listed(self.running.cpu, chunk.pages * COSTS.page_ns, -net, 0), 0
            case Take():
                return self.taken(self.running.cpu), 0
        raise AssertionError(action)

    def keyed(self, chunk, unlock):
        split = min((chunk.order < 9) * COSTS.split_ns, self.change_ns) if unlock else 0
        if unlock:
            yield Wait(split)
            yield Unlock(unlock)
        yield Wait(self.change_ns - split)
        return True

    def given_rest(self, cpu, chunk):
        yield from self.listed(cpu, chunk.pages * COSTS.page_ns, -(chunk.pages - (chunk.order < 9)), 0, then_one=True)
        return Chunk(0, 0)

    def taken(self, cpu):
        moved = yield from self.listed(cpu, COSTS.hit_ns, 1, 0)
        return Chunk(0, 0) if moved else None

    def ended(self, running):
        raise AssertionError("a task ended")

    def until(self, tables):
        while self.done < tables:
            self.schedule.resume()
        return self


@settings(max_examples=40, deadline=None)
@given(
    variant=st.sampled_from(grid.VARIANTS),
    cpus=st.integers(1, 6),
    largest=st.sampled_from(grid.FREE_ORDERS),
    change_ns=st.integers(1, 20_000),
    busy=st.integers(1, 3_000),
    seed=st.integers(0, 99),
)
def test_the_compiled_loop_is_the_schedule_of_the_replay(variant, cpus, largest, change_ns, busy, seed):
    name, chosen = variant
    (entry,) = find([name])
    strategy = configure(entry, chosen).on(X86_64)
    think = np.random.default_rng(seed).integers(1, busy + 1, (cpus, 7))
    tables, skipped = 60, 13
    slow = Cpus(strategy, largest, change_ns, think).until(skipped)
    waited, spent, refills = slow.schedule.lock_wait_ns, slow.spent, slow.refills
    slow.until(tables)
    fast = simulate(steps_of(strategy, largest, change_ns, COSTS), think, tables, COSTS, skipped)
    counted = tables - skipped
    assert fast.tables == counted
    assert fast.lock_wait_ns == (slow.schedule.lock_wait_ns - waited) / counted
    assert fast.alloc_ns == (slow.spent - spent) / counted
    assert fast.refills == slow.refills - refills


def test_as_much_waiting_as_in_a_replay(monkeypatch):
    """Eight tasks that want a table each, close together, from a pool that has none to spare: `replay run` waits as long."""
    monkeypatch.setattr(steps, "_TABLES", {2: 0})  # a map of single pages: nothing to split
    strategy, tasks = Pba(refill_orders=(2,)), 8
    demand = demand_of([("alloc", 8 + i, 0, PGTABLE) for i in range(tasks)], tasks=range(tasks))
    demand.program.ts[:] = [0, 100, 200, 350, 2500, 2600, 9000, 9100]
    machine = Machine(State(machine_of(level=maps.PTE), demand, strategy, costs=FREE))
    machine.replay()
    assert machine.schedule.lock_wait_ns > 0

    think = np.full((tasks, 2), 1 << 40)
    think[:, 0] = demand.program.ts + 1
    change_ns = FREE.conversion_ns(1, 0, 1, 0, machine.state.start.cpus)
    found = simulate(steps_of(strategy, 2, change_ns, FREE), think, tasks, FREE)
    assert found.lock_wait_ns * tasks == machine.schedule.lock_wait_ns
    assert found.refills == machine.state.refills


def one_lock(hold_ns):
    """A page table is a lock held for a while, and nothing else."""
    way = [(THINK, 0), (BEGIN, 0), (LOCK, LIST), (WAIT, hold_ns), (UNLOCK, LIST), (END, 0)]
    code, arg = (np.array(column, np.int64) for column in zip(*way, strict=True))
    return Steps(code, arg, batch=0, reserve=0, locks=1)


def test_who_does_not_think_waits_for_all_others():
    """Machine repairman without think time: every CPU waits until each of the others has held the lock."""
    for cpus in (1, 2, 16):
        found = simulate(one_lock(100), np.ones((cpus, 1), np.int64), 2000, FREE, skipped=100)
        assert found.lock_wait_ns == pytest.approx((cpus - 1) * 100 - (cpus > 1), abs=0.01)


@pytest.mark.parametrize("load", [0.2, 0.5, 0.7])
def test_many_who_think_long_are_an_m_d_1_queue(load):
    """Pollaczek and Khinchine: the mean wait is load / (2 (1 - load)) of the holding time."""
    cpus, hold_ns = 1000, 100
    think = np.ceil(np.random.default_rng(5).exponential(cpus * hold_ns / load, (cpus, 200))).astype(np.int64)
    found = simulate(one_lock(hold_ns), think, 150_000, FREE, skipped=20_000)
    utilised = cpus * hold_ns / (think.mean() + found.alloc_ns)  # interactive response time law
    assert utilised == pytest.approx(load, rel=0.02)
    assert found.lock_wait_ns == pytest.approx(utilised / (2 * (1 - utilised)) * hold_ns, rel=0.05)
