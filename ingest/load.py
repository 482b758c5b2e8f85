"""A trace into the warehouse: batches of rows are classified, their pages followed, the window cut out, and stored."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from ingest.bundle import MOMENTS
from ingest.calls import Numbers, nullable
from ingest.classify import BY_FLAGS, UNCLASSIFIED, Class, classify, has_names
from ingest.gfp import flags_of, has_numbers
from ingest.ownership import NO_CLASS, PageOwners, class_code, roll_forward
from ingest.trace import ROW, ROW_GROUP, Trace, raw
from ptpool.arrow import pa
from ptpool.compiled import compiled
from ptpool.page_events import next_number
from ptpool.progress import Meter
from ptpool.vocabulary import (
    GFP_BITS,
    KIND_ALLOC,
    KIND_ALLOC_FAILED,
    KIND_FREE,
    KINDS,
    MOVABLE,
    RECLAIMABLE,
)

_KSTACK, _FLAGGED = class_code("kstack", None, None), class_code(*BY_FLAGS)
_AHEAD = 4  # batches read while the first waits for the hash of the files
_ASKS_MOVABLE, _ASKS_RECLAIMABLE = GFP_BITS["__GFP_MOVABLE"], GFP_BITS["__GFP_RECLAIMABLE"]
_MOBILITY = _ASKS_MOVABLE | _ASKS_RECLAIMABLE
_FIRST, _LAST, _PREVIOUS, _BACK, _CPU, _NO_STACK, _NO_NAMES, _BY_FLAGS, _DOUBTFUL = range(9)
_ALWAYS, _FOREVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max

Window = tuple[int | None, int | None]
"""From and to in ns after the first entry of the trace; None: everything on that side."""

Kernel = tuple[str | None, str | None]
"""Release and architecture of the recorded kernel; None: nothing says it."""


class _Known(NamedTuple):
    """What is known about the names of a trace, by number; the last entry is for -1, which is none."""

    gfp_bits: NDArray[np.uint32]
    of_tables: NDArray[np.bool_]  # whether a user page table may have these flags
    stack_numbers: NDArray[np.int32]  # in the warehouse
    classes: NDArray[np.uint8]  # class code of each stack
    nameless: NDArray[np.bool_]  # stacks without any name


class EventStream:
    """Inserts the events of a trace.

    Args:
        connection: the warehouse.
        trace: the trace.
        capture_id: of the capture, which is known when its files have been hashed.
        pages: who owns each page.
        kernel: says what was recorded, asked when the trace has begun.
        numbers: by the kernel's release: ptpool's migratetypes, each at the kernel's for the same type + 128.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        trace: Trace,
        capture_id: "Future[str]",
        pages: PageOwners,
        kernel: Callable[[], Kernel],
        numbers: Callable[[str | None], NDArray[np.int8]],
    ) -> None:
        self._connection, self._trace, self._capture_id, self._pages = connection, trace, capture_id, pages
        self._kernel, self._numbers = kernel, numbers
        self.page_flags: NDArray[np.uint64] | None = None  # by pfn: to be brought forward to the start of the window
        self.outside = dict.fromkeys(MOMENTS, 0)  # events before and after the window
        self.stored = self.stacks_freed = 0
        self.kinds = np.zeros(len(KINDS), np.int64)
        self.migratetypes_unknown = 0
        self._counts = np.array([_FOREVER, -1, _ALWAYS, 0, 0, 0, 0, 0, 0])
        self.frames: dict[tuple[str, ...], int] = {}  # stack to its number in the warehouse
        self.classes: list[Class] = []  # by that number
        self.unknown_gfp: set[str] = set()
        self.numbers_assumed = self.numbers_unknown = (
            0  # GFP masks as numbers of an unknown kernel; of one unknown here
        )
        self._tables_marked = True
        self._known = _Known(
            np.zeros(1, np.uint32),
            np.zeros(1, np.bool_),
            np.full(1, -1, np.int32),
            np.full(1, class_code(*UNCLASSIFIED), np.uint8),
            np.ones(1, np.bool_),
        )
        self._window: Window = (None, None)
        self._numbering = Numbers(*(next_number(connection, table) for table in ("task", "call")))

    def read(self, meter: Meter, window: Window = (None, None)) -> None:
        """Read the trace to its end and keep the events in the window.

        Raises:
            UsageError: the trace is damaged (without --best-effort).
        """
        self._window = window
        read, numbers = 0, None
        with ThreadPoolExecutor(1) as storer:  # stores some batches while the next is read
            storing: deque[Future[None]] = deque()
            for rows in self._trace.batches():
                read += len(rows)
                meter(self._trace.consumed(), f"{read:,} events")
                if len(rows):
                    self._learn()
                    if numbers is None:
                        numbers = self._numbers(self._kernel()[0])
                    if len(storing) == _AHEAD:
                        storing.popleft().result()
                    mine = raw(rows).copy().view(ROW)
                    self.migratetypes_unknown += _renumber(mine["migratetype"], numbers)
                    storing.append(storer.submit(self._insert, mine, self._known))
            while storing:
                storing.popleft().result()
        if self.stored:
            insert_arrow(self._connection, "task", self._numbering.tasks(self._trace), self._capture_id.result())
            calls = self._numbering.calls(self._trace, self._known.gfp_bits)
            insert_arrow(self._connection, "call", calls, self._capture_id.result())

    @property
    def edges(self) -> tuple[int | None, int | None]:
        """The window on the capture's clock; None: everything on that side."""
        since, until = self._window
        origin = self._trace.found.first_ns
        return None if since is None else origin + since, None if until is None else origin + until

    def _learn(self) -> None:
        """Take in the new names of the trace."""
        known = self._known
        gfps = self._trace.gfps[len(known.gfp_bits) - 1 :]
        stacks = self._trace.stacks[len(known.classes) - 1 :]
        numbers = [self.stack_id(frames) for frames in stacks]
        bits, of_tables = self._decoded(gfps) if gfps else ([], [])
        self._known = _Known(
            _before_last(known.gfp_bits, bits),
            _before_last(known.of_tables, of_tables),
            _before_last(known.stack_numbers, numbers),
            _before_last(known.classes, [class_code(*self.classes[number]) for number in numbers]),
            _before_last(known.nameless, [not has_names(frames) for frames in stacks]),
        )

    def _decoded(self, gfps: Sequence[str]) -> tuple[list[int], list[bool]]:
        """Bits of GFP texts, and whether they may be those of a page table."""
        release, arch = self._kernel()
        flags = flags_of(release, arch)
        self._tables_marked = bool(flags.table)
        bits = []
        for text in gfps:
            mask, unknown = flags.decode(text)
            bits.append(mask & 0xFFFFFFFF)
            self.unknown_gfp.update(unknown)
            if flags.numbers is None:
                self.numbers_assumed += has_numbers(text)
            elif not flags.numbers:
                self.numbers_unknown += has_numbers(text)
        return bits, [flags.is_table(mask) for mask in bits]

    def stack_id(self, frames: tuple[str, ...]) -> int:
        """Number of a stack in the warehouse."""
        if frames not in self.frames:
            self.frames[frames] = len(self.frames)
            self.classes.append(classify(frames))
        return self.frames[frames]

    def _insert(self, rows: NDArray[np.void], known: _Known) -> None:
        by_stack = np.empty(len(rows), np.uint8)
        _classes(rows, known, by_stack)
        since, until = self.edges
        start, stop = _ALWAYS if since is None else since, _FOREVER if until is None else until
        codes = self._pages.follow(rows, by_stack, start, stop)
        self.stacks_freed += _own_stacks(rows, by_stack, codes, start, stop)
        if since is not None or until is not None:
            before, after = rows["ts"] < start, rows["ts"] > stop
            if self.page_flags is not None:
                roll_forward(self.page_flags, raw(rows)[before].view(ROW), codes[before])
            self.outside["before"] += int(before.sum())
            self.outside["after"] += int(after.sum())
            inside = ~(before | after)
            rows, codes = raw(rows)[inside].view(ROW), codes[inside]
            if not len(rows):
                return
        _count(rows, known, self._counts, self.kinds)
        task, call = self._numbering.number(rows, known.stack_numbers, codes)
        events = pa.table(
            {
                "seq": np.arange(self.stored, self.stored + len(rows)),
                "ts_ns": np.ascontiguousarray(rows["ts"]),
                "cpu": np.ascontiguousarray(rows["cpu"]),
                "pfn": nullable(rows["pfn"]),
                "task_id": task,
                "call_id": call,
            }
        )
        insert_arrow(self._connection, "event", pa.Table.from_batches(events.to_batches(ROW_GROUP)))
        self.stored += len(rows)

    @property
    def first_ns(self) -> int:
        """Time of the first event stored."""
        return int(self._counts[_FIRST])

    @property
    def last_ns(self) -> int:
        """Time of the last one."""
        return int(self._counts[_LAST])

    @property
    def highest_cpu(self) -> int:
        """The highest CPU seen."""
        return int(self._counts[_CPU])

    @property
    def without_stack(self) -> int:
        """Allocations without a stack."""
        return int(self._counts[_NO_STACK])

    @property
    def migratetypes_doubtful(self) -> int:
        """Requests for movable memory that count as Reclaimable, or the reverse."""
        return int(self._counts[_DOUBTFUL])

    @property
    def counts(self) -> dict[str, int]:
        """Counts of the events stored, by name in ingest/quality.toml."""
        _, _, _, back, _, without_stack, without_names, by_flags, _ = self._counts.tolist()
        return {
            "classified_by_flags": by_flags,
            "kernel_stacks_freed": self.stacks_freed,
            "failed_allocations": int(self.kinds[KIND_ALLOC_FAILED]),
            "events_back_in_time": back,
            "stacks_without_names": without_names,
            "page_tables_unmarked": 0 if self._tables_marked else without_stack + without_names,
        }

    @property
    def totals(self) -> dict[str, int]:
        """Totals that shares are taken of (ingest/quality.toml)."""
        return {
            "allocations": int(self.kinds[KIND_ALLOC] + self.kinds[KIND_ALLOC_FAILED]),
            "frees": int(self.kinds[KIND_FREE]),
        }


