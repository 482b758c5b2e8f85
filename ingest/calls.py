"""Numbers for the tasks and the calls of a trace, so that an event is a row of a few numbers: tables task and call."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.ownership import class_names
from ingest.spans import doubled, enter, mixed, new_names, new_spans
from ingest.trace import Trace, raw
from ptpool.arrow import pa
from ptpool.compiled import compiled
from ptpool.vocabulary import KINDS

_SLOTS = 1 << 12
_TASK, _CALL = range(2)


class Numbers:
    """Numbers the tasks and calls of batches of events, in order of first appearance.

    Args:
        first_task: number of the first task.
        first_call: number of the first call.
    """

    def __init__(self, first_task: int, first_call: int) -> None:
        self._first = first_task, first_call
        self._tables = [new_names(_SLOTS), new_names(_SLOTS)]
        self._named = np.zeros(2, np.int64)
        self._tasks: list[NDArray[Any]] = []  # pid and comm
        self._calls: list[NDArray[Any]] = []  # the first row of each
        self._stacks_and_codes: list[NDArray[Any]] = []

    def number(
        self, rows: NDArray[np.void], stacks: NDArray[np.int32], codes: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Task and call of each event.

        Args:
            rows: events (ingest.trace.ROW).
            stacks: numbers of stacks in the warehouse, by the trace's; the last is that of none, -1.
            codes: class of each.
        """
        task, call = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
        done = 0
        while done < len(rows):
            known = self._named.tolist()
            done = _number(rows, stacks, codes, *self._tables, self._named, task, call, done)
            for which, kept in ((_TASK, self._tasks), (_CALL, self._calls)):
                if self._named[which] > known[which]:
                    places = [place for place, _ in new_spans(self._tables[which], known[which])]
                    kept.append(raw(rows)[places].view(rows.dtype))
                    if which == _CALL:
                        self._stacks_and_codes.append(np.stack([stacks[rows["stack"][places]], codes[places]]))
                    if _is_full(self._tables[which], int(self._named[which])):
                        self._tables[which] = doubled(self._tables[which])
        return task + np.int32(self._first[_TASK]), call + np.int32(self._first[_CALL])

    def tasks(self, trace: Trace) -> pa.Table:
        """Rows of table task, without their capture."""
        rows = np.concatenate(self._tasks)
        return pa.table(
            {
                "task_id": np.arange(len(rows)) + self._first[_TASK],
                "pid": np.ascontiguousarray(rows["pid"]),
                "comm": _texts(rows["comm"], trace.comms),
            }
        )

    def calls(self, trace: Trace, gfp_bits: NDArray[np.uint32]) -> pa.Table:
        """Rows of table call, without their capture; `gfp_bits` by number of the flags."""
        rows = np.concatenate(self._calls)
        stacks, codes = np.concatenate(self._stacks_and_codes, axis=1)
        consumer, level, role = zip(*class_names(), strict=True)
        return pa.table(
            {
                "call_id": np.arange(len(rows)) + self._first[_CALL],
                "kind": _texts(rows["kind"], KINDS),
                "page_order": np.ascontiguousarray(rows["order"]),
                "migratetype": nullable(rows["migratetype"]),
                "gfp_flags": pa.array(gfp_bits[rows["gfp"]], mask=rows["gfp"] < 0),
                "gfp_text": _texts(rows["gfp"], trace.gfps),
                "stack_id": nullable(stacks),
                "consumer": _texts(codes, consumer),
                "level": _texts(codes, level),
                "role": _texts(codes, role),
            }
        )


@compiled
def _number(
    rows: Any, stacks: Any, codes: Any, tasks: Any, calls: Any, named: Any, task: Any, call: Any, row: int
) -> Any:
    """Number rows until a table is full; returns the row to go on with."""
    while row < rows.shape[0] and 2 * named[_TASK] < tasks.shape[0] and 2 * named[_CALL] < calls.shape[0]:
        key = mixed(np.int64(rows[row].pid) << 32 | np.int64(rows[row].comm) & 0xFFFFFFFF, 0)
        task[row] = enter(tasks, named, _TASK, key, row, row)
        what = np.int64(rows[row].kind) | np.int64(rows[row].order) << 8 | np.int64(codes[row]) << 16
        what |= (np.int64(rows[row].migratetype) & 0xFF) << 24
        key = mixed(np.int64(rows[row].gfp) << 32 | np.int64(stacks[rows[row].stack]) & 0xFFFFFFFF, what)
        call[row] = enter(calls, named, _CALL, key, row, row)
        row += 1
    return row


def _is_full(table: NDArray[np.void], names: int) -> bool:
    return 2 * names >= len(table)


def _texts(codes: NDArray[Any], values: Sequence[str | None]) -> pa.Array:
    """Texts by number; -1: none."""
    return pa.array([values[code] if code >= 0 else None for code in codes.tolist()], pa.string())


def nullable(values: NDArray[Any]) -> pa.Array:
    """Numbers; those below 0 are none."""
    none = values < 0
    return pa.array(np.ascontiguousarray(values), mask=none if none.any() else None)
