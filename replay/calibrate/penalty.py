"""What translation costs: the same random loads in small and in huge pages, by working set."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ptpool.text import size as size_of
from replay.calibrate.chase import LINE, chase
from replay.calibrate.estimate import Measured, Value, value
from replay.calibrate.regions import ENOUGH, Kind, kinds, largest, region

REPETITIONS = 21
SECONDS, FEWEST = 30, 9
"""No repetition starts after this many seconds once there are this many: other work on the machine slows them down."""

BURSTS = 8
"""Each repetition is the fastest of so many bursts: other work on the machine can only slow a burst down."""

LOADS = 1 << 14
"""Loads of a burst, about a millisecond: short enough to fall between two interruptions."""

SMALLEST = 1 << 17
"""Bytes of the smallest working set."""

Take = Callable[[int, int], float]
"""Measures one burst: ns per load in a working set (bytes) of the i-th kind of page."""


def measure(memory: int, step: Callable[[float], None]) -> Measured:
    """Measure all working sets up to `memory` bytes in every page size that the machine offers.

    Args:
        memory: bytes of the largest working set: a power of two.
        step: called with the share that is done.
    """
    remarks: list[str] = []
    regions: list[tuple[Kind, NDArray[np.uint64]]] = []
    for kind in kinds():
        size = 1 << max(largest(kind, memory).bit_length() - 1, 0)
        if any(kind.page == there.page for there, _ in regions) or size < SMALLEST:
            continue
        try:
            words, share = region(kind, size)
        except OSError as error:
            remarks.append(f"pages of {size_of(kind.page)} by {kind.how}: {error.strerror}")
            continue
        if share < ENOUGH:
            got = "in huge pages" if kind.how == "small" else "in smaller pages"
            remarks.append(
                f"{1 - share:.0%} of the memory wanted in pages of {size_of(kind.page)} came {got}: left out"
            )
        else:
            regions.append((kind, words))
    if len(regions) < 2:
        remarks.append("no two page sizes to compare: the penalty of translation was not measured")
        return Measured([], remarks)
    smallest = SMALLEST.bit_length() - 1
    sizes = [[1 << power for power in range(smallest, words.nbytes.bit_length())] for _, words in regions]
    state = np.uint64(time.perf_counter_ns())

    def take(working_set: int, i: int) -> float:
        nonlocal state
        shift = np.uint64(64 - (working_set // LINE).bit_length() + 1)
        lines = working_set // LINE
        state = np.uint64(chase(regions[i][1], shift, 2 * lines if lines <= LOADS else LOADS // 4, state))  # warm
        begun = time.perf_counter_ns()
        state = np.uint64(chase(regions[i][1], shift, LOADS, state))
        return (time.perf_counter_ns() - begun) / LOADS

    take(SMALLEST, 0)  # compiles it
    values, done = curve([kind.page for kind, _ in regions], sizes, take, step)
    if done < REPETITIONS:
        remarks.append(f"only {done} of {REPETITIONS} repetitions in {SECONDS} s: other work was running")
    return Measured(values, remarks)


def curve(
    pages: Sequence[int], sizes: Sequence[Sequence[int]], take: Take, step: Callable[[float], None]
) -> tuple[list[Value], int]:
    """Repeat the whole list of measurements, so a disturbance affects all alike; compare neighbours in time.

    A repetition of a working set is the fastest of some bursts in each kind of page, the kinds in turn.

    Args:
        pages: bytes of a page by kind, small pages first.
        sizes: working sets by kind.
        take: measures one burst.
        step: called with the share that is done.

    Returns:
        Loads, and how much longer they take in small pages; and the number of repetitions.
    """
    taken: dict[tuple[int, int], list[float]] = {(w, i): [] for i, own in enumerate(sizes) for w in own}
    end = time.monotonic() + SECONDS
    for repetition in range(REPETITIONS):
        for working_set in sorted({w for own in sizes for w in own}):
            present = [i for i, own in enumerate(sizes) if working_set in own]
            bursts = [[take(working_set, i) for i in present] for _ in range(BURSTS)]
            for place, i in enumerate(present):
                taken[working_set, i].append(min(burst[place] for burst in bursts))
        step((repetition + 1) / REPETITIONS)
        if repetition + 1 >= FEWEST and time.monotonic() > end:
            break
    values = []
    for (working_set, i), ns in sorted(taken.items()):
        values.append(value("load", "ns", ns, page=pages[i], working_set=working_set))
        small = taken.get((working_set, 0), [])
        if i and small:
            slower = [100 * (s / n - 1) for s, n in zip(small, ns, strict=True)]
            values.append(value("penalty", "%", slower, page=pages[i], working_set=working_set))
    return values, repetition + 1
