"""One run that is only asked whether it fails: it ends at its first failure."""

from typing import NamedTuple

from replay.contract.strategy import Strategy
from replay.demand.demand import Demand
from replay.kernel.gfp import MAY_RECLAIM, NORETRY, RETRY_MAYFAIL
from replay.machine.boot import DoesNotFitError
from replay.machine.machine import Machine
from replay.machine.schedule import Running
from replay.machine.state import Observer, State
from replay.machine.tally import ALLOCS
from replay.machine.vmscan import COSTLY_ORDER
from replay.start.recorded_machine import InitialState

FAILURES = ("oom_kill", "ptp_null", "livelock", "unkeyed_table")
"""Incidents that are failures: an OOM kill, a page table that is not supplied, a request that loops to the end, and a
table without the key, unless the strategy's posting has such tables."""


class Outcome(NamedTuple):
    """What became of a run."""

    failed: str | None
    """boot: what it takes at boot does not fit; oom_kill, ptp_null, livelock, unkeyed_table, or null: another request
    that gets nothing; None: nothing of the kind."""
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


class _FirstFailure(Observer):
    """Breaks a run off when something fails.

    NULL counts for requests that rely on being served, as the kernel would loop or kill for them. Those that do not:
    costly ones, those with __GFP_NORETRY or __GFP_RETRY_MAYFAIL (SLUB's first try, huge pages), and those that may
    not reclaim (GFP_NOWAIT, GFP_ATOMIC), which fail on a busy machine whose memory lies on the lists of other CPUs.
    The same holds for what a strategy asks for: a refill of order 9 that gets nothing tries the next order.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._kinds = [kind for kind in FAILURES if kind != "unkeyed_table" or not strategy.leaves_unkeyed]

    def incident(self, kind: str, order: int | None) -> None:
        if kind in self._kinds:
            raise _FailedError(kind, order)

    def unplaced(self, running: Running) -> None:
        order, context = len(running.pages).bit_length() - 1, running.context
        if order <= COSTLY_ORDER and context & MAY_RECLAIM and not context & (NORETRY | RETRY_MAYFAIL):
            raise _FailedError("null", order)


def trial(start: InitialState, demand: Demand, strategy: Strategy, reclaim: str) -> Outcome:
    """Replay until something fails, the warm-up included: a strategy that cannot even start fails at once."""
    state = State(start, demand, strategy, reclaim, observer=_FirstFailure(strategy))
    failed = order = None
    try:
        Machine(state).replay()
    except _FailedError as failure:
        failed, order = failure.kind, failure.order
    except DoesNotFitError:
        failed = "boot"
    at_ns = state.now if failed else demand.last_ns
    return Outcome(failed, at_ns, order, state.stalls, int(state.tally.counts[ALLOCS]))
