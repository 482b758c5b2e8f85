"""One capture into the warehouse: a stream of blocks through the scanner, the classifier and the page owners."""

import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest import scan
from ingest.bundle import MOMENTS, Bundle
from ingest.classify import BY_FLAGS, TABLE_FLAGS, UNCLASSIFIED, Class, classify, frames_of
from ingest.formats import ftrace_text, perf_script
from ingest.ownership import OUTCOMES, Pages, class_code, class_names, roll_forward
from ingest.source import Text
from ptpool.errors import UsageError
from ptpool.progress import Meter
from ptpool.vocabulary import KIND_ALLOC, KIND_ALLOC_FAILED, KIND_FREE, KINDS, gfp_flags

ROW_GROUP = 122_880  # rows of a DuckDB row group
BATCH = 4 * ROW_GROUP
KEPT_BACK = ROW_GROUP  # rows whose stack may still come

_SCANNERS = {"ftrace": ftrace_text.scan_block, "perf-script": perf_script.scan_block}
_ALWAYS, _FOREVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_ANNOUNCED = re.compile(r"entries-in-buffer/entries-written: (\d+)/(\d+)")
_LOST = (
    re.compile(r"CPU:(?P<cpu>\d+) \[(?:LOST )?(?P<n>\d+) EVENTS(?: DROPPED)?\]"),
    re.compile(r"\[(?P<cpu>\d+)\].*PERF_RECORD_LOST(?:_SAMPLES)?:? +lost (?P<n>\d+)"),
    re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)?:? +lost (?P<n>\d+)"),
    re.compile(r"LOST (?P<n>\d+) events", re.IGNORECASE),
)
_HARMLESS = re.compile(r"^(cpus=\d+|version = .*|CPU \d+ is empty|.*PERF_RECORD_\w+.*|\s*\[\.\.\.\]\s*)$")


Window = tuple[int | None, int | None]
"""From and to in ns after the first entry of the trace; None: everything on that side."""


@dataclass
class Found:
    """What the text of a capture held, apart from its events."""

    comments: list[str] = field(default_factory=list)
    lost: dict[int | None, int] = field(default_factory=dict)  # by CPU
    announced: int = 0  # entries that the header says are in the file
    written: int = 0  # entries that were recorded, the lost ones included
    damaged: int = 0
    damaged_compression: int = 0
    cut_off: int = 0
    unknown_gfp: set[str] = field(default_factory=set)


