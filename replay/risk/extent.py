"""How much a study takes, and how much of it is done where nobody says."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from replay.risk.search import Kind

SEEDS, FRAGMENTATIONS, HOLES, RECLAIM = 6, ("0.15", "0.8"), ("unmovable",), ("moderate",)
"""What is drawn where nobody says. Six machines are the fewest that give an interval of a median."""

_EVENTS_PER_S = 7e4  # of a replay in which memory is short most of the time, on one CPU
_TRIALS_FIRST, _TRIALS = 8.0, 5.0  # runs of one strategy on a machine: of the first seed, of another
_SHARE = 0.6  # of the events: a run ends at its first failure
_MACHINE_NS_A_PAGE = 40
_ENOUGH_S = 600.0  # of one CPU


class Extent(NamedTuple):
    """What a study covers."""

    seeds: int
    fragmentations: tuple[str, ...]
    holes: tuple[str, ...]
    reclaim: tuple[str, ...]

    @property
    def kinds(self) -> list[Kind]:
        """Every kind of machine."""
        return [Kind(*each) for each in product(self.fragmentations, self.holes, self.reclaim)]

    @property
    def machines(self) -> int:
        """How many machines are drawn."""
        return self.seeds * len(self.kinds)


USUAL = Extent(SEEDS, FRAGMENTATIONS, HOLES, RECLAIM)
"""What is covered unless the recording is large."""

_SMALLER = [
    USUAL,
    *(Extent(seeds, FRAGMENTATIONS[-1:], HOLES, RECLAIM) for seeds in (SEEDS, 2, 1)),
]


def seconds(extent: Extent, strategies: int, events: int, pages: int) -> float:
    """About how long a study takes on one CPU: for so many events and pages of the machine."""
    trials = len(extent.kinds) * strategies * (_TRIALS_FIRST + (extent.seeds - 1) * _TRIALS)
    return trials * (_SHARE * events / _EVENTS_PER_S + pages * _MACHINE_NS_A_PAGE * 1e-9)


def chosen(
    seeds: int | None, kinds: Sequence[Sequence[str] | None], strategies: int, events: int, pages: int
) -> tuple[Extent, bool]:
    """The extent asked for; where nothing is asked for, the largest that takes ten minutes of one CPU.

    Args:
        seeds: machines of each kind.
        kinds: fragmentations, holes, variants of reclaim.
        strategies: how many.
        events: of the recording.
        pages: of the machine.

    Returns:
        The extent, and whether it is less than the usual one.
    """
    if seeds is None and not any(kinds):
        for extent in _SMALLER:
            if seconds(extent, strategies, events, pages) <= _ENOUGH_S:
                break
        return extent, extent != USUAL
    return Extent(seeds or SEEDS, *(tuple(each or usual) for each, usual in zip(kinds, USUAL[1:], strict=True))), False
