"""Where failures begin: on one machine drawn by seed, the smallest headroom at which each strategy does not fail.

Headroom goes in steps of a twelfth of an octave. The search assumes that less headroom never helps, and so needs few
runs. On some draws it also tries steps that it does not need, to count how often the assumption does not hold.
"""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from replay.contract.strategy import Strategy
from replay.demand.demand import Demand
from replay.machine.reclaim import variant_of
from replay.risk.trial import Outcome, trial
from replay.start.pressed_machine import (
    Target,
    fragmentation_of,
    pressed,
    unusable_index,
    zones_to_fill,
)
from replay.start.recorded_machine import InitialState

STEPS = 12
"""Steps that double the headroom: one is 6 %."""
LEAST, MOST = -2 * STEPS, 4 * STEPS
"""Range of steps: from a quarter of the peak demand to sixteen times."""
INDEX_ORDERS = (2, 4, 9)
_CHECKS = (-2, 2)
"""Steps from the threshold that are tried to check that more headroom does not hurt."""


class Study(NamedTuple):
    """What all draws of one capture share."""

    demand: Demand
    recorded: InitialState
    start: InitialState
    """The machine whose memory is filled: the recorded one, or another in its place."""
    peak: int
    """The recording's peak net demand, pages."""
    table_share: float
    """Of page tables, in the pages that are allocated."""


class Kind(NamedTuple):
    """What machines are drawn alike."""

    fragmentation: str
    holes: str
    reclaim: str


class Draw(NamedTuple):
    """One unit of work: all strategies on a machine drawn by seed, under one variant of reclaim."""

    fragmentation: str
    holes: str
    reclaim: str
    seed: int
    strategies: tuple[Strategy, ...]
    """The others are compared with the first one."""
    check: bool
    """Whether to also try steps that the search does not need."""
    guesses: tuple[int, ...] = ()
    """The thresholds of the strategies in another draw, where they are known."""

    @property
    def kind(self) -> Kind:
        """What it has in common with other draws."""
        return Kind(*self[:3])


class Trial(NamedTuple):
    """One run of the search."""

    strategy: int
    """Index into the strategies of the draw."""
    step: int
    outcome: Outcome
    extra: bool
    """Run only to check that more headroom does not hurt."""


class Thresholds(NamedTuple):
    """The result of one draw."""

    steps: list[int]
    """The smallest step at which each strategy does not fail; `most` + 1 if it also fails at `most`."""
    most: int
    """The largest step that this machine has room for."""
    trials: list[Trial]
    indices: dict[int, tuple[float | None, ...]]
    """Unusable index at orders 2, 4 and 9, by step, as measured on the machines that were built."""


def headroom(step: int) -> float:
    """Usable memory over peak net demand."""
    return float(2 ** (step / STEPS))


def threshold(passes: Callable[[int], bool], guesses: Iterable[int], least: int, most: int) -> int:
    """The smallest step that passes, from `least` to `most` + 1 (none passes), if all steps above a pass also pass.

    Finds the guesses that it lies between, goes on from there in strides that double, then bisects. Two runs when a
    single guess is right.
    """
    low, high = least - 1, most + 1  # low is taken to fail, high to pass
    right = {min(max(guess, least), most + 1) for guess in guesses}
    steps = sorted(right | {guess - 1 for guess in right})
    rising, stride = False, 1
    while high - low > 1:
        between = [step for step in steps if low < step < high]
        near = low + stride if rising else high - stride
        near = near if stride and low < near < high else (low + high) // 2
        at = between[len(between) // 2] if between else near
        failed = not passes(at)
        low, high = (at, high) if failed else (low, at)
        stride = 1 if between else 2 * stride if failed == rising else 0
        rising = failed
    return high


def search(study: Study, draw: Draw) -> Thresholds:
    """Find the threshold of every strategy in one draw."""
    variant, fragmentation = variant_of(draw.reclaim), fragmentation_of(draw.fragmentation, draw.holes, study.recorded)
    zones, size = zones_to_fill(study.start), 1 << study.start.allocator.pageblock_order
    tables = len(study.recorded.page_tables) + study.recorded.page_tables_elsewhere
    indices: dict[int, tuple[float | None, ...]] = {}
    trials: list[Trial] = []

    def target(step: int) -> Target:
        return Target(math.ceil(headroom(step) * study.peak), variant.reclaimable, fragmentation)

    @lru_cache(maxsize=4)
    def machine(step: int) -> InitialState:
        state = pressed(study.start, study.recorded, study.demand, target(step), draw.seed)
        indices[step] = tuple(unusable_index(state.allocator, order) for order in INDEX_ORDERS)
        return state

    known: dict[tuple[int, int], Outcome] = {}

    def passes(strategy: int, step: int, *, extra: bool = False) -> bool:
        if (strategy, step) not in known:
            outcome = trial(machine(step), study.demand, draw.strategies[strategy], draw.reclaim)
            known[strategy, step] = outcome
            trials.append(Trial(strategy, step, outcome, extra))
        return known[strategy, step].failed is None

    most = next((step for step in range(MOST, LEAST - 1, -1) if target(step).fits(zones, tables, size)), LEAST - 1)
    steps: list[int] = []
    for place in range(len(draw.strategies)):
        near = draw.guesses[place : place + 1] or steps or [0]
        steps.append(threshold(lambda step, place=place: passes(place, step), near, LEAST, most))  # type: ignore[misc]
    for step in {step for step in steps if step <= most}:
        passes(0, step)
    if draw.check:
        for place, found in enumerate(steps):
            for step in (found + check for check in _CHECKS):
                if LEAST <= step <= most:
                    passes(place, step, extra=True)
    return Thresholds(steps, most, trials, indices)
