"""A demand as a program for the compiled loop: what each recorded event asks for, as flat arrays."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled

ALLOC, FREE_EVENT, OUTSIDE_CHANGE, MOVE, RECLAIMED = range(5)
"""MOVE: a page's data goes by the next of the names above all recorded pages from now on (replay.demand.unseen).
RECLAIMED: a free by reclaim. Where that is modelled, a movable page stays in use without a name until it is taken."""


class Program(NamedTuple):
    """The recorded events, resolved to what a replay has to do. Shape ``N`` events each."""

    op: NDArray[np.uint8]
    ts: NDArray[np.int64]
    pfn: NDArray[np.int64]
    order: NDArray[np.int8]
    migratetype: NDArray[np.uint8]
    context: NDArray[np.uint16]
    consumer: NDArray[np.uint8]
    cpu: NDArray[np.int16]
    task: NDArray[np.int32]  # which task, counted from 0


def with_events(program: Program, ts: NDArray[np.int64], **columns: Any) -> Program:
    """A program with more events among its own, each after those of the same time.

    Args:
        program: in order of time.
        ts: (K,) times, ascending, ns.
        columns: of the new events, each (K,) or the same for all; 0 where not given.
    """
    at = np.searchsorted(np.maximum.accumulate(program.ts), ts, side="right")
    new = columns | {"ts": ts}
    return Program(*(np.insert(column, at, new.get(name, 0)) for name, column in program._asdict().items()))


@compiled
def first_seen(program, seen):
    """Fill in what the first event on each page does: 1 allocates it, 0 frees or moves it; others stay as they are."""
    for i in range(len(program.op) - 1, -1, -1):
        if program.op[i] != OUTSIDE_CHANGE and program.pfn[i] < len(seen):
            for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
                seen[page] = program.op[i] == ALLOC
    return seen
