"""Where failures begin: for one draw of the machine, the least headroom at which each strategy does not fail.

Headroom goes in steps of a twelfth of an octave. That less headroom never helps is an assumption, which lets a search
take a few runs; on some draws other steps are tried, too, to see how often it does not hold.
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
    Wanted,
    fragmentation_of,
    pressed,
    unusable_index,
    zones_to_fill,
)
from replay.start.recorded_machine import InitialState

STEPS = 12
"""Steps that double the headroom: one is 6 %."""
LEAST, MOST = -2 * STEPS, 4 * STEPS
"""Steps searched: from a quarter of the peak demand to sixteen times."""
INDEX_ORDERS = (2, 4, 9)
_CHECKS = (-2, 2)
"""Steps from the threshold that are tried where monotonicity is checked."""


class Ground(NamedTuple):
    """What all searches on one capture share."""

    demand: Demand
    recorded: InitialState
    start: InitialState
    """The machine whose memory is filled: the recorded one, or one instead of it."""
    peak: int
    """The recording's peak net demand, pages."""


class Draw(NamedTuple):
    """One unit of work: a machine drawn by seed, under one variant of reclaim, for all strategies."""

    fragmentation: str
    reclaim: str
    seed: int
    strategies: tuple[Strategy, ...]
    """The first one is what the others are held against."""
    check: bool
    """Whether to try steps that the search does not need."""
    guesses: tuple[int, ...] = ()
    """The thresholds of the strategies on another machine drawn, where they are known."""


class Tried(NamedTuple):
    """A run of the search."""

    strategy: int
    """Its place among the strategies of the draw."""
    step: int
    outcome: Outcome
    extra: bool
    """Tried only to check monotonicity."""


class Found(NamedTuple):
    """What a draw has shown."""

    thresholds: list[int]
    """The least step at which each strategy does not fail; one more than `most` if it fails there, too."""
    most: int
    """The largest step that this machine has room for."""
    tried: list[Tried]
    indices: dict[int, tuple[float | None, ...]]
    """Unusable index at orders 2, 4 and 9, as measured on the machines that were built, by step."""


def headroom(step: int) -> float:
    """Usable memory over peak net demand."""
    return float(2 ** (step / STEPS))


def threshold(passes: Callable[[int], bool], guesses: Iterable[int], least: int, most: int) -> int:
    """The least step that passes, between `least` and `most` + 1 (none does), if passing once means passing above.

    Finds out between which guesses it lies, then goes from there in steps that double, and bisects. Two runs when a
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


def search(ground: Ground, draw: Draw) -> Found:
    """Find the threshold of every strategy on one draw; see `Found`."""
    variant, fragmentation = variant_of(draw.reclaim), fragmentation_of(draw.fragmentation, ground.recorded)
    zones, size = zones_to_fill(ground.start), 1 << ground.start.allocator.pageblock_order
    tables = len(ground.recorded.page_tables) + ground.recorded.page_tables_elsewhere
    indices: dict[int, tuple[float | None, ...]] = {}
    tried: list[Tried] = []

    def wanted(step: int) -> Wanted:
        return Wanted(math.ceil(headroom(step) * ground.peak), variant.reclaimable, fragmentation)

    @lru_cache(maxsize=4)
    def machine(step: int) -> InitialState:
        state = pressed(ground.start, ground.recorded, ground.demand, wanted(step), draw.seed)
        indices[step] = tuple(unusable_index(state.allocator, order) for order in INDEX_ORDERS)
        return state

    known: dict[tuple[int, int], Outcome] = {}

    def passes(strategy: int, step: int, *, extra: bool = False) -> bool:
        if (strategy, step) not in known:
            outcome = trial(machine(step), ground.demand, draw.strategies[strategy], draw.reclaim)
            known[strategy, step] = outcome
            tried.append(Tried(strategy, step, outcome, extra))
        return known[strategy, step].failed is None

    most = next((step for step in range(MOST, LEAST - 1, -1) if wanted(step).fits(zones, tables, size)), LEAST - 1)
    thresholds: list[int] = []
    for place in range(len(draw.strategies)):
        near = draw.guesses[place : place + 1] or thresholds or [0]
        thresholds.append(threshold(lambda step, place=place: passes(place, step), near, LEAST, most))  # type: ignore[misc]
    for step in {step for step in thresholds if step <= most}:
        passes(0, step)
    if draw.check:
        for place, found in enumerate(thresholds):
            for step in (found + check for check in _CHECKS):
                if LEAST <= step <= most:
                    passes(place, step, extra=True)
    return Found(thresholds, most, tried, indices)
