"""Text formats as a `Trace`: a format's compiled scanner turns blocks of text into rows, names and notes.

Several files are parts of one recording. Files that follow each other (rotated) are read as one; files that overlap in
time (one for each CPU) are merged.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.classify import frames_of, is_address, without_tracer
from ingest.formats.plain import PlainBytes, plainer
from ingest.formats.text import scan
from ingest.merge import merged
from ingest.snapshots.kallsyms import NONE, Namer, read_symbols
from ingest.source import BLOCK, PADDING, Text, read_head
from ingest.spans import doubled, new_names, new_spans
from ingest.trace import BATCH, CONTEXTS, MAX_CPUS, MAX_TASKS, OTHER_EVENT, ROW, STORED, Context, Findings, raw
from ptpool.compiled import compiled
from ptpool.errors import UsageError

Scanner = Callable[[scan.Scan, int, int, int, bool], int]
"""A format's ``scan_block``: the tables, address and bounds of the text, whether it is the last of the file."""

_KEPT_BACK = 4  # a stack may come later than its event by this part of a batch
_LEAST_ROWS, _LEAST_BLOCK = 1 << 13, 1 << 16  # of one stream among many; the block in bytes
_NOTES = 1 << 12
_COUNTED = {
    "other_events": scan.OTHER,
    "batched_frees_skipped": scan.BATCHED,
    "stacks_without_event": scan.ORPHANS,
    "user_frames_dropped": scan.USER_FRAMES,
    "events_without_cpu": scan.NO_CPU,
    "events_without_time": scan.NO_TIME,
    "events_without_task": scan.NO_TASK,
}
_FORGOTTEN = re.compile(r":\d{1,7}")  # perf script drops a task's name at its exit, before it frees its memory
_ANNOUNCED = re.compile(r"entries-in-buffer/entries-written: (\d+)/(\d+)")
_LOST = (
    re.compile(r"CPU:(?P<cpu>\d+) \[(?:LOST )?(?P<n>\d+) EVENTS(?: DROPPED)?\]"),
    re.compile(r"\[(?P<cpu>\d+)\].*PERF_RECORD_LOST(?:_SAMPLES)?:? +lost (?P<n>\d+)"),
    re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)?:? +lost (?P<n>\d+)"),
    re.compile(r"LOST (?P<n>\d+) events", re.IGNORECASE),
)
_UNCOUNTED = re.compile(
    r"CPU:(?P<cpu>\d+) \[(LOST EVENTS|EVENTS DROPPED)\]"  # kernel/trace/trace.c:print_trace_line; trace-cmd report
    r"|\bPERF_RECORD_LOST|\blost \d+ chunks!|Processed \d+ samples and lost"  # perf warns so on standard error
    r"|\b(LOST|DROPPED) EVENTS\b|\bEVENTS (LOST|DROPPED)\b"
)
_MOST_DIGITS, _NO_CPU = 12, -1  # of a CPU or a number of events
_HARMLESS = re.compile(
    r"^(cpus=\d+|version = .*|CPU \d+ is empty|.*PERF_RECORD_\w+.*|\s*\[\.\.\.\]\s*"
    r"|-{3,}|Dumping ftrace buffer:|\(ftrace buffer empty\)"  # kernel/trace/trace.c:ftrace_dump_one
    r"|[ \w-]*PID +(TGID +)?CPU#? .*|[ |/]*_-*=> [\w/ -]+|[ |]+/ +delay|[ |]*\|[ |]*"  # a header without its #
    r"|[ \w]*DURATION +FUNCTION CALLS *"
    r"|No kallsyms or vmlinux .*|'\w+' not valid for .*|Warning:|Check IO/CPU overload!"  # perf, on standard error
    r"|  (\S+\.\w+:\d+|\S+\[[0-9a-f]+\])( \(inlined\))?)$"  # the source line of a sample without a call chain
)
_DUMP = re.compile(r"0x[0-9a-f]+(@.*)? \[(0x)?[0-9a-f]+\]: event: \d+")  # perf script -D
_EVENT = re.compile(r"mm_page_\w+: .*pfn=")
_FEW = 8  # entries that are earlier than the one before: clocks of several CPUs, files put together