class EventStream:
    """Reads the trace files of a bundle and inserts their events."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        bundle: Bundle,
        capture_id: "Future[str]",
        pages: Pages,
        best_effort: bool,
    ) -> None:
        self._connection, self._bundle, self._capture_id, self._pages = connection, bundle, capture_id, pages
        self._best_effort = best_effort
        self._scanner = _SCANNERS[bundle.format.name]
        counts = np.zeros(scan.COUNTS, np.int64)
        counts[scan.FIRST_NS] = -1
        self.scan = scan.Scan(
            rows=np.zeros(BATCH + KEPT_BACK, scan.ROW),
            comms=_names(1 << 12),
            gfps=_names(1 << 10),
            stacks=_names(1 << 14),
            waiting=np.full((scan.MAX_CPUS, scan.CONTEXTS), scan.OTHER_EVENT, np.int64),
            counts=counts,
            notes=np.zeros((1 << 12, 4), np.int64),
        )
        self.found = Found()
        self.page_flags: NDArray[np.uint64] | None = None  # by pfn: to be rolled forward to the start of the window
        self.outside = dict.fromkeys(MOMENTS, 0)  # events before and after the window
        self.stored = self.back_in_time = 0
        self.without_stack = self.by_flags = 0
        self.kinds = np.zeros(len(KINDS), np.int64)
        self.first_ns = self.last_ns = self._previous_ns = -1
        self.highest_cpu = 0
        self.frames: dict[tuple[str, ...], int] = {}  # stack to its final number
        self.classes: list[Class] = []  # by final number
        self._comms: list[str] = []
        self._gfps: list[str] = []
        self._gfp_bits: list[int] = []
        self._stack_numbers = np.zeros(0, np.int32)  # scanner's number to final number
        self._codes = np.zeros(0, np.uint8)  # class code by scanner's number
        self._window: Window = (None, None)
        self._origin = 0  # ns of the first entry of the trace, from which the window counts
        self._began: dict[Path, int] = {}  # ns of the first entry of each file
        self._storer = ThreadPoolExecutor(1)  # stores one batch while the next is read
        self._storing: Future[None] | None = None

    def read(self, meter: Meter, window: Window = (None, None)) -> None:
        """Read all files and keep the events in the window.

        Raises:
            UsageError: something is damaged (and it is not --best-effort), or no page event is in it.
        """
        self._window = window
        with self._storer:
            self._read_files(meter)

    def _read_files(self, meter: Meter) -> None:
        done = 0
        for path in self._bundle.traces:
            text = Text(path)
            self.scan.counts[scan.LINES] = 0
            self.scan.counts[scan.ENTRIES] = 0
            self.scan.counts[scan.FIRST_NS] = -1
            self.found.announced = 0
            try:
                while not text.final:
                    text.more()
                    self._read_block(text)
                    meter(done + text.consumed(), f"{self.stored + self.scan.counts[scan.ROWS]:,} events")
                self._finish_file(text)
            finally:
                text.close()
            done += path.stat().st_size
        self._store(int(self.scan.counts[scan.ROWS]))
        self._wait()

    def _read_block(self, text: Text) -> None:
        counts = self.scan.counts
        while True:
            text.at = self._scanner(self.scan, text.buffer.ctypes.data, text.at, text.end, text.final)
            self._take_names(text.buffer)
            if counts[scan.FIRST_NS] >= 0 and text.path not in self._began:
                self._begin(text.path, int(counts[scan.FIRST_NS]))
            noted = int(counts[scan.NOTES])
            if noted:
                self._take_notes(text, noted)
            if counts[scan.COUNTERS]:
                raise UsageError(
                    f"{text.path}: line {counts[scan.LINES]}: time stamps are counts, not seconds",
                    "record with trace_clock local, global, mono or boot (not counter, uptime or x86-tsc)",
                )
            full = counts[scan.ROWS] == len(self.scan.rows)
            if full:
                self._store(BATCH)
            if not (full or noted == len(self.scan.notes) or self._grow_tables()):
                return

    def _begin(self, path: Path, first_ns: int) -> None:
        if self._began:
            before, began = list(self._began.items())[-1]
            if first_ns < began:
                raise UsageError(
                    f"{path}: begins {(began - first_ns) / 1e9:.6f} s before {before}, which was named before it",
                    "name the parts of a trace in the order of time; import different traces one by one",
                )
        else:
            self._origin = first_ns
        self._began[path] = first_ns

    @property
    def edges(self) -> tuple[int | None, int | None]:
        """The window on the capture's clock; None: everything on that side."""
        since, until = self._window
        return None if since is None else self._origin + since, None if until is None else self._origin + until

    def _finish_file(self, text: Text) -> None:
        found, entries = self.found, int(self.scan.counts[scan.ENTRIES])
        if text.damage:
            found.damaged_compression += 1
            self._refuse(f"{text.path}: the compressed data is damaged or cut off ({text.damage})")
        if text.at < text.end:
            found.cut_off += 1
            line = self.scan.counts[scan.LINES] + 1
            self._refuse(f"{text.path}: line {line}: cut off at byte {text.offset + text.end}, in the middle of a line")
        if entries < found.announced:
            found.cut_off += 1
            self._refuse(
                f"{text.path}: cut off: it holds {entries:,} of the {found.announced:,} entries its header announces"
            )

    def _refuse(self, what: str) -> None:
        if not self._best_effort:
            raise UsageError(what, "copy it again, or use what can be read with --best-effort")

    def _take_notes(self, text: Text, noted: int) -> None:
        for what, start, end, line in self.scan.notes[:noted].tolist():
            words = bytes(text.buffer[start:end]).decode("utf-8", "replace")
            if what == scan.NOTE_COMMENT:
                if len(self.found.comments) < 200:
                    self.found.comments.append(words)
                if match := _ANNOUNCED.search(words):
                    self.found.announced += int(match[1])
                    self.found.written += int(match[2]) - int(match[1])
            elif match := next((match for pattern in _LOST if (match := pattern.search(words))), None):
                cpu = int(match["cpu"]) if "cpu" in match.groupdict() else None
                self.found.lost[cpu] = self.found.lost.get(cpu, 0) + int(match["n"])
            elif what == scan.NOTE_DAMAGED or not _HARMLESS.match(words):
                self.found.damaged += 1
                shown = "".join(c if c.isprintable() else "?" for c in words.strip()[:60])
                self._refuse(f"{text.path}: line {line}: not a trace line: {shown}")
        self.scan.counts[scan.NOTES] = 0

    def _take_names(self, buffer: NDArray[np.uint8]) -> None:
        counts = self.scan.counts
        for start, end in _new(self.scan.comms, len(self._comms), counts[scan.COMMS]):
            self._comms.append(bytes(buffer[start:end]).decode("utf-8", "replace"))
        for start, end in _new(self.scan.gfps, len(self._gfps), counts[scan.GFPS]):
            words = bytes(buffer[start:end]).decode("utf-8", "replace")
            bits, unknown = gfp_flags(words)
            self.found.unknown_gfp.update(unknown)
            self._gfps.append(words)
            self._gfp_bits.append(bits & 0xFFFFFFFF)
        numbers, codes = [], []
        for start, end in _new(self.scan.stacks, len(self._stack_numbers), counts[scan.STACKS]):
            frames = frames_of(bytes(buffer[start:end]).decode("utf-8", "replace"))
            if frames not in self.frames:
                self.frames[frames] = len(self.frames)
                self.classes.append(classify(frames))
            numbers.append(self.frames[frames])
            codes.append(class_code(*self.classes[self.frames[frames]]))
        if numbers:
            self._stack_numbers = np.append(self._stack_numbers, np.array(numbers, np.int32))
            self._codes = np.append(self._codes, np.array(codes, np.uint8))

    def _grow_tables(self) -> bool:
        """Double every table of names that is half full; whether one was."""
        grown: dict[str, Any] = {}
        for name, which in (("comms", scan.COMMS), ("gfps", scan.GFPS), ("stacks", scan.STACKS)):
            table = getattr(self.scan, name)
            if 2 * self.scan.counts[which] >= len(table):
                grown[name] = _names(2 * len(table))
                scan.regrow(table, grown[name])
        self.scan = self.scan._replace(**grown)
        return bool(grown)

    def _store(self, count: int) -> None:
        """Hand the first `count` rows to the storing thread and move the rest to the front."""
        self._wait()
        rest = int(self.scan.counts[scan.ROWS]) - count
        if count:
            batch = self.scan.rows[:count].copy()
            self._storing = self._storer.submit(self._insert, batch, self._stack_numbers, self._codes)
        self.scan.rows[:rest] = self.scan.rows[count : count + rest]
        self.scan.counts[scan.ROWS] = rest
        waiting = self.scan.waiting
        moved = waiting - count
        waiting[:] = np.where(waiting < 0, waiting, np.where(moved < 0, scan.STORED, moved))

    def _wait(self) -> None:
        """Wait until the batch before is stored."""
        if self._storing is not None:
            self._storing.result()
            self._storing = None

    def _insert(self, rows: NDArray[np.void], stack_numbers: NDArray[np.int32], stack_codes: NDArray[np.uint8]) -> None:
        kind, stack = rows["kind"], rows["stack"]
        gfp_bits = np.append(np.array(self._gfp_bits, np.uint32), np.uint32(0))[rows["gfp"]]
        bare = (stack < 0) & ((kind == KIND_ALLOC) | (kind == KIND_ALLOC_FAILED))
        table = bare & (rows["order"] == 0) & (rows["migratetype"] == 0) & (gfp_bits & TABLE_FLAGS == TABLE_FLAGS)
        codes = np.append(stack_codes, np.uint8(class_code(*UNCLASSIFIED)))[stack]
        codes[table] = class_code(*BY_FLAGS)
        since, until = self.edges
        start, stop = _ALWAYS if since is None else since, _FOREVER if until is None else until
        codes = self._pages.follow(rows, codes, start, stop)
        before, after = rows["ts"] < start, rows["ts"] > stop
        inside = ~(before | after)
        if not inside.all():
            if self.page_flags is not None:
                roll_forward(self.page_flags, rows[before], codes[before])
            self.outside["before"] += int(before.sum())
            self.outside["after"] += int(after.sum())
            rows, codes, bare, table, gfp_bits = (
                rows[inside],
                codes[inside],
                bare[inside],
                table[inside],
                gfp_bits[inside],
            )
            if not len(rows):
                return
        self._count(rows, bare, table)
        stacks = np.append(stack_numbers, np.int32(-1))[rows["stack"]]
        batch = self._arrow(rows, codes, gfp_bits, stacks)  # noqa: F841  (found by name: a view lives until the commit)
        self._connection.execute(_INSERT, [self._capture_id.result()])
        self.stored += len(rows)

    def _count(self, rows: NDArray[np.void], bare: NDArray[np.bool_], table: NDArray[np.bool_]) -> None:
        ts = rows["ts"]
        self.back_in_time += int((np.diff(ts, prepend=self._previous_ns if self.stored else ts[0]) < 0).sum())
        self._previous_ns = int(ts[-1])
        if not self.stored:
            self.first_ns = int(ts.min())
        self.first_ns, self.last_ns = min(self.first_ns, int(ts.min())), max(self.last_ns, int(ts.max()))
        self.highest_cpu = max(self.highest_cpu, int(rows["cpu"].max()))
        self.without_stack += int(bare.sum())
        self.by_flags += int(table.sum())
        self.kinds += np.bincount(rows["kind"], minlength=len(KINDS))

    def _arrow(
        self, rows: NDArray[np.void], codes: NDArray[np.uint8], gfp_bits: NDArray[np.uint32], stacks: NDArray[np.int32]
    ) -> pa.Table:
        consumer, level, role = zip(*class_names(), strict=True)
        return pa.table(
            {
                "seq": np.arange(self.stored, self.stored + len(rows)),
                "ts_ns": np.ascontiguousarray(rows["ts"]),
                "cpu": np.ascontiguousarray(rows["cpu"]),
                "pid": np.ascontiguousarray(rows["pid"]),
                "comm": _texts(rows["comm"], self._comms),
                "kind": _texts(rows["kind"], KINDS),
                "pfn": _nullable(rows["pfn"]),
                "page_order": np.ascontiguousarray(rows["order"]),
                "migratetype": _nullable(rows["migratetype"]),
                "gfp_flags": pa.array(gfp_bits, mask=rows["gfp"] < 0),
                "gfp_text": _texts(rows["gfp"], self._gfps),
                "stack_id": _nullable(stacks),
                "consumer": _texts(codes, consumer),
                "level": _texts(codes, level),
                "role": _texts(codes, role),
            }
        )

    @property
    def outcomes(self) -> dict[str, int]:
        """How frees and allocations met the pages they concern."""
        return dict(zip(OUTCOMES, self._pages.outcomes.tolist(), strict=True))

    @property
    def totals(self) -> dict[str, int]:
        """What shares are taken of."""
        return {
            "allocations": int(self.kinds[KIND_ALLOC] + self.kinds[KIND_ALLOC_FAILED]),
            "frees": int(self.kinds[KIND_FREE]),
        }


_INSERT = """
    INSERT INTO page_event
    SELECT $1, seq, ts_ns, cpu, pid, comm, kind, pfn, page_order, migratetype, gfp_flags,
           gfp_text, stack_id, consumer, level, role
    FROM batch
"""


def _names(slots: int) -> NDArray[np.void]:
    table = np.zeros(slots, scan.NAME)
    table["number"] = -1
    return table


def _new(table: NDArray[np.void], known: int, count: int) -> list[tuple[int, int]]:
    """Where the texts numbered from `known` up to `count` lie in the block, in order."""
    if known == count:
        return []
    fresh = table[table["number"] >= known]
    fresh = fresh[np.argsort(fresh["number"])]
    return list(zip(fresh["start"].tolist(), fresh["end"].tolist(), strict=True))


def _texts(codes: NDArray[Any], values: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(_nullable(codes.astype(np.int32)), pa.array(values, pa.string()))


def _nullable(values: NDArray[Any]) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), mask=values < 0)