def insert_arrow(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, *first: str) -> None:
    """Insert rows in the order of their columns, behind texts that all of them have."""
    columns = ", ".join([*(f"'{text}'" for text in first), *rows.column_names])
    connection.from_arrow(rows).project(columns).insert_into(table)


def _before_last(known: NDArray[Any], more: Sequence[int]) -> NDArray[Any]:
    """The values with more of them in front of the last one."""
    return np.concatenate([known[:-1], np.array(more, known.dtype), known[-1:]]) if more else known


def _renumber(migratetype: NDArray[np.int8], numbers: NDArray[np.int8]) -> int:
    """Number migratetypes as ptpool does; how many are none that it knows, and become -1."""
    before = migratetype >= 0
    migratetype[:] = numbers[migratetype.astype(np.int16) + 128]
    return int((before & (migratetype < 0)).sum())


@compiled
def _classes(rows: Any, known: Any, codes: Any) -> None:
    """The class of each event by its stack, or, where that has no names, by its flags."""
    for row in range(rows.shape[0]):
        codes[row] = known.classes[rows[row].stack]
        if _is_bare(rows[row], known) and _is_table(rows[row], known):
            codes[row] = _FLAGGED


@compiled
def _is_bare(row: Any, known: Any) -> Any:
    """Whether it is an allocation of which no function is known."""
    return known.nameless[row.stack] and row.kind in (KIND_ALLOC, KIND_ALLOC_FAILED)


