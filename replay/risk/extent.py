"""How much a study takes, and how much of it is done where nobody says."""

from collections.abc import Sequence
from typing import NamedTuple

SEEDS, FRAGMENTATIONS, RECLAIM = 8, ("fresh", "severe"), ("optimistic", "moderate", "none")

_EVENTS_PER_S = 1e6  # of a replay with reclaim, on one CPU
_TRIALS_FIRST, _TRIALS = 6.0, 3.0  # runs of one strategy on a machine: of the first seed, of another
_SHARE = 0.6  # of the events: a run ends at its first failure
_MACHINE_NS_A_PAGE = 40
_ENOUGH_S = 900.0  # of one CPU


class Extent(NamedTuple):
    """What a study covers."""

    seeds: int
    fragmentations: tuple[str, ...]
    reclaim: tuple[str, ...]

    @property
    def machines(self) -> int:
        """How many machines are drawn."""
        return self.seeds * len(self.fragmentations) * len(self.reclaim)


USUAL = Extent(SEEDS, FRAGMENTATIONS, RECLAIM)
"""What is covered unless the recording is large."""

_SMALLER = [
    *(USUAL._replace(seeds=seeds) for seeds in (SEEDS, 4, 2, 1)),
    Extent(1, ("severe",), RECLAIM),
    Extent(1, ("severe",), ("moderate",)),
]


def seconds(extent: Extent, strategies: int, events: int, pages: int) -> float:
    """About how long a study takes on one CPU: for so many events and pages of the machine."""
    kinds = len(extent.fragmentations) * len(extent.reclaim)
    trials = kinds * strategies * (_TRIALS_FIRST + (extent.seeds - 1) * _TRIALS)
    return trials * (_SHARE * events / _EVENTS_PER_S + pages * _MACHINE_NS_A_PAGE * 1e-9)


def chosen(
    seeds: int | None,
    kinds: Sequence[str] | None,
    variants: Sequence[str] | None,
    strategies: int,
    events: int,
    pages: int,
) -> tuple[Extent, bool]:
    """The extent asked for; where nothing is asked for, the largest that takes a quarter of an hour of one CPU.

    Returns:
        The extent, and whether it is less than the usual one.
    """
    if seeds is None and kinds is None and variants is None:
        for extent in _SMALLER:
            if seconds(extent, strategies, events, pages) <= _ENOUGH_S:
                break
        return extent, extent != USUAL
    return Extent(seeds or SEEDS, tuple(kinds or FRAGMENTATIONS), tuple(variants or RECLAIM)), False
