"""Time to exhaustion: how many copies of the recorded processes it takes until a strategy fails, and when it does."""

from functools import lru_cache
from typing import NamedTuple

from replay.contract.strategy import Strategy
from replay.demand.copies import scaled
from replay.demand.demand import Demand
from replay.machine.reclaim import variant_of
from replay.risk.search import Ground, threshold
from replay.risk.trial import Outcome, trial
from replay.start.pressed_machine import usable_pages

OUTLAST = 2
"""No strategy is tried with more than this many times the copies that make the first one fail."""

_KEPT = 3
"""Demands of so many copies that are kept: most strategies fail at nearly the same number."""


class Load(NamedTuple):
    """One unit of work: copies for all strategies on one machine, under one variant of reclaim."""

    reclaim: str
    seed: int
    most: int
    """No more copies than this."""
    strategies: tuple[Strategy, ...]
    """The first one is what the others are held against."""


def exhaust(ground: Ground, load: Load) -> dict[tuple[int, int], Outcome]:
    """Raise the number of copies until each strategy fails; more copies are taken to fail, too.

    Returns:
        What became of every run, by place of the strategy and number of copies. Every strategy is also run with as many
        copies as it takes to make the first one fail, and none with more than `OUTLAST` times as many.
    """
    outcomes: dict[tuple[int, int], Outcome] = {}

    @lru_cache(_KEPT)
    def copied(copies: int) -> Demand:
        return scaled(ground.demand, copies, load.seed, len(ground.start.mapped))

    def fails(place: int, copies: int) -> bool:
        if (place, copies) not in outcomes:
            outcomes[place, copies] = trial(ground.start, copied(copies), load.strategies[place], load.reclaim)
        return outcomes[place, copies].failed is not None

    usable = usable_pages(ground.start, variant_of(load.reclaim).reclaimable)
    first = threshold(lambda copies: fails(0, copies), [max(usable // ground.peak, 1)], 1, load.most)
    most, found = min(OUTLAST * first, load.most), {first}
    for place in range(1, len(load.strategies)):
        found.add(threshold(lambda copies, place=place: fails(place, copies), found, 1, most))  # type: ignore[misc]
        if first <= most:
            fails(place, first)
    return outcomes
