"""What follows from all records together: events in order of time with the names of their tasks, and losses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.formats.perf_data import records
from ptpool.compiled import compiled


def losses(lost: NDArray[np.int64]) -> dict[int | None, int]:
    """Events lost by CPU (None: on an unknown one).

    A record that finds no room is counted for its buffer (LOST, written when there is room again) and for its event
    (read_format's LOST, which perf writes at the end as LOST_SAMPLES): kernel/events/ring_buffer.c. The larger count
    includes all of them.
    """
    by_cpu = lost.max(axis=1)
    by_cpu[0] = max(0, int(lost.sum(axis=0).max()) - int(by_cpu[1:].sum()))
    return {cpu - 1 if cpu else None: int(by_cpu[cpu]) for cpu in np.flatnonzero(by_cpu).tolist()}


@compiled
def copy_in_order(rows: Any, order: Any, count: int, out: Any, comm_of: Any) -> int:
    """Copy events in order of time, with the name that their task has at that time; returns how many.

    Args:
        rows: in the order of the file.
        order: places in `rows` by time.
        count: how many places of it are due.
        out: where events go.
        comm_of: number of the name by task id; -1: none.
    """
    written = 0
    tasks = comm_of.shape[0]
    for turn in range(count):
        place = order[turn]
        tid = rows[place].pid
        known = 0 <= tid < tasks
        kind = rows[place].kind
        if kind == records.KIND_COMM:
            if known:
                comm_of[tid] = rows[place].comm
        elif kind == records.KIND_FORK:
            parent = rows[place].pfn
            if known and parent != tid:
                comm_of[tid] = comm_of[parent] if 0 <= parent < tasks else -1
        else:
            out[written] = rows[place]
            out[written].comm = comm_of[tid] if known else -1
            written += 1
    return written
