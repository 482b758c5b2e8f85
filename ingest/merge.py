"""Streams of rows merged by time: the CPUs of one recording, or the files that it was written to.

Memory holds one batch of each stream. Rows of one stream keep their order, even where time stamps go back; among equal
time stamps, the stream that was opened first comes first.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.trace import BATCH, ROW, raw

Rows = NDArray[Any]
Source = TypeVar("Source")

_NONE = np.zeros(0, np.int64)


def merged(waiting: deque[tuple[int, Source]], read: Callable[[Source], Iterator[Rows]]) -> Iterator[Rows]:
    """Merge streams by the field ``ts`` of their rows.

    Args:
        waiting: the earliest time of each stream (ns), and the stream; in order of that time. A stream is removed and
            opened when everything before it was yielded: streams that follow each other are open one by one. A stream
            may remove its successor and go on with it.
        read: opens a stream; a batch is overwritten when the next one is asked for.

    Yields:
        Batches of about `BATCH` rows, or those of the only stream as they are; empty ones, to show progress.
    """
    streams: list[_Stream] = []
    ready: list[Rows] = []
    count = 0
    while True:
        for stream in streams:
            while not len(stream.rows) and stream.more():
                yield stream.rows[:0]
        streams = [stream for stream in streams if len(stream.rows)]
        taken = _earliest(streams, waiting[0][0] if waiting else None)
        if taken is not None and len(streams) == 1 and not ready:
            yield taken
        elif taken is not None:
            ready.append(raw(taken).copy())
            count += len(taken)
        elif waiting:
            streams.append(_Stream(read(waiting.popleft()[1])))
        if ready and (count >= BATCH or not streams):
            yield np.concatenate(ready).view(ROW)
            ready, count = [], 0
        if not streams and not waiting:
            return


class _Stream:
    """The rows of a stream that were read and not yet yielded."""

    def __init__(self, batches: Iterator[Rows]) -> None:
        self._batches = batches
        self.rows: Rows = _NONE
        self.times: NDArray[np.int64] = _NONE  # of the rows; never going back
        self._last = np.iinfo(np.int64).min

    def more(self) -> bool:
        """Read a batch; False: there is none."""
        rows = next(self._batches, None)
        if rows is None:
            return False
        self.rows = rows
        if len(rows):
            self.times = np.maximum.accumulate(np.maximum(rows["ts"], self._last))
            self._last = self.times[-1]
        return True

    def take(self, count: int) -> Rows:
        """Take the first rows off."""
        taken, self.rows, self.times = self.rows[:count], self.rows[count:], self.times[count:]
        return taken


def _earliest(streams: list[_Stream], before: int | None) -> Rows | None:
    """Take the rows that no later row can precede, in order of time; None: there are none.

    Args:
        streams: each holds at least one row.
        before: only rows of an earlier time (ns); None: any.
    """
    if not streams:
        return None
    ends = [int(stream.times[-1]) for stream in streams]
    end = min(ends)
    limiting = ends.index(end)  # it may bring more rows of this time, which come before those of later streams
    if before is not None and before <= end:
        end, limiting = before, -1
    counts = [
        int(np.searchsorted(stream.times, end, "right" if place <= limiting else "left"))
        for place, stream in enumerate(streams)
    ]
    if not any(counts):
        return None
    times = [stream.times[:count] for stream, count in zip(streams, counts, strict=True) if count]
    rows = [stream.take(count) for stream, count in zip(streams, counts, strict=True) if count]
    if len(rows) == 1:
        return rows[0]
    order = np.argsort(np.concatenate(times), kind="stable")  # merges sorted runs quickly
    return np.concatenate([raw(piece) for piece in rows])[order].view(ROW)