class TextTrace:
    """Reads the parts of a text trace (a `Trace`)."""

    def __init__(self, paths: Sequence[Path], scanner: Scanner, context: Context) -> None:
        self.found = Findings(context.best_effort)
        self._scanner = scanner
        self._names = names = _Names(context.kallsyms, self.found)
        self.comms, self.gfps, self.stacks = names.comms, names.gfps, names.stacks
        self._notes = np.zeros((_NOTES, 4), np.int64)
        self._batch = max(BATCH // len(paths), _LEAST_ROWS)
        self._block = max(BLOCK // len(paths), _LEAST_BLOCK)
        self._open: list[Text] = []
        self._consumed = 0  # bytes of the files read to their end
        begin = (
            sorted((self._first_ns(path), place) for place, path in enumerate(paths)) if len(paths) > 1 else [(0, 0)]
        )
        self._waiting = deque((ns, paths[place]) for ns, place in begin)

    def batches(self) -> Iterator[NDArray[Any]]:
        """See `Trace`."""
        for rows in merged(self._waiting, self._read):
            self._names.recall(rows)
            yield rows

    def consumed(self) -> int:
        """See `Trace`."""
        return self._consumed + sum(text.consumed() for text in self._open)

    def close(self) -> None:
        """See `Trace`."""
        while self._open:
            self._open.pop().close()

    def _text(self, path: Path) -> Text:
        changes, _ = plainer(read_head(path))
        return Text(path, self._block, PlainBytes(path, changes) if changes else None)

    def _first_ns(self, path: Path) -> int:
        """Time of the first entry of a file; -1 where its beginning holds none."""
        _, plain = plainer(read_head(path))
        head = np.frombuffer(plain + bytes(PADDING), np.uint8)
        stream = _Stream(1)
        names = _Names(None, self.found)
        self._scanner(stream.scan(names, self._notes), head.ctypes.data, 0, len(head) - PADDING, False)
        return int(stream.counts[scan.FIRST_NS])

    def _read(self, path: Path | None) -> Iterator[NDArray[Any]]:
        """Read one file, and those that begin after its end."""
        stream = _Stream(self._batch + self._batch // _KEPT_BACK)
        rows, counts = stream.rows, stream.counts
        while path is not None:
            text = self._text(path)
            self._open.append(text)
            stream.begin()
            while not text.final:
                text.more()
                while self._read_on(stream, text):
                    if counts[scan.ROWS] == len(rows):
                        yield rows[: self._batch]
                        stream.forget(self._batch)
                yield rows[:0]
            self._finish(stream, text)
            follows = self._waiting and self._waiting[0][0] >= counts[scan.LAST_NS]
            path = self._waiting.popleft()[1] if follows else None
        yield rows[: counts[scan.ROWS]]

    def _read_on(self, stream: "_Stream", text: Text) -> bool:
        """Scan the rest of the block; True: a table was full before its end."""
        counts, names = stream.counts, self._names
        tables = stream.scan(names, self._notes)
        text.at = self._scanner(tables, text.buffer.ctypes.data, text.at, text.end, text.final)
        names.take(text.buffer)
        if self.found.first_ns < 0:
            self.found.first_ns = int(counts[scan.FIRST_NS])
        noted = int(counts[scan.NOTES])
        if noted:
            self._take_notes(stream, text, noted)
        if counts[scan.COUNTERS]:
            raise UsageError(
                f"{text.path}: {text.line} {counts[scan.LINES]}: time stamps are counts, not seconds",
                "record with trace_clock local, global, mono or boot (not counter, uptime or x86-tsc)",
            )
        return bool(counts[scan.ROWS] == len(stream.rows)) or noted == _NOTES or names.grow()

    def _finish(self, stream: "_Stream", text: Text) -> None:
        found, counts = self.found, stream.counts
        if text.damage:
            found.damage(
                "damaged_compression", f"{text.path}: the compressed data is damaged or cut off ({text.damage})"
            )
        if text.at < text.end:
            found.damage(
                "cut_off",
                f"{text.path}: {text.line} {counts[scan.LINES] + 1}: cut off at byte {text.offset + text.end},"
                " in the middle of a line",
            )
        if counts[scan.ENTRIES] < stream.announced:
            found.damage(
                "cut_off",
                f"{text.path}: cut off: it holds {counts[scan.ENTRIES]:,} of the {stream.announced:,} entries"
                " its header announces",
            )
        backward, first = int(counts[scan.BACKWARD]), counts[scan.FIRST_NS]
        if 8 * backward > counts[scan.ENTRIES] and (backward >= _FEW or first == 0):
            raise UsageError(
                f"{text.path}: the times are differences, not times: {backward:,} of {counts[scan.ENTRIES]:,} are less"
                " than the one before",
                "print it again without --deltatime, in the order of time",
            )
        for name, which in _COUNTED.items():
            found.counts[name] += int(counts[which])
        self._consumed += text.consumed()
        self._open.remove(text)
        text.close()

    def _take_notes(self, stream: "_Stream", text: Text, noted: int) -> None:
        found = self.found
        for what, start, end, line in self._notes[:noted].tolist():
            words = bytes(text.buffer[start:end]).decode("utf-8", "replace")
            where = f"{text.path}: {text.line} {line}"
            shown = "".join(c if c.isprintable() else "?" for c in words.strip()[:60])
            if what == scan.NOTE_COMMENT:
                found.comment(words)
                if _EVENT.search(words):
                    found.damage("damaged_lines", f"{where}: an event in a comment: {shown}")
                if match := _ANNOUNCED.search(words):
                    entries, written = map(_few_digits, match.groups())
                    if entries is None or written is None:
                        found.damage("damaged_lines", f"{where}: an impossible number of entries: {shown}")
                    else:
                        stream.announced += entries
                        found.overwritten += max(written - entries, 0)
            elif match := next((match for pattern in _LOST if (match := pattern.search(words))), None):
                cpu, lost = _cpu_of(match), _few_digits(match["n"])
                if lost is None or cpu == _NO_CPU:
                    found.damage("damaged_lines", f"{where}: an impossible loss of events: {shown}")
                else:
                    found.lose(cpu, lost)
            elif match := _UNCOUNTED.search(words):
                if (cpu := _cpu_of(match)) == _NO_CPU:
                    found.damage("damaged_lines", f"{where}: an impossible loss of events: {shown}")
                else:
                    found.uncounted[cpu] += 1
            elif _DUMP.match(words):
                raise UsageError(f"{where}: a dump of records (perf script -D)", "print it again without -D")
            elif what == scan.NOTE_MORE and "mm_page_" not in words:
                found.counts["lines_passed_over"] += 1
            elif what == scan.NOTE_DAMAGED or not _HARMLESS.match(words):
                found.damage("damaged_lines", f"{where}: {_what_is_wrong(words)}: {shown}")
        stream.counts[scan.NOTES] = 0


def _few_digits(number: str) -> int | None:
    """A number; None: it has more digits than any count of events."""
    return int(number) if len(number) <= _MOST_DIGITS else None


def _cpu_of(loss: re.Match[str]) -> int | None:
    """The CPU that lost events; None: it is not said; _NO_CPU: there is no such."""
    number = loss.groupdict().get("cpu")
    if number is None:
        return None
    cpu = _few_digits(number)
    return _NO_CPU if cpu is None or cpu >= MAX_CPUS else cpu


def _what_is_wrong(line: str) -> str:
    """What a damaged line is, for people."""
    if re.search(r"=> \S.* mm_page_\w+: |pfn=.*pfn=|\(\S+\).* kmem:mm_page_", line):
        return "two lines run into each other"
    return "not a trace line"


class _Names:
    """Names by number, and the tables that the scanners number them with."""

    def __init__(self, kallsyms: Path | None, found: Findings) -> None:
        self._kallsyms, self._found = kallsyms, found
        self.comms: list[str] = []
        self.gfps: list[str] = []
        self.stacks: list[tuple[str, ...]] = []
        self.tables = [new_names(1 << 12), new_names(1 << 10), new_names(1 << 14)]
        self.named = np.zeros(len(self.tables), np.int64)
        self._task_in = np.zeros(0, np.int32)  # by comm: the task that it names by its number, or -1
        self._comm_of = np.full(MAX_TASKS, -1, np.int32)  # the last name of each task

    def take(self, buffer: NDArray[np.uint8]) -> None:
        """Take the names that a block brought."""
        comms = self._new(scan.COMMS, len(self.comms), buffer)
        self.comms += comms
        if comms:
            tasks = [int(comm[1:]) if _FORGOTTEN.fullmatch(comm) else -1 for comm in comms]
            self._task_in = np.append(self._task_in, np.array(tasks, np.int32))
        self.gfps += self._new(scan.GFPS, len(self.gfps), buffer)
        stacks = list(map(frames_of, self._new(scan.STACKS, len(self.stacks), buffer)))
        if self._kallsyms is not None and stacks:
            begins = [int(frames[0], 16) for frames in stacks if frames and is_address(frames[0])]
            self._namer.judge(np.array(begins, np.uint64))
            stacks = list(map(self._named, stacks))
        self.stacks += stacks

    def recall(self, rows: NDArray[Any]) -> None:
        """Give a task that is named by its number, as ``:402``, its earlier name; rows are in order of time."""
        _recall(rows, self._task_in, self._comm_of)

    def _named(self, frames: tuple[str, ...]) -> tuple[str, ...]:
        """The frames with names for addresses, where there are symbols."""
        if not any(map(is_address, frames)):
            return frames
        numbers = np.array([int(frame, 16) for frame in frames if is_address(frame)], np.uint64)
        names = iter(self._namer.symbols.resolve(numbers))
        return without_tracer([next(names) if is_address(frame) else frame for frame in frames])

    @cached_property
    def _namer(self) -> Namer:
        return Namer(NONE if self._kallsyms is None else read_symbols(self._kallsyms), self._found)

    def _new(self, which: int, known: int, buffer: NDArray[np.uint8]) -> list[str]:
        """The texts numbered from `known` on, in order."""
        if known == self.named[which]:
            return []
        spans = new_spans(self.tables[which], known)
        return [bytes(buffer[start:end]).decode("utf-8", "replace") for start, end in spans]

    def grow(self) -> bool:
        """Double every table that is half full; True: there was one."""
        full = [which for which, table in enumerate(self.tables) if 2 * self.named[which] >= len(table)]
        for which in full:
            self.tables[which] = doubled(self.tables[which])
        return bool(full)


class _Stream:
    """The state of a scanner in one file, or in files that follow each other."""

    def __init__(self, rows: int) -> None:
        self.rows = np.zeros(rows, ROW)
        self.waiting = np.full((MAX_CPUS, CONTEXTS), OTHER_EVENT, np.int64)
        self.counts = np.zeros(scan.COUNTS, np.int64)
        self.begin()

    def begin(self) -> None:
        """Begin another file."""
        kept = self.counts[scan.ROWS]
        self.counts[:] = 0
        self.counts[scan.ROWS] = kept
        self.counts[[scan.FIRST_NS, scan.LAST_NS]] = -1
        self.announced = 0  # entries that the header says are in the file

    def scan(self, names: _Names, notes: NDArray[np.int64]) -> scan.Scan:
        """Everything that a scanner reads and writes."""
        comms, gfps, stacks = names.tables
        return scan.Scan(self.rows, comms, gfps, stacks, names.named, self.waiting, self.counts, notes)

    def forget(self, count: int) -> None:
        """Drop the first `count` rows, which are stored, and move the rest to the front."""
        rest = int(self.counts[scan.ROWS]) - count
        rows = raw(self.rows)
        rows[:rest] = rows[count : count + rest]
        self.counts[scan.ROWS] = rest
        waiting = self.waiting
        moved = waiting - count
        waiting[:] = np.where(waiting < 0, waiting, np.where(moved < 0, STORED, moved))


@compiled
def _recall(rows: Any, task_in: Any, comm_of: Any) -> None:
    for row in range(rows.shape[0]):
        task, comm = rows[row].pid, rows[row].comm
        if comm >= 0 and 0 <= task < comm_of.shape[0]:
            if task_in[comm] != task:
                comm_of[task] = comm
            elif comm_of[task] >= 0:
                rows[row].comm = comm_of[task]
