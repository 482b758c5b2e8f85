"""perf.data as a `Trace`: the walk over its records, then events in order of time, with names of tasks and functions.

The records of one CPU are in order of time, those of several CPUs are not. perf writes a FINISHED_ROUND when it has
read all CPUs once; after the second one nothing can follow that is older than the first
(tools/perf/util/ordered-events.c). Events that are not due wait, up to MOST_WAITING of them; then the older half goes
on, and events that come too late are counted.
"""

import ctypes
import sys
from collections.abc import Generator, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.formats.cursor import Cursor
from ingest.formats.perf_data import records
from ingest.formats.perf_data.attributes import Layouts
from ingest.formats.perf_data.header import (
    DAMAGED,
    MAGICS,
    TRACING_DATA,
    Attribute,
    Header,
    facts,
    parse_attribute,
    read_header,
)
from ingest.formats.perf_data.layout import COLUMNS, TYPE_TRACEPOINT
from ingest.formats.perf_data.mapped import Mapped
from ingest.formats.perf_data.tracing_data import UNKNOWN, EventTable, formats_in
from ingest.snapshots.kallsyms import NONE, read_symbols
from ingest.source import BLOCK
from ingest.spans import doubled, new_names, new_spans
from ingest.trace import BATCH, MAX_CPUS, MAX_TASKS, ROW, Context, Findings, raw
from ptpool.compiled import compiled
from ptpool.errors import UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STRETCH = 16 << 20  # bytes read between two reports of progress
MOST_WAITING = 1 << 24  # events that wait for their turn: 620 MB
KERNEL_MAP = "[kernel.kallsyms]"  # followed by the name of the symbol whose address the record has

_COUNTED = {
    "damaged_records": records.C_DAMAGED,
    "other_events": records.C_OTHER,
    "batched_frees_skipped": records.C_BATCHED,
    "user_frames_dropped": records.C_USER_FRAMES,
    "events_without_cpu": records.C_NO_CPU,
    "events_not_sampled": records.C_SKIPPED,
    "throttled": records.C_THROTTLED,
}


