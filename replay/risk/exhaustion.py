"""Time to exhaustion: how many copies of the recorded processes it takes until a strategy fails, and when it does."""

from functools import lru_cache
from typing import NamedTuple

from replay.copies import scaled
from replay.demand import Demand
from replay.initial.state import InitialState
from replay.registry import Strategy
from replay.risk.search import threshold
from replay.risk.trial import Outcome, trial

Scene = tuple[Demand, InitialState]
"""The recording, and the machine before the first event."""


class Load(NamedTuple):
    """One unit of work: copies for all strategies on one machine, under one variant of reclaim."""

    reclaim: str
    seed: int
    most: int
    """No more copies than this."""
    strategies: tuple[Strategy, ...]
    """The first one is what the others are held against."""


def exhaust(scene: Scene, load: Load) -> dict[tuple[int, int], Outcome]:
    """Raise the number of copies until each strategy fails; more copies are taken to fail, too.

    Returns:
        What became of every run, by place of the strategy and number of copies. Every strategy is also run with as many
        copies as it takes to make the first one fail, and with one less.
    """
    demand, machine = scene
    outcomes: dict[tuple[int, int], Outcome] = {}

    @lru_cache(maxsize=2)
    def copied(copies: int) -> Demand:
        return scaled(demand, copies, load.seed, len(machine.mapped))

    def fails(place: int, copies: int) -> bool:
        if (place, copies) not in outcomes:
            outcomes[place, copies] = trial(machine, copied(copies), load.strategies[place], load.reclaim)
        return outcomes[place, copies].failed is not None

    first = threshold(lambda copies: fails(0, copies), 1, 1, load.most)
    for place in range(len(load.strategies)):
        threshold(lambda copies, place=place: fails(place, copies), first - 1, 1, load.most)  # type: ignore[misc]
        for copies in (first - 1, first):
            if 1 <= copies <= load.most:
                fails(place, copies)
    return outcomes
