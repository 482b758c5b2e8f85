"""One run that is only asked whether it fails: it ends at its first failure."""

from typing import NamedTuple

from replay.contract.strategy import Strategy
from replay.demand.demand import Demand
from replay.kernel.gfp import MAY_RECLAIM, NORETRY, RETRY_MAYFAIL
from replay.machine import stretch
from replay.machine.machine import Machine
from replay.machine.requests import COSTLY_ORDER
from replay.start.recorded_machine import InitialState

FAILURES = ("oom_kill", "ptp_null", "livelock")
"""Incidents that are failures: an OOM kill, a page table that is not supplied, a request that loops to the end."""


class Outcome(NamedTuple):
    """What became of a run."""

    failed: str | None
    """oom_kill, ptp_null, livelock, or null: another request that gets nothing; None: nothing of the kind."""
    at_ns: int
    """When it failed; the end of the recording if it did not."""
    page_order: int | None
    """Order of the request that failed."""
    stalls: int
    allocations: int


class _FailedError(Exception):
    def __init__(self, kind: str, order: int | None) -> None:
        super().__init__(kind)
        self.kind, self.order = kind, order


class _Trial(Machine):
    """A machine that stops when something fails.

    NULL counts for requests that rely on being served, as the kernel would loop or kill for them. Those that do not:
    costly ones, those with __GFP_NORETRY or __GFP_RETRY_MAYFAIL (SLUB's first try, huge pages), and those that may
    not reclaim (GFP_NOWAIT, GFP_ATOMIC), which fail on a busy machine whose memory lies on the lists of other CPUs.
    The same holds for what a strategy asks for: a refill of order 9 that gets nothing tries the next order.
    """

    def __init__(self, start: InitialState, demand: Demand, strategy: Strategy, reclaim: str) -> None:
        super().__init__(start, demand, strategy, reclaim)
        self._contexts: dict[int, int] = {}  # of the requests that decisions were about, by recorded page

    def incident(self, kind: str, order: int | None, detail: str) -> None:
        super().incident(kind, order, detail)
        if kind in FAILURES:
            raise _FailedError(kind, order)

    def unplaced(self) -> None:
        super().unplaced()
        pages = self.running.pages
        order = len(pages).bit_length() - 1
        context = self._contexts[pages.start]
        if order <= COSTLY_ORDER and context & MAY_RECLAIM and not context & (NORETRY | RETRY_MAYFAIL):
            raise _FailedError("null", order)

    def _decide(self, at: int, why: int, now: int) -> None:
        if why != stretch.PUT_OFF:
            self._contexts[int(self.demand.program.pfn[at])] = int(self.demand.program.context[at])
        super()._decide(at, why, now)


def trial(start: InitialState, demand: Demand, strategy: Strategy, reclaim: str) -> Outcome:
    """Replay until something fails, the warm-up included: a strategy that cannot even start fails at once."""
    machine = _Trial(start, demand, strategy, reclaim)
    try:
        machine.warm_up()
        machine.replay()
    except _FailedError as failure:
        return Outcome(failure.kind, machine.now, failure.order, machine.stalls, _allocations(machine))
    return Outcome(None, demand.last_ns, None, machine.stalls, _allocations(machine))


def _allocations(machine: Machine) -> int:
    return int(machine.tally.counts[stretch.ALLOCS])
