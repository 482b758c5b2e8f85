"""perf.data as a `Trace`: the walk over its records, then events in order of time, with names of tasks and functions.

The records of one CPU are in order of time, those of several CPUs are not. perf writes a FINISHED_ROUND when it has
read all CPUs once; after the second one nothing can follow that is older than the first
(tools/perf/util/ordered-events.c). Events that are not due wait, up to MOST_WAITING of them; then the older half goes
on, and events that come too late are counted.

``perf record --threads`` writes a folder: ``data`` has the header, and ``data.0``, ``data.1``, ... the records of one
buffer each, in order of time and without rounds (tools/perf/builtin-record.c:record__mmap_read_evlist). They are read
side by side, always the one that is furthest behind: nothing can follow that is older than its latest record.
"""

import ctypes
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.formats.cursor import Cursor
from ingest.formats.perf_data import records
from ingest.formats.perf_data.attributes import Layouts
from ingest.formats.perf_data.folder import MAGICS, recordings
from ingest.formats.perf_data.header import (
    DAMAGED,
    TRACING_DATA,
    Attribute,
    Header,
    facts,
    parse_attribute,
    read_header,
)
from ingest.formats.perf_data.in_order import copy_in_order, losses
from ingest.formats.perf_data.layout import COLUMNS, TYPE_TRACEPOINT
from ingest.formats.perf_data.mapped import Mapped
from ingest.formats.perf_data.tracing_data import UNKNOWN, EventTable, events_next_to, tracing_data
from ingest.formats.perf_data.undescribed import format_texts
from ingest.snapshots.kallsyms import NONE, Namer, read_symbols
from ingest.source import BLOCK
from ingest.spans import doubled, new_names, new_spans
from ingest.trace import BATCH, MAX_CPUS, MAX_TASKS, ROW, Context, Findings, raw
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


class _Records:
    """A file with records: which are read, and how far."""

    def __init__(self, path: Path, mapped: Mapped | None = None) -> None:
        self.path = path
        if mapped is not None:
            self.mapped = mapped
        self.at = self.end = 0  # bytes read; where its records end
        self.latest, self.over = -1, False  # latest time so far; whether there are no more
        self.zstd: zstd.ZstdDecompressor | None = zstd.ZstdDecompressor()  # None: its stream is damaged
        self.carry = b""  # the start of a compressed record

    def holds(self, address: int) -> bool:
        """Whether an address lies in the file."""
        return self.mapped.address <= address < self.mapped.address + self.mapped.size


