"""Arrays that take no index below zero or beyond their end, for compiled code that runs as plain Python.

Started as a program, with NUMBA_DISABLE_JIT=1 (numba's own switch): replays short programs on toy machines with every
strategy. An index outside its array, which compiled code would use without a word, is an IndexError here.
"""

import random
from dataclasses import replace
from typing import Any

import numpy as np


class Checked(np.ndarray):
    """An array whose elements are Python numbers: sums of small ones do not wrap around, as in compiled code."""

    def _inside(self, place: Any) -> Any:
        for axis, index in enumerate(place if isinstance(place, tuple) else (place,)):
            if isinstance(index, int | np.integer) and not 0 <= index < self.shape[axis]:
                raise IndexError(f"index {place} of an array of {self.shape}")
        return place

    def __getitem__(self, place: Any) -> Any:
        value = super().__getitem__(self._inside(place))
        return value.item() if isinstance(value, np.generic) else value

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(self._inside(place), value)


def checked(arrays: Any) -> Any:
    """A named tuple with checked arrays, as wide as the registers of compiled code."""
    return arrays._replace(
        **{
            name: (each.astype(np.int64) if each.dtype.kind in "iu" else each).view(Checked)
            for name, each in arrays._asdict().items()
            if isinstance(each, np.ndarray)
        }
    )


def program_of(events: int, draw: random.Random) -> list[tuple[str, int, int, int]]:
    """Allocations, frees and permission changes at random, of pages that may be free or in use."""
    from toy_machine import KSTACK, OTHER, PGTABLE, SECRET

    places = {0: range(120), 1: range(200, 260, 2), 2: range(400, 440, 4)}
    program = []
    for _ in range(events):
        order = draw.choice((0, 0, 0, 1, 2))
        op, consumer = draw.choice((("alloc", draw.choice((OTHER, PGTABLE, SECRET, KSTACK))), ("free", OTHER)))
        program.append((op, draw.choice(places[order]), order, consumer))
        if draw.random() < 0.03:
            program.append(("change", 0, 0, OTHER))
    return program


def main() -> None:
    """Replay some programs with every strategy, on machines with plenty of memory and with little."""
    import toy_machine
    import toy_runs

    import replay.machine.state as room
    from replay.kernel.leaves import PMD, PUD
    from replay.machine.machine import Machine

    room_pool, room_map, room_tally = room.pools.empty_pool, room.maps.direct_map, room._tally
    page_allocator = toy_machine.mmzone.page_allocator
    toy_machine.mmzone.page_allocator = lambda *a, **k: checked(page_allocator(*a, **k))
    room.pools.empty_pool = lambda *a, **k: tuple(map(checked, room_pool(*a, **k)))
    room.maps.direct_map = lambda *a: checked(room_map(*a))
    room._tally = lambda *a: checked(room_tally(*a))
    draw = random.Random(4)
    events = runs = 0
    for strategy in toy_runs.SMALL:
        for pages, level, reclaim in ((256, PUD, "none"), (64, PUD, "optimistic"), (68, PMD, "moderate")):
            start = toy_machine.machine_of(pages, level=level)
            demand = toy_machine.demand_of(program_of(150, draw))
            demand = replace(demand, program=checked(demand.program))
            Machine(room.State(start, demand, strategy, reclaim)).replay()
            events, runs = events + len(demand.program.op), runs + 1
    print(f"{runs} runs, {events} events")


if __name__ == "__main__":
    main()
