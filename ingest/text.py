"""Text formats as a `Trace`: blocks of text through a format's compiled scanner, names and notes beside the rows."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest import scan
from ingest.classify import frames_of
from ingest.source import Text
from ingest.trace import BATCH, ROW_GROUP, Context, Found
from ptpool.errors import UsageError

Scanner = Callable[[scan.Scan, int, int, int, bool], int]
"""A format's ``scan_block``: the tables, address and bounds of the text, whether it is the last of the file."""

_KEPT_BACK = ROW_GROUP  # rows whose stack may still come
_NOTES = 1 << 12
_COUNTED = {
    "other_events": scan.OTHER,
    "batched_frees_skipped": scan.BATCHED,
    "stacks_without_event": scan.ORPHANS,
    "user_frames_dropped": scan.USER_FRAMES,
    "events_without_cpu": scan.NO_CPU,
}
_ANNOUNCED = re.compile(r"entries-in-buffer/entries-written: (\d+)/(\d+)")
_LOST = (
    re.compile(r"CPU:(?P<cpu>\d+) \[(?:LOST )?(?P<n>\d+) EVENTS(?: DROPPED)?\]"),
    re.compile(r"\[(?P<cpu>\d+)\].*PERF_RECORD_LOST(?:_SAMPLES)?:? +lost (?P<n>\d+)"),
    re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)?:? +lost (?P<n>\d+)"),
    re.compile(r"LOST (?P<n>\d+) events", re.IGNORECASE),
)
_HARMLESS = re.compile(r"^(cpus=\d+|version = .*|CPU \d+ is empty|.*PERF_RECORD_\w+.*|\s*\[\.\.\.\]\s*)$")