class PerfTrace:
    """Reads perf.data files that are parts of one capture, one after the other (a `Trace`)."""

    def __init__(self, paths: Sequence[Path], context: Context) -> None:
        self.comms: list[str] = []
        self.gfps: list[str] = []
        self.stacks: list[tuple[str, ...]] = []
        self.found = Findings(context.best_effort)
        self._paths = paths
        self._symbols = NONE if context.kallsyms is None else read_symbols(context.kallsyms)
        self._here = NONE  # the symbols where the kernel of the present file lies
        self._file: Mapped | None = None
        self._read = self._at = 0  # bytes of the files before the present one; of the present one
        self._began = -1
        self._header = Header("little", True, 0, 0)
        self._events: EventTable | None = None
        self._layouts = Layouts()
        self._zstd: zstd.ZstdDecompressor | None = None  # None: its stream is damaged
        self._carry = b""  # the start of a compressed record
        self._tasks = np.full(MAX_TASKS, -1, np.int32)  # number of the comm, by task
        self._unnamed: dict[int, int] = {}  # comm of a task that was never named
        self._out = np.zeros(BATCH, ROW)
        counts = np.zeros(records.COUNTS, np.int64)
        self._walk = records.Walk(
            rows=np.zeros(BATCH, ROW),
            comms=new_names(1 << 12),
            gfps=new_names(1 << 10),
            stacks=new_names(1 << 14),
            ids=new_names(1 << 4),
            layouts=np.zeros((1, COLUMNS), np.int64),
            event_of=np.zeros(1, np.int16),
            events=np.zeros((1, 1), np.int64),
            lost=np.zeros((MAX_CPUS + 1, 2), np.int64),
            counts=counts,
        )

    def batches(self) -> Iterator[NDArray[Any]]:
        """See `Trace`."""
        for path in self._paths:
            self._file = file = Mapped(path, MAGICS)
            self._begin(file)
            stopped = yield from self._region(file.address + self._header.start, file.address + self._header.end)
            self._end(file, stopped - file.address)
            yield from self._settle(int(self._walk.counts[records.C_ROWS]))
            self._check_order(path)
            self._read += path.stat().st_size
            self.close()

    def consumed(self) -> int:
        """See `Trace`."""
        return self._read + (self._file.consumed(self._at) if self._file else 0)

    def close(self) -> None:
        """See `Trace`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # ------------------------------------------------------------------------------------------------- file by file

    def _begin(self, file: Mapped) -> None:
        if file.damage:
            self.found.damage(
                "damaged_compression", f"{file.path}: the compressed data is damaged or cut off ({file.damage})"
            )
        self._at, self._events, self._carry, self._zstd = 0, None, b"", zstd.ZstdDecompressor()
        self._here = self._symbols
        self._walk.counts[[records.C_LATEST, records.C_ROUND, records.C_DUE]] = -1
        self._walk.counts[records.C_FIRST_NS] = -1
        self._walk.lost[:] = 0
        self._header = header = read_header(file)
        self._layouts = Layouts()
        no_sample_fits = np.full((1, COLUMNS), records.LARGEST + 1, np.int64)  # until an attribute describes its layout
        self._walk = self._walk._replace(layouts=no_sample_fits, ids=self._layouts.ids)
        self._use_events(None)
        if header.pipe:
            return
        if not header.attributes:
            raise UsageError(f"{file.path}: header: it lists no events", DAMAGED)
        for attribute in header.attributes:
            self._add(attribute, f"{file.path}: header")
        if TRACING_DATA in header.features:
            where = f"{file.path}: descriptions of events"
            self._use_events(EventTable(formats_in(header.features[TRACING_DATA], where), where))
        elif any(attribute.type == TYPE_TRACEPOINT for attribute in header.attributes):
            if header.finished:
                self.found.damage("cut_off", f"{file.path}: cut off: the descriptions of its events are missing")
            self._use_events(_events_next_to(file.path))
        if not header.finished:
            self.found.counts["unfinished"] += 1
        if header.end > file.size:
            self.found.damage("cut_off", f"{file.path}: cut off: it has {file.size:,} of at least {header.end:,} bytes")
            header.end = file.size

    def _end(self, file: Mapped, stopped: int) -> None:
        """Count what was read up to byte `stopped`, and the losses."""
        header, found, counts = self._header, self.found, self._walk.counts
        if (stopped < header.end or self._carry) and header.finished:
            found.damage("cut_off", f"{file.path}: no whole record at byte {stopped}: the rest is not read")
        for name, which in _COUNTED.items():
            if counts[which]:
                found.counts[name] = int(counts[which])
        for cpu, events in _losses(self._walk.lost).items():
            found.lose(cpu, events)
        for fact in facts(header.features, header.attributes, header.order, f"{file.path}: features"):
            found.comment(fact)

    def _check_order(self, path: Path) -> None:
        first = int(self._walk.counts[records.C_FIRST_NS])
        if 0 <= first < self._began:
            raise UsageError(
                f"{path}: begins {(self._began - first) / 1e9:.6f} s before the file that was named before it",
                "name the parts of a trace in order of time; import different traces one by one",
            )
        self._began = max(first, self._began)

    def _add(self, attribute: Attribute, where: str) -> None:
        """Make an attribute known to the walk."""
        self._layouts.add(attribute, where)
        self._walk = self._walk._replace(layouts=self._layouts.rows, ids=self._layouts.ids)

    def _use_events(self, events: EventTable | None) -> None:
        self._events = events = events or EventTable((), "")
        self._walk = self._walk._replace(event_of=events.of, events=events.rows)

    # ---------------------------------------------------------------------------------------------- record by record

    def _region(self, at: int, end: int) -> Generator[NDArray[Any], None, int]:
        """Read the records between two addresses; returns the address of the first that was not read."""
        swap = self._header.order == "big"
        file = self._file
        assert file is not None
        stop = at
        while True:
            stop = min(max(stop, at + STRETCH), end)
            events = self._events
            number = events.number if events else (0, 2)
            at, why = records.walk_records(self._walk, at, stop, self._layouts.id_at, *number, swap)
            self._take_names()
            if self._walk.counts[records.C_DAMAGED] and not self.found.best_effort:
                place = int(self._walk.counts[records.C_DAMAGED_AT])
                self.found.damage("damaged_records", self._what_is_wrong(place))
            if why == records.FULL:
                yield from self._make_room()
            elif why == records.SPECIAL:
                at = yield from self._special(at, end)
                stop = at
            elif why == records.BROKEN or stop == end:
                return at
            else:
                self._at = at - file.address
                file.drop(self._at)
                yield self._out[:0]
                stop = at

    def _what_is_wrong(self, place: int) -> str:
        file = self._file
        assert file is not None
        inside = file.address <= place < file.address + file.size
        where = f"{file.path}: record at byte {place - file.address}" if inside else f"{file.path}: a compressed record"
        described = self._events is not None and bool((self._events.of != UNKNOWN).any())
        return f"{where}: {'not what it claims to be' if described else 'no description of its event comes before it'}"

    def _special(self, at: int, end: int) -> Generator[NDArray[Any], None, int]:
        """Read a record that the walk leaves alone; returns the address after it and its data."""
        header, file = self._header, self._file
        assert file is not None
        where = f"{file.path}: record at byte {at - file.address}"
        head = Cursor(BytesIO(ctypes.string_at(at, 8)), where, header.order)
        kind, _, size = head.number(4), head.number(2), head.number(2)
        data = ctypes.string_at(at, size)
        body = Cursor(BytesIO(data[8:]), where, header.order)
        behind = 0
        if kind in (records.AUXTRACE, records.HEADER_TRACING_DATA):
            behind = body.number(8 if kind == records.AUXTRACE else 4)
            if behind > end - at - size:
                raise UsageError(f"{where}: the {behind:,} bytes after it are missing", DAMAGED)
        if kind in (records.COMPRESSED, records.COMPRESSED2):
            payload = body.bytes(body.number(8) if kind == records.COMPRESSED2 else size - 8)
            yield from self._decompress(payload, where)
        elif kind in (records.MMAP, records.MMAP2):
            self._place_kernel(data, kind)
        elif kind == records.HEADER_ATTR:
            body.bytes(4)
            length = body.number(4)
            attribute = parse_attribute(data[8 : 8 + length], data[8 + length :], header.order, where)
            header.attributes.append(attribute)
            self._add(attribute, where)
        elif kind == records.HEADER_FEATURE:
            header.features[body.number(8)] = data[16:]
        elif kind == records.HEADER_TRACING_DATA:
            self._use_events(EventTable(formats_in(ctypes.string_at(at + size, behind), where), where))
        return at + size + behind

    def _decompress(self, payload: bytes, where: str) -> Iterator[NDArray[Any]]:
        """Read the records in the next part of the compressed stream; the last one may end in the part after it."""
        while self._zstd is not None and (payload or not self._zstd.needs_input):
            try:
                if self._zstd.eof:
                    self._zstd = zstd.ZstdDecompressor()
                data = self._carry + self._zstd.decompress(payload, BLOCK)
            except zstd.ZstdError as error:
                self._zstd, self._carry = None, b""
                self.found.damage("damaged_compression", f"{where}: the compressed data is damaged ({error})")
                return
            payload = self._zstd.unused_data if self._zstd.eof else b""
            at = np.frombuffer(data, np.uint8).ctypes.data
            stopped = yield from self._region(at, at + len(data))
            self._carry = data[stopped - at :]
            if len(self._carry) > records.LARGEST:
                self._zstd, self._carry = None, b""
                self.found.damage(
                    "damaged_records", f"{where}: no record where one should begin in its decompressed data"
                )

    def _place_kernel(self, data: bytes, kind: int) -> None:
        """Move the symbols to where the recorded kernel lay (tools/perf/util/machine.c: reference symbols)."""
        name = data[72 if kind == records.MMAP2 else 40 :].split(b"\0")[0].decode("utf-8", "replace")
        if name.startswith(KERNEL_MAP):
            start = int.from_bytes(data[32:40], self._header.order)
            self._here = self._symbols.moved(name.removeprefix(KERNEL_MAP), start)

    # ------------------------------------------------------------------------------------------ names, and what is due

    def _take_names(self) -> None:
        walk, counts = self._walk, self._walk.counts
        if counts[records.C_COMMS] > len(self.comms):
            for start, end in new_spans(walk.comms, len(self.comms)):
                self.comms.append(ctypes.string_at(start, end - start).decode("utf-8", "replace"))
        if counts[records.C_GFPS] > len(self.gfps):
            flags = self._events.flags if self._events else None
            for value, _ in new_spans(walk.gfps, len(self.gfps)):
                mask = value & 0xFFFFFFFFFFFFFFFF
                self.gfps.append(flags.text(mask) if flags else hex(mask))
        if counts[records.C_STACKS] > len(self.stacks):
            spans = new_spans(walk.stacks, len(self.stacks))
            chains = [ctypes.string_at(start, end - start) for start, end in spans]
            self.stacks += self._here.stacks(chains, "<u8" if self._header.order == "little" else ">u8")

    def _make_room(self) -> Iterator[NDArray[Any]]:
        """Grow the tables of names that are half full, and settle the rows that are due where no more fit."""
        grown: dict[str, Any] = {}
        counts = self._walk.counts
        for name, which in (("comms", records.C_COMMS), ("gfps", records.C_GFPS), ("stacks", records.C_STACKS)):
            table = getattr(self._walk, name)
            if 2 * counts[which] >= len(table):
                grown[name] = doubled(table)
        self._walk = self._walk._replace(**grown)
        rows = self._walk.rows
        if counts[records.C_ROWS] < len(rows):
            return
        due = int((rows["ts"] <= counts[records.C_DUE]).sum())
        if due >= len(rows) // 2 or len(rows) >= MOST_WAITING:
            yield from self._settle(max(due, len(rows) // 2))
        else:
            more = np.zeros(2 * len(rows), ROW)
            raw(more)[: len(rows)] = raw(rows)
            self._walk = self._walk._replace(rows=more)

    def _settle(self, count: int) -> Iterator[NDArray[Any]]:
        """Yield the first `count` rows in order of time; the others wait."""
        waiting = int(self._walk.counts[records.C_ROWS])
        rows = self._walk.rows[:waiting]
        order = np.argsort(rows["ts"], kind="stable")
        if self.found.first_ns < 0:
            self.found.first_ns = int(self._walk.counts[records.C_FIRST_NS])
        for first in range(0, count, BATCH):
            due = order[first : min(first + BATCH, count)]
            written = _copy_in_order(rows, due, len(due), self._out, self._tasks)
            self._name_unnamed(self._out[:written])
            yield self._out[:written]
        raw(self._walk.rows)[: waiting - count] = raw(rows)[order[count:]]
        self._walk.counts[records.C_ROWS] = waiting - count

    def _name_unnamed(self, rows: NDArray[Any]) -> None:
        """A task whose name was never recorded gets the name that perf gives it: its number."""
        unnamed = rows["comm"] < 0
        if unnamed.any():
            tasks, which = np.unique(rows["pid"][unnamed], return_inverse=True)
            for task in set(tasks.tolist()) - self._unnamed.keys():
                self._unnamed[task] = len(self.comms)
                self.comms.append("swapper" if task == 0 else f":{task}")
            self._walk.counts[records.C_COMMS] = len(self.comms)
            rows["comm"][unnamed] = np.array([self._unnamed[task] for task in tasks.tolist()], np.int32)[which]


def _losses(lost: NDArray[np.int64]) -> dict[int | None, int]:
    """Events lost by CPU (None: on an unknown one).

    A record that finds no room is counted for its buffer (LOST, written when there is room again) and for its event
    (read_format's LOST, which perf writes at the end as LOST_SAMPLES): kernel/events/ring_buffer.c. The larger count
    includes all of them.
    """
    by_cpu = lost.max(axis=1)
    by_cpu[0] = max(0, int(lost.sum(axis=0).max()) - int(by_cpu[1:].sum()))
    return {cpu - 1 if cpu else None: int(by_cpu[cpu]) for cpu in np.flatnonzero(by_cpu).tolist()}


def _events_next_to(path: Path) -> EventTable:
    """The descriptions of events in a folder ``events`` next to the file, as in tracefs, for a perf that was killed.

    Raises:
        UsageError: there are none.
    """
    found = sorted(path.absolute().parent.glob("events/*/*/format"))
    if not found:
        raise UsageError(
            f"{path}: cut off, or perf was killed: its events are not described",
            "copy events/kmem of that machine's tracefs next to it: events/kmem/mm_page_alloc/format and so on",
        )
    return EventTable(
        ((file.parts[-3], file.read_text(errors="replace")) for file in found), str(path.parent / "events")
    )


@compiled
def _copy_in_order(rows: Any, order: Any, count: int, out: Any, comm_of: Any) -> int:
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