class PerfTrace:
    """Reads perf.data files that are parts of one capture, one after the other (a `Trace`)."""

    def __init__(self, paths: Sequence[Path], context: Context) -> None:
        self.comms: list[str] = []
        self.gfps: list[str] = []
        self.stacks: list[tuple[str, ...]] = []
        self.found = Findings(context.best_effort)
        self._paths = paths
        self._symbols = NONE if context.kallsyms is None else read_symbols(context.kallsyms)
        self._namer = Namer(NONE, self.found)  # with the symbols where the kernel of the present file lies
        self._files: list[_Records] = []  # that are open: one, or those of a folder
        self._now = _Records(paths[0])  # the one whose records are read
        self._read = 0  # bytes of the files before the open ones
        self._began = -1
        self._header = Header("little", True, 0, 0)
        self._events: EventTable | None = None
        self._layouts = Layouts()
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
        for paths in recordings(self._paths):
            for path in paths:
                records_only = path is not paths[0]
                self._files.append(_Records(path, Mapped(path, (b"",) if records_only else MAGICS)))
            self._begin(self._files[0])
            for file in self._files[1:]:
                file.end = file.mapped.size
            yield from self._side_by_side()
            self._end()
            yield from self._settle(int(self._walk.counts[records.C_ROWS]))
            self._check_order(paths[0])
            self._read += sum(path.stat().st_size for path in paths)
            self.close()

    def consumed(self) -> int:
        """See `Trace`."""
        return self._read + sum(file.mapped.consumed(file.at) for file in self._files)

    def close(self) -> None:
        """See `Trace`."""
        while self._files:
            self._files.pop().mapped.close()

    # ------------------------------------------------------------------------------------------------- file by file

    def _begin(self, first: "_Records") -> None:
        """Read the header of a recording."""
        self._now, file = first, first.mapped
        if file.damage:
            self.found.damage(
                "damaged_compression", f"{file.path}: the compressed data is damaged or cut off ({file.damage})"
            )
        self._namer = Namer(self._symbols, self.found)
        self._walk.counts[[records.C_LATEST, records.C_ROUND, records.C_DUE]] = -1
        self._walk.counts[records.C_FIRST_NS] = -1
        self._walk.lost[:] = 0
        self._header = header = read_header(file)
        self._layouts = Layouts()
        no_sample_fits = np.full((1, COLUMNS), records.LARGEST + 1, np.int64)  # until an attribute describes its layout
        self._walk = self._walk._replace(layouts=no_sample_fits, ids=self._layouts.ids)
        self._use_events(None)
        first.at, first.end = header.start, header.end
        if header.pipe:
            return
        self._say(header.features)
        if not header.attributes:
            raise UsageError(f"{file.path}: header: it lists no events", DAMAGED)
        for attribute in header.attributes:
            self._add(attribute, f"{file.path}: header")
        if TRACING_DATA in header.features:
            where = f"{file.path}: descriptions of events"
            self._describe(header.features[TRACING_DATA], where)
        elif any(attribute.type == TYPE_TRACEPOINT for attribute in header.attributes):
            if header.finished:
                self.found.damage("cut_off", f"{file.path}: cut off: the descriptions of its events are missing")
            self._use_events(events_next_to(file.path, lambda: format_texts(file, header, self._layouts)))
        if not header.finished:
            self.found.counts["unfinished"] += 1
        if header.end > file.size:
            self.found.damage("cut_off", f"{file.path}: cut off: it has {file.size:,} of at least {header.end:,} bytes")
            first.end = file.size

    def _side_by_side(self) -> Iterator[NDArray[Any]]:
        """Read the records of all files of a recording."""
        counts, running = self._walk.counts, {}
        for place, file in enumerate(self._files):
            address = file.mapped.address
            running[place] = self._region(address + file.at, address + file.end)
        while running:
            place = min(running, key=lambda place: self._files[place].latest)
            self._now = file = self._files[place]
            counts[records.C_LATEST] = file.latest
            try:
                while len(rows := next(running[place])):  # they are being settled: nothing else may be read now
                    yield rows
                yield rows
            except StopIteration as stop:
                file.at = stop.value - file.mapped.address
                file.over = True
                del running[place]
            file.latest = int(counts[records.C_LATEST])

    def _due(self) -> int:
        """Up to this time nothing can follow."""
        if len(self._files) == 1:
            return int(self._walk.counts[records.C_DUE])
        self._now.latest = int(self._walk.counts[records.C_LATEST])
        return min(file.latest for file in self._files if file is self._now or not file.over)

    def _end(self) -> None:
        """Count what was read, and the losses."""
        header, found, counts = self._header, self.found, self._walk.counts
        for file in self._files:
            if (file.at < file.end or file.carry) and header.finished:
                found.damage("cut_off", f"{file.path}: no whole record at byte {file.at}: the rest is not read")
        for name, which in _COUNTED.items():
            if counts[which]:
                found.counts[name] = int(counts[which])
        for cpu, events in losses(self._walk.lost).items():
            found.lose(cpu, events)
        for clock in {attribute.clock for attribute in header.attributes if attribute.clock}:
            found.comment(f"# clockid: {clock}")

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

    def _say(self, features: Mapping[int, bytes]) -> None:
        """Pass on what features say about the machine."""
        where = f"{self._now.path}: features"
        try:
            for fact in facts(features, self._header.order, where):
                self.found.comment(fact)
        except UsageError as error:
            self.found.damage("damaged_records", error.what)

    def _describe(self, data: bytes, where: str) -> None:
        """Use the descriptions of events, and what comes with them."""
        page_size, formats = tracing_data(data, where)
        self.found.pages_of(page_size)
        self._use_events(EventTable(formats, where))

    def _use_events(self, events: EventTable | None) -> None:
        self._events = events = events or EventTable((), "")
        self._walk = self._walk._replace(event_of=events.of, events=events.rows)

    # ---------------------------------------------------------------------------------------------- record by record

    def _region(self, at: int, end: int) -> Generator[NDArray[Any], None, int]:
        """Read the records between two addresses; returns the address of the first that was not read."""
        swap = self._header.order == "big"
        now = self._now
        stop = at
        while True:
            stop = min(max(stop, at + STRETCH // len(self._files)), end)
            events = self._events
            number = events.number if events else (0, 2)
            begun = at
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
                if now.holds(at):  # else they are decompressed records
                    now.at = at - now.mapped.address
                    now.mapped.drop(now.at)
                yield self._out[:0]
                stop = at if at > begun else stop + records.LARGEST  # a record may be longer than a stretch

    def _what_is_wrong(self, place: int) -> str:
        file = self._now.mapped
        compressed = not self._now.holds(place)
        where = f"{file.path}: " + ("a compressed record" if compressed else f"record at byte {place - file.address}")
        described = self._events is not None and bool((self._events.of != UNKNOWN).any())
        return f"{where}: {'not what it claims to be' if described else 'no description of its event comes before it'}"

    def _special(self, at: int, end: int) -> Generator[NDArray[Any], None, int]:
        """Read a record that the walk leaves alone; returns the address after it and its data."""
        header, file = self._header, self._now.mapped
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
            self._say({body.number(8): data[16:]})
        elif kind == records.HEADER_TRACING_DATA:
            self._describe(ctypes.string_at(at + size, behind), where)
        return at + size + behind

    def _decompress(self, payload: bytes, where: str) -> Iterator[NDArray[Any]]:
        """Read the records in the next part of the compressed stream; the last one may end in the part after it."""
        now = self._now
        while now.zstd is not None and (payload or not now.zstd.needs_input):
            try:
                if now.zstd.eof:
                    now.zstd = zstd.ZstdDecompressor()
                data = now.carry + now.zstd.decompress(payload, BLOCK)
            except zstd.ZstdError as error:
                now.zstd, now.carry = None, b""
                self.found.damage("damaged_compression", f"{where}: the compressed data is damaged ({error})")
                return
            payload = now.zstd.unused_data if now.zstd.eof else b""
            at = np.frombuffer(data, np.uint8).ctypes.data
            stopped = yield from self._region(at, at + len(data))
            now.carry = data[stopped - at :]
            if len(now.carry) > records.LARGEST:
                now.zstd, now.carry = None, b""
                self.found.damage(
                    "damaged_records", f"{where}: no record where one should begin in its decompressed data"
                )

    def _place_kernel(self, data: bytes, kind: int) -> None:
        """Move the symbols to where the recorded kernel lay (tools/perf/util/machine.c: reference symbols)."""
        name = data[72 if kind == records.MMAP2 else 40 :].split(b"\0")[0].decode("utf-8", "replace")
        if name.startswith(KERNEL_MAP):
            start = int.from_bytes(data[32:40], self._header.order)
            self._namer.move(name.removeprefix(KERNEL_MAP), start)

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
            self.stacks += self._namer.stacks(chains, "<u8" if self._header.order == "little" else ">u8")

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
        due = int((rows["ts"] <= self._due()).sum())
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
            written = copy_in_order(rows, due, len(due), self._out, self._tasks)
            self._name_unnamed(self._out[:written])
            if written:  # an empty batch would say that a stretch is over
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
