"""The compiled simulation: a closed loop of CPUs, each of which allocates page tables as fast as it can."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from replay.contention.steps import (
    AGAIN,
    BEGIN,
    END,
    GIVE,
    HOLD,
    IF_SERVED,
    LIST,
    LOCK,
    OWN,
    TAKE,
    THINK,
    TRY,
    UNLOCK,
    WAIT,
    Steps,
)
from replay.profiles.costs import Costs

# Places in _State.counts.
CACHED, HELD, HELD_PEAK, DONE, TURN, WAITED, SPENT, REFILLS, NOW, READY = range(10)


class _State(NamedTuple):
    """The state of each CPU and each lock."""

    at: NDArray[np.int64]  # (cpus,) step
    due: NDArray[np.int64]  # (cpus,) when it continues, unless it waits for a lock
    turn: NDArray[np.int64]  # (cpus,) order of suspension, for CPUs that continue at the same time
    own: NDArray[np.int64]  # (cpus,) pages on the CPU's own list
    served: NDArray[np.int64]  # (cpus,) 1: it has its page table
    began: NDArray[np.int64]  # (cpus,) when it asked for the page table
    since: NDArray[np.int64]  # (cpus,) when it began to wait for a lock
    thought: NDArray[np.int64]  # (cpus,) number of think times so far
    ready: NDArray[np.int64]  # (cpus,) heap of the CPUs that do not wait for a lock
    holder: NDArray[np.int64]  # (locks,) CPU that holds it, -1: free
    last: NDArray[np.int64]  # (locks,) CPU that held it last
    queue: NDArray[np.int64]  # (locks, cpus) ring of the CPUs that wait
    head: NDArray[np.int64]  # (locks,) first entry of the ring
    length: NDArray[np.int64]  # (locks,) entries of the ring
    counts: NDArray[np.int64]  # at the places above
    integral: NDArray[np.float64]  # (1,) pages held x time


class Outcome(NamedTuple):
    """Cost of the page tables that were counted."""

    tables: int
    alloc_ns: float
    """Mean time of a page-table allocation, including waiting."""
    lock_wait_ns: float
    """Mean part of it spent waiting for locks."""
    held_pages_mean: float
    """Unused pages that the strategy holds, on all lists and in running refills, averaged over time."""
    held_pages_peak: int
    refills: int


def simulate(steps: Steps, think: NDArray[np.int64], tables: int, costs: Costs, skipped: int = 0) -> Outcome:
    """Let CPUs allocate page tables, which all stay in use, until there are `tables` of them.

    Args:
        steps: what each CPU does.
        think: (cpus, K) ns that each CPU's task spends elsewhere before its 1st, 2nd, ... table; repeats after K.
        tables: page tables in total.
        costs: what operations take.
        skipped: page tables at the start that are not counted.
    """
    cpus = len(think)
    own = lists_at_start(steps, cpus)
    s = _State(
        at=np.zeros(cpus, np.int64),
        due=np.zeros(cpus, np.int64),
        turn=np.arange(cpus),
        own=own.copy(),
        served=np.zeros(cpus, np.int64),
        began=np.zeros(cpus, np.int64),
        since=np.zeros(cpus, np.int64),
        thought=np.zeros(cpus, np.int64),
        ready=np.arange(cpus),
        holder=np.full(steps.locks, -1, np.int64),
        last=np.full(steps.locks, -1, np.int64),
        queue=np.zeros((steps.locks, cpus), np.int64),
        head=np.zeros(steps.locks, np.int64),
        length=np.zeros(steps.locks, np.int64),
        counts=np.zeros(10, np.int64),
        integral=np.zeros(1, np.float64),
    )
    s.counts[TURN] = s.counts[READY] = cpus
    s.counts[CACHED] = steps.reserve
    s.counts[HELD] = steps.reserve + own.sum()
    constants = (steps.batch, steps.reserve, costs.hit_ns, costs.page_ns, costs.handoff_ns)
    _run(steps.code, steps.arg, s, think, skipped, *constants)
    began = int(s.counts[NOW])
    s.counts[[WAITED, SPENT, REFILLS]] = 0
    s.integral[0], s.counts[HELD_PEAK] = 0, s.counts[HELD]
    _run(steps.code, steps.arg, s, think, tables, *constants)
    elapsed = int(s.counts[NOW]) - began
    counted = int(s.counts[DONE]) - skipped
    return Outcome(
        counted,
        float(s.counts[SPENT]) / counted,
        float(s.counts[WAITED]) / counted,
        float(s.integral[0]) / max(elapsed, 1),
        int(s.counts[HELD_PEAK]),
        int(s.counts[REFILLS]),
    )


def lists_at_start(steps: Steps, cpus: int) -> NDArray[np.int64]:
    """(cpus,) pages on each CPU's own list at the start: random, as otherwise all would run out at once."""
    most = min(steps.batch, int(steps.arg[steps.code == GIVE].sum()))
    return np.random.default_rng(cpus).integers(0, max(most, 1), cpus)