class TextTrace:
    """Reads the parts of a text trace, one after the other (a `Trace`)."""

    def __init__(self, paths: Sequence[Path], scanner: Scanner, context: Context) -> None:
        self.comms: list[str] = []
        self.gfps: list[str] = []
        self.stacks: list[tuple[str, ...]] = []
        self.found = Found(context.best_effort)
        self._paths, self._scanner = paths, scanner
        self._text: Text | None = None
        self._consumed = 0  # bytes of the files read to their end
        self._announced = 0  # entries that the header says are in the file
        self._began: list[tuple[Path, int]] = []  # ns of the first entry of each file
        counts = np.zeros(scan.COUNTS, np.int64)
        self._scan = scan.Scan(
            rows=np.zeros(BATCH + _KEPT_BACK, scan.ROW),
            comms=_names(1 << 12),
            gfps=_names(1 << 10),
            stacks=_names(1 << 14),
            waiting=np.full((scan.MAX_CPUS, scan.CONTEXTS), scan.OTHER_EVENT, np.int64),
            counts=counts,
            notes=np.zeros((_NOTES, 4), np.int64),
        )

    def batches(self) -> Iterator[NDArray[Any]]:
        """See `Trace`."""
        for path in self._paths:
            self._text = text = Text(path)
            self._scan.counts[[scan.LINES, scan.ENTRIES]] = 0
            self._scan.counts[scan.FIRST_NS] = -1
            self._announced = 0
            while not text.final:
                text.more()
                while self._read_on(text):
                    if self._scan.counts[scan.ROWS] == len(self._scan.rows):
                        yield self._scan.rows[:BATCH]
                        self._forget(BATCH)
                yield self._scan.rows[:0]
            self._finish(text)
        yield self._scan.rows[: self._scan.counts[scan.ROWS]]

    def consumed(self) -> int:
        """See `Trace`."""
        return self._consumed + (self._text.consumed() if self._text else 0)

    def close(self) -> None:
        """See `Trace`."""
        if self._text is not None:
            self._text.close()
            self._text = None

    def _read_on(self, text: Text) -> bool:
        """Scan the rest of the block; whether a table was full before its end."""
        counts = self._scan.counts
        text.at = self._scanner(self._scan, text.buffer.ctypes.data, text.at, text.end, text.final)
        self._take_names(text.buffer)
        if counts[scan.FIRST_NS] >= 0 and (not self._began or self._began[-1][0] != text.path):
            self._begin(text.path, int(counts[scan.FIRST_NS]))
        noted = int(counts[scan.NOTES])
        if noted:
            self._take_notes(text, noted)
        if counts[scan.COUNTERS]:
            raise UsageError(
                f"{text.path}: line {counts[scan.LINES]}: time stamps are counts, not seconds",
                "record with trace_clock local, global, mono or boot (not counter, uptime or x86-tsc)",
            )
        return bool(counts[scan.ROWS] == len(self._scan.rows)) or noted == _NOTES or self._grow_tables()

    def _begin(self, path: Path, first_ns: int) -> None:
        if self._began:
            before, began = self._began[-1]
            if first_ns < began:
                raise UsageError(
                    f"{path}: begins {(began - first_ns) / 1e9:.6f} s before {before}, which was named before it",
                    "name the parts of a trace in the order of time; import different traces one by one",
                )
        else:
            self.found.first_ns = first_ns
        self._began.append((path, first_ns))

    def _finish(self, text: Text) -> None:
        found, counts = self.found, self._scan.counts
        if text.damage:
            found.damage(
                "damaged_compression", f"{text.path}: the compressed data is damaged or cut off ({text.damage})"
            )
        if text.at < text.end:
            found.damage(
                "cut_off",
                f"{text.path}: line {counts[scan.LINES] + 1}: cut off at byte {text.offset + text.end},"
                " in the middle of a line",
            )
        if counts[scan.ENTRIES] < self._announced:
            found.damage(
                "cut_off",
                f"{text.path}: cut off: it holds {counts[scan.ENTRIES]:,} of the {self._announced:,} entries"
                " its header announces",
            )
        for name, which in _COUNTED.items():
            found.counts[name] = int(counts[which])
        self._consumed += text.consumed()
        self.close()

    def _take_notes(self, text: Text, noted: int) -> None:
        found = self.found
        for what, start, end, line in self._scan.notes[:noted].tolist():
            words = bytes(text.buffer[start:end]).decode("utf-8", "replace")
            if what == scan.NOTE_COMMENT:
                found.comment(words)
                if match := _ANNOUNCED.search(words):
                    self._announced += int(match[1])
                    found.overwritten += int(match[2]) - int(match[1])
            elif match := next((match for pattern in _LOST if (match := pattern.search(words))), None):
                found.lose(int(match["cpu"]) if "cpu" in match.groupdict() else None, int(match["n"]))
            elif what == scan.NOTE_DAMAGED or not _HARMLESS.match(words):
                shown = "".join(c if c.isprintable() else "?" for c in words.strip()[:60])
                found.damage("damaged_lines", f"{text.path}: line {line}: not a trace line: {shown}")
        self._scan.counts[scan.NOTES] = 0

    def _take_names(self, buffer: NDArray[np.uint8]) -> None:
        counts = self._scan.counts
        self.comms += _new(self._scan.comms, len(self.comms), counts[scan.COMMS], buffer)
        self.gfps += _new(self._scan.gfps, len(self.gfps), counts[scan.GFPS], buffer)
        self.stacks += map(frames_of, _new(self._scan.stacks, len(self.stacks), counts[scan.STACKS], buffer))

    def _grow_tables(self) -> bool:
        """Double every table of names that is half full; whether one was."""
        grown: dict[str, Any] = {}
        for name, which in (("comms", scan.COMMS), ("gfps", scan.GFPS), ("stacks", scan.STACKS)):
            table = getattr(self._scan, name)
            if 2 * self._scan.counts[which] >= len(table):
                grown[name] = _names(2 * len(table))
                scan.regrow(table, grown[name])
        self._scan = self._scan._replace(**grown)
        return bool(grown)

    def _forget(self, count: int) -> None:
        """Drop the first `count` rows, which are stored, and move the rest to the front."""
        rest = int(self._scan.counts[scan.ROWS]) - count
        self._scan.rows[:rest] = self._scan.rows[count : count + rest]
        self._scan.counts[scan.ROWS] = rest
        waiting = self._scan.waiting
        moved = waiting - count
        waiting[:] = np.where(waiting < 0, waiting, np.where(moved < 0, scan.STORED, moved))


def _names(slots: int) -> NDArray[np.void]:
    table = np.zeros(slots, scan.NAME)
    table["number"] = -1
    return table


def _new(table: NDArray[np.void], known: int, count: int, buffer: NDArray[np.uint8]) -> list[str]:
    """The texts numbered from `known` up to `count`, in order."""
    if known == count:
        return []
    fresh = table[table["number"] >= known]
    fresh = fresh[np.argsort(fresh["number"])]
    return [
        bytes(buffer[start:end]).decode("utf-8", "replace")
        for start, end in zip(fresh["start"].tolist(), fresh["end"].tolist(), strict=True)
    ]
