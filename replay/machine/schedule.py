"""Decisions take time: who runs when, who waits for which lock, and what a task does later because it waited.

A closed loop: an event starts at the later of its time stamp and its task's being free, and a delay propagates along
that task only. A decision of a strategy is suspended while what it does takes time (replay/profiles/costs.toml); events
of other tasks go on meanwhile and meet the pool as it is then.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import GeneratorType
from typing import Any, Protocol

from replay.contract.actions import Action, Chunk, Decision, Lock, Unlock
from replay.kernel.gfp import GFP_KERNEL
from replay.machine.loop import FOREVER


class DeadlockError(Exception):
    """Raised inside a decision that would wait for ever for a lock."""


@dataclass(eq=False)
class Running:
    """A decision under way."""

    stack: list[Decision]
    """The decision, and what it entered (direct reclaim, the shrinker), innermost last."""
    task: int
    cpu: int
    cause: int
    operation: str
    """What its latency is booked under."""
    began: int
    """When it asked, ns."""
    pages: range
    """The recorded pages that it is about."""
    context: int = GFP_KERNEL
    """GFP context of the request that it is about (replay.kernel.gfp)."""
    held: list[str] = field(default_factory=list)
    waits_for: str = ""
    waited_from: int = 0
    reclaiming: bool = False
    in_hand: set[Chunk] = field(default_factory=set)
    """What it has from the page allocator and has not put anywhere yet."""
    isolated: set[Chunk] = field(default_factory=set)
    """Of these, what it took besides what it had asked for."""


class Clock(Protocol):
    """Simulated time, and the decision that is running."""

    now: int
    running: Running


Perform = Callable[[Action], tuple[Any, int]]
"""Carries out an action of the decision that is running. Returns its result, or a decision that is entered first and
whose result it is; and the ns that it takes."""


class Schedule:
    """Runs decisions in simulated time.

    Args:
        clock: moves as time passes.
        perform: carries out actions.
        ended: called for each decision that has ended.
        timeless: nothing takes time (the warm-up before the first event).
    """

    def __init__(
        self,
        clock: Clock,
        perform: Perform,
        ended: Callable[[Running], None],
        *,
        timeless: bool = False,
    ) -> None:
        self._clock, self._perform, self._ended, self._timeless = clock, perform, ended, timeless
        self._due: list[tuple[int, int, Running, Any]] = []
        self._holder: dict[str, Running] = {}
        self._waiting: dict[str, deque[Running]] = {}
        self._suspended = 0
        self.in_flight: list[Running] = []
        self.most_at_once = 0
        self.lock_wait_ns = 0

    @property
    def horizon(self) -> int:
        """When the next suspended decision goes on; the end of time if none is suspended."""
        return self._due[0][0] if self._due else FOREVER

    def begin(self, running: Running) -> None:
        """Start a decision now."""
        self.in_flight.append(running)
        self.most_at_once = max(self.most_at_once, sum(other.cause == running.cause for other in self.in_flight))
        self._go_on(running, None)

    def resume(self) -> None:
        """Go on with the decision that is due first: the machine's clock moves to its time."""
        self._clock.now, _, running, result = heapq.heappop(self._due)
        self._go_on(running, result)

    def _go_on(self, running: Running, result: Any) -> None:
        """Run a decision until it has to wait, or to its end."""
        self._clock.running = running
        never: DeadlockError | None = None
        while running.stack:
            try:
                decision = running.stack[-1]
                action = decision.send(result) if never is None else decision.throw(never)
                never = None
            except StopIteration as stop:
                running.stack.pop()
                result, never = stop.value, None
                continue
            except DeadlockError as error:
                running.stack.pop()
                never = error
                continue
            took = 0
            if isinstance(action, Lock):
                result = None
                if never := self._deadlock(running, action.name):
                    self._release_all(running)
                elif not self._acquire(running, action.name):
                    return
            elif isinstance(action, Unlock):
                result = None
                self._release(running, action.name)
            else:
                result, took = self._perform(action)
                if isinstance(result, GeneratorType):
                    running.stack.append(result)
                    result = None
            if took and not self._timeless:
                self._suspend(running, took, result)
                return
        self._end(running)

    def _suspend(self, running: Running, ns: int, result: Any) -> None:
        self._suspended += 1
        heapq.heappush(self._due, (self._clock.now + ns, self._suspended, running, result))

    def _end(self, running: Running) -> None:
        self.in_flight.remove(running)
        self._release_all(running)
        self._ended(running)

    # -------------------------------------------------------------------------------------------------- locks

    def _deadlock(self, running: Running, name: str) -> DeadlockError | None:
        """Whether the chain of holders, from this lock's on, leads to the decision that wants it now."""
        first = holder = self._holder.get(name)
        while holder is not None and holder is not running and holder.waits_for:
            holder = self._holder[holder.waits_for]
        if holder is not running:
            return None
        return DeadlockError(
            f"{name} is wanted by who holds it" if first is running else f"{name}: a circle of waiters"
        )

    def _acquire(self, running: Running, name: str) -> bool:
        """Take a lock, or queue for it; False when the decision does not go on now."""
        if name not in self._holder:
            self._holder[name] = running
            running.held.append(name)
            return True
        running.waits_for, running.waited_from = name, self._clock.now
        self._waiting.setdefault(name, deque()).append(running)
        return False

    def _release(self, running: Running, name: str) -> None:
        """Hand a lock to the decision that has waited longest for it."""
        running.held.remove(name)
        waiting = self._waiting.get(name)
        if not waiting:
            del self._holder[name]
            return
        following = waiting.popleft()
        self._holder[name] = following
        following.held.append(name)
        following.waits_for = ""
        self.lock_wait_ns += self._clock.now - following.waited_from
        self._suspend(following, 0, None)

    def _release_all(self, running: Running) -> None:
        for name in running.held.copy():
            self._release(running, name)