@compiled
def _before(s, one, other):
    """Whether a CPU continues before another."""
    return s.due[one] < s.due[other] or (s.due[one] == s.due[other] and s.turn[one] < s.turn[other])


@compiled
def _suspend(s, cpu, due):
    """Suspend a CPU until `due`: put it into the heap."""
    s.due[cpu], s.turn[cpu] = due, s.counts[TURN]
    s.counts[TURN] += 1
    at = s.counts[READY]
    s.counts[READY] += 1
    while at > 0 and _before(s, cpu, s.ready[(at - 1) >> 1]):
        s.ready[at] = s.ready[(at - 1) >> 1]
        at = (at - 1) >> 1
    s.ready[at] = cpu


@compiled
def _next(s):
    """Take the CPU that continues first out of the heap."""
    first = s.ready[0]
    s.counts[READY] -= 1
    size = s.counts[READY]
    last, at = s.ready[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(s, s.ready[child + 1], s.ready[child]):
            child += 1
        if not _before(s, s.ready[child], last):
            break
        s.ready[at] = s.ready[child]
        at = child
    s.ready[at] = last
    return first


@compiled
def _run(code, arg, s, think, until, batch, reserve, hit, page, handoff):
    """Run until `until` page tables are done."""
    count = s.counts
    while count[DONE] < until:
        cpu = _next(s)
        now = s.due[cpu]
        s.integral[0] += float(count[HELD]) * (now - count[NOW])
        count[NOW] = now
        took = np.int64(0)
        while took == 0:
            at = s.at[cpu]
            step, value = code[at], arg[at]
            s.at[cpu] = at + 1
            if step == THINK:
                took = max(think[cpu, s.thought[cpu] % think.shape[1]], np.int64(1))
                s.thought[cpu] += 1
            elif step == BEGIN:
                s.began[cpu], s.served[cpu] = now, 0
            elif step == OWN:
                if s.own[cpu] > 0:
                    s.own[cpu] -= 1
                    count[HELD] -= 1
                    s.served[cpu] = 1
                    s.at[cpu] = len(code) - 1
                    took = hit
            elif step == LOCK:
                if s.holder[value] >= 0:
                    s.queue[value, (s.head[value] + s.length[value]) % len(s.due)] = cpu
                    s.length[value] += 1
                    s.since[cpu] = now
                    break
                s.holder[value] = cpu
                if value == LIST and s.last[value] != cpu:
                    took = handoff
                s.last[value] = cpu
            elif step == UNLOCK:
                s.holder[value] = -1
                if s.length[value] > 0:
                    following = s.queue[value, s.head[value]]
                    s.head[value] = (s.head[value] + 1) % len(s.due)
                    s.length[value] -= 1
                    count[WAITED] += now - s.since[following]
                    s.holder[value] = s.last[value] = following
                    _suspend(s, following, now + (handoff if value == LIST else 0))
            elif step == WAIT:
                took = value
            elif step == HOLD:
                count[HELD] += value
                count[HELD_PEAK] = max(count[HELD_PEAK], count[HELD])
            elif step == GIVE:
                count[CACHED] += value
                count[REFILLS] += 1
            elif step == TRY:
                moved = min(max(batch, 1), count[CACHED] - reserve)
                took = hit
                if moved > 0:
                    count[CACHED] -= moved
                    count[HELD] -= 1
                    s.own[cpu] += moved - 1
                    s.served[cpu] = 1
                    if batch:
                        took += moved * page
            elif step == TAKE:
                took = hit
                if count[CACHED] > 0:
                    count[CACHED] -= 1
                    count[HELD] -= 1
                    s.served[cpu] = 1
            elif step == IF_SERVED:
                if s.served[cpu]:
                    s.at[cpu] = len(code) - 1
            elif step == AGAIN:
                s.at[cpu] = value
            elif step == END:
                count[SPENT] += now - s.began[cpu]
                count[DONE] += 1
                s.at[cpu] = 0
        else:
            _suspend(s, cpu, now + took)
