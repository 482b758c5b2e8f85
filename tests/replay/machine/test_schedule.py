"""Time: locks are handed on in order, waiting is booked, deadlocks are found, and a delayed task delays nobody else."""

from dataclasses import dataclass, replace

from accounts import metrics
from toy_machine import OTHER, demand_of, finished, machine_of, tables

from replay.contract.actions import Alloc, Give, Lock, SetKey, Tables, Unlock, Wait
from replay.machine.machine import Machine
from replay.machine.schedule import FOREVER, DeadlockError, Running, Schedule
from replay.machine.state import State
from replay.profiles.costs import built_in
from replay.strategies.pba import Pba
from replay.strategies.reserve_block import ReserveBlock


class Clock:
    """A machine on which only time passes."""

    def __init__(self):
        self.now, self.running, self.log = 0, None, []

    def perform(self, action):
        return None, action.ns

    def ended(self, running):
        self.log.append((running.task, self.now))


def play(*decisions):
    """Start decisions at once, task 0 first, and run them to their ends."""
    clock = Clock()
    schedule = Schedule(clock, clock.perform, clock.ended)
    for task, decision in enumerate(decisions):
        schedule.begin(Running([decision], task, 0, 0, "test", 0, range(0)))
    while schedule.horizon < FOREVER:
        schedule.resume()
    return clock, schedule


def holding(name, ns):
    yield Lock(name)
    yield Wait(ns)
    yield Unlock(name)


def test_a_lock_goes_to_who_has_waited_longest():
    clock, schedule = play(holding("a", 100), holding("a", 10), holding("a", 1))
    assert clock.log == [(0, 100), (1, 110), (2, 111)]
    assert schedule.lock_wait_ns == 100 + 110
    assert schedule.most_at_once == 3


def test_different_locks_do_not_wait_for_each_other():
    clock, schedule = play(holding("a", 100), holding("b", 10))
    assert clock.log == [(1, 10), (0, 100)]
    assert schedule.lock_wait_ns == 0


def test_who_wants_a_lock_it_holds_is_told_and_gives_it_up():
    caught = []

    def twice():
        yield Lock("a")
        try:
            yield Lock("a")
        except DeadlockError as error:
            caught.append(str(error))

    clock, _ = play(twice(), holding("a", 5))
    assert caught == ["a is wanted by who holds it"]
    assert clock.log == [(0, 0), (1, 5)]


def test_a_circle_of_waiters_is_broken_where_it_closes():
    caught = []

    def crossed(first, second):
        yield Lock(first)
        yield Wait(10)
        try:
            yield Lock(second)
        except DeadlockError as error:
            caught.append(str(error))
            return
        yield Unlock(second)
        yield Unlock(first)

    clock, _ = play(crossed("a", "b"), crossed("b", "a"))
    assert caught == ["a: a circle of waiters"]
    assert [task for task, _ in clock.log] == [1, 0]


def test_a_lock_that_a_decision_forgets_is_released():
    def forgets():
        yield Lock("a")

    clock, _ = play(forgets(), holding("a", 5))
    assert clock.log == [(0, 0), (1, 5)]


BLOCK = ReserveBlock(block_order=2, last_order=2, mutex=False)


def test_two_tasks_that_find_the_pool_empty_refill_twice():
    """Boot leaves a block of 4 with 2 in reserve: the third table refills, and so does the next while it does."""
    alone = finished(machine_of(), demand_of(tables(4)), BLOCK)
    both = finished(machine_of(), demand_of(tables(4), tasks=[0, 0, 0, 1]), BLOCK)
    assert (alone.state.refills, alone.schedule.most_at_once) == (1, 1)
    assert (both.state.refills, both.schedule.most_at_once) == (2, 2)


def test_a_mutex_makes_the_second_wait():
    mutex = replace(BLOCK, mutex=True)
    demand = demand_of(tables(4), tasks=[0, 0, 0, 1])
    assert finished(machine_of(), demand, mutex).schedule.lock_wait_ns > 0
    assert finished(machine_of(), demand, BLOCK).schedule.lock_wait_ns == 0


def test_a_delay_propagates_along_its_task_only():
    """While task 0 refills, its own free waits and another task's allocation does not."""
    script = [*tables(3), ("free", 0, 0, OTHER), ("alloc", 50, 0, OTHER)]
    seen = []

    @dataclass(frozen=True)
    class Watching(ReserveBlock):
        def refill(self, pool, order):
            chunk = yield Alloc(2)
            yield Wait(10_000)
            page_of = machine.state.tally.page_of
            seen.append((pool.cached, int(page_of[50]) >= 0, int(page_of[0]) >= 0))
            yield SetKey(chunk, Tables.POOL)
            yield Give(chunk)
            return True

    demand = demand_of(script, tasks=[0, 0, 0, 0, 1])
    machine = Machine(State(machine_of(), demand, Watching(block_order=2, last_order=2)))
    machine.replay()
    assert seen == [(2, True, True)]  # the other's page is there, and the own table is not freed yet
    assert machine.state.tally.page_of[0] == -1  # it was freed afterwards


def test_a_page_that_is_still_being_allocated_is_not_freed_before():
    """Task 1 frees the table that task 0 waits for: the free waits too, and nothing is left over."""
    script = [*tables(3), ("free", 2, 0, OTHER)]
    machine = finished(machine_of(), demand_of(script, tasks=[0, 0, 0, 1]), BLOCK)
    assert machine.state.tally.page_of[2] == -1
    assert machine.state.tally.counts.tolist()[:3] == [3, 1, 2]  # allocated, freed, alive


def test_refills_that_overlap_hold_more_memory():
    toy = Pba(refill_orders=(2,), reserve=4, shrink_block_min=2, unshrinkable=4)
    alone = finished(machine_of(), demand_of(tables(40)), toy)
    many = finished(machine_of(), demand_of(tables(40), tasks=list(range(40))), toy)
    assert many.schedule.most_at_once > 1
    assert many.state.refills >= alone.state.refills


def test_a_refill_that_was_timed_takes_so_long_once_whatever_it_splits():
    """Refills of one task, one after the other; some split a leaf, and its flush is in what a refill took."""
    costs = replace(built_in().of("x86_64"), refill_ns=1_000_000)
    machine = Machine(State(machine_of(), demand_of(tables(40)), BLOCK, costs=costs))
    machine.replay()
    assert machine.state.refills > 5 and metrics(machine)["splits_2m"] + metrics(machine)["splits_1g"] > 0
    assert machine.state.refills == machine.state.now // costs.refill_ns
