"""Streams of rows merged by time: the CPUs of one recording, or the files that it was written to.

Memory holds one batch of each stream. Rows of a stream stay in its own order, even where its time stamps go back; of
equal time stamps, those of the stream that was opened first come first.
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
        waiting: when each stream begins at the earliest (ns), and what it is; by that time. A stream is taken off and
            opened when everything before it was given out, so streams that follow each other are open one by one.
            A stream may take off what follows it and go on with that.
        read: opens a stream; its batches may be used again after the next one was asked for.

    Yields:
        Batches of about `BATCH` rows, or those of the only stream as they are; empty ones, so that progress is seen.
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
    """What was read of a stream and not yet given out."""

    def __init__(self, batches: Iterator[Rows]) -> None:
        self._batches = batches
        self.rows: Rows = _NONE
        self.times: NDArray[np.int64] = _NONE  # of the rows; never going back
        self._last = np.iinfo(np.int64).min

    def more(self) -> bool:
        """Read a batch; whether there was one."""
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
    """Take the rows that nothing still to come can precede, in order of time; None: there are none.

    Args:
        streams: each holds at least one row.
        before: only rows of an earlier time (ns); None: any.
    """
    if not streams:
        return None
    ends = [int(stream.times[-1]) for stream in streams]
    end = min(ends)
    limiting = ends.index(end)  # of its time, a later stream's rows have to wait for those that it may still bring
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
    order = np.argsort(np.concatenate(times), kind="stable")  # which merges runs that are in order already
    return np.concatenate([raw(piece) for piece in rows])[order].view(ROW)