@compiled
def _is_table(row: Any, known: Any) -> Any:
    """Whether it may be a user page table, by its flags."""
    return row.order == 0 and row.migratetype == 0 and known.of_tables[row.gfp]


@compiled
def _own_stacks(rows: Any, by_stack: Any, codes: Any, since: int, until: int) -> int:
    """Give the frees of kernel stacks never seen allocated their class; how many lie in the window."""
    freed = 0
    for row in range(rows.shape[0]):
        if codes[row] == NO_CLASS and by_stack[row] == _KSTACK and rows[row].kind == KIND_FREE:
            codes[row] = _KSTACK
            freed += since <= rows[row].ts <= until
    return freed


@compiled
def _count(rows: Any, known: Any, counts: Any, kinds: Any) -> None:
    for row in range(rows.shape[0]):
        ts = rows[row].ts
        counts[_BACK] += ts < counts[_PREVIOUS]
        counts[_PREVIOUS] = ts
        counts[_FIRST] = min(counts[_FIRST], ts)
        counts[_LAST] = max(counts[_LAST], ts)
        counts[_CPU] = max(counts[_CPU], rows[row].cpu)
        kinds[rows[row].kind] += 1
        if _is_bare(rows[row], known):
            counts[_NO_STACK if rows[row].stack < 0 else _NO_NAMES] += 1
            counts[_BY_FLAGS] += _is_table(rows[row], known)
        asked = known.gfp_bits[rows[row].gfp] & _MOBILITY  # include/linux/gfp.h:gfp_migratetype()
        if asked == _ASKS_MOVABLE:
            counts[_DOUBTFUL] += rows[row].migratetype == RECLAIMABLE
        elif asked == _ASKS_RECLAIMABLE:
            counts[_DOUBTFUL] += rows[row].migratetype == MOVABLE
