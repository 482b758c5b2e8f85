"""Ring-buffer pages of several CPUs as a `Trace`: each CPU's pages into rows, stacks to their events, CPUs merged."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.formats.ring_buffer import pages as ring
from ingest.formats.ring_buffer.clock import Clock
from ingest.formats.ring_buffer.event_format import EventFormat, Field
from ingest.merge import merged
from ingest.snapshots.kallsyms import Namer, Symbols
from ingest.source import PADDING
from ingest.spans import doubled, new_names, new_spans
from ingest.trace import MAX_TASKS, ROW, STORED, Findings, raw

_ROWS = 1 << 21  # rows of all CPUs together that wait to be merged, about
_MOST_ROWS, _FEWEST_ROWS = 1 << 16, 1 << 12  # of one CPU
_BLOCKS, _LARGEST_BLOCK = 64 << 20, 1 << 20  # bytes read ahead of all CPUs together and of one
_COUNTED = {
    "other_events": ring.OTHER,
    "batched_frees_skipped": ring.BATCHED,
    "stacks_without_event": ring.ORPHANS,
    "user_frames_dropped": ring.USER_FRAMES,
}
_NO_NAME, _IDLE = "<...>", "<idle>"  # as ftrace prints them


class CpuPages(Protocol):
    """The pages of one CPU, one after the other."""

    cpu: int
    size: int
    """Bytes that they take in the file."""

    def fill(self, target: memoryview) -> int:
        """Read until the target is full or there are no more; bytes read."""

    def consumed(self) -> int:
        """Bytes of the file read so far."""


@dataclass
class RecordedBuffer:
    """One buffer of a recording: its pages, and what its file says about them."""

    where: Path  # the file, for messages
    formats: list[EventFormat]
    header_page: dict[str, Field]  # fields of events/header_page
    page_size: int  # bytes
    big_endian: bool  # whether the recorded machine was
    pages: Sequence[CpuPages]
    symbols: Symbols
    tasks: dict[int, str]  # names by pid
    clock: Clock
    lost: dict[int, int] = field(default_factory=dict)  # by CPU, as the kernel says (per_cpu/cpu*/stats)


class _Block:
    """Some pages of one CPU in memory, while the next are read; the start of an incomplete page moves before them."""

    def __init__(self, pages: CpuPages, size: int, page_size: int, reader: ThreadPoolExecutor) -> None:
        self.buffer, self._next = (np.zeros(page_size + size + PADDING, np.uint8) for _ in range(2))
        self.at = self.end = self._begin = page_size
        self._pages, self._size, self._reader = pages, size, reader
        self._coming: Future[int] | None = None

    def more(self) -> bool:
        """Go on to the next pages; False: there are no more."""
        got = (self._coming or self._ask()).result()
        rest = self.end - self.at
        self._next[self._begin - rest : self._begin] = self.buffer[self.at : self.end]
        self.buffer, self._next = self._next, self.buffer
        self.at, self.end = self._begin - rest, self._begin + got
        self._coming = self._ask()
        return got > 0

    def _ask(self) -> "Future[int]":
        room = memoryview(self._next)[self._begin : self._begin + self._size]  # type: ignore[arg-type]
        return self._reader.submit(self._pages.fill, room)


class RingTrace:
    """Reads a `RecordedBuffer` (a `Trace`; `found` may be that of several).

    Raises:
        UsageError: the formats are missing or impossible.
    """

    def __init__(self, recording: RecordedBuffer, found: Findings) -> None:
        self.gfps: list[str] = []
        self.stacks: list[tuple[str, ...]] = []
        self.found = found
        self._recording = recording
        self._namer = Namer(recording.symbols, found)
        page_size, big_endian = recording.page_size, recording.big_endian
        self._layout = ring.layout_of(
            recording.formats, recording.header_page, page_size, big_endian, str(recording.where)
        )
        alloc = next((form for form in recording.formats if form.name == "mm_page_alloc"), None)
        self._flags = alloc.flags("gfp_flags") if alloc else None
        self.comms, tasks = _tasks(recording.tasks)
        most = recording.page_size // ring.SMALLEST_EVENT  # events of a page
        slots = max(1 << 14, 4 * most)
        named, counts = np.zeros(2, np.int64), np.zeros(len(_COUNTED), np.int64)
        self._tables = ring.SharedTables(new_names(slots), new_names(slots), named, counts, tasks)
        cpus = len(recording.pages)
        self._most = most
        self._capacity = max(2 * most, min(_MOST_ROWS, max(_FEWEST_ROWS, _ROWS // max(cpus, 1))))
        self._rows = np.zeros((cpus, self._capacity), ROW)
        self._state = ring.new_state(cpus)
        size = max(min(_LARGEST_BLOCK, _BLOCKS // max(cpus, 1)), recording.page_size)
        self._reader = ThreadPoolExecutor(1)  # reads and decompresses ahead
        self._blocks = [
            _Block(pages, size - size % recording.page_size, recording.page_size, self._reader)
            for pages in recording.pages
        ]

    @property
    def first_ns(self) -> int:
        """Time of the first entry, whatever it is; -1 before one was read."""
        begun = self._state[:, ring.FIRST_TS]
        return int(begun[begun >= 0].min()) if (begun >= 0).any() else -1

    def batches(self) -> Iterator[NDArray[Any]]:
        """See `Trace`."""
        found = self.found
        for rows in merged(deque((-1, stream) for stream in range(len(self._blocks))), self._read):
            if self.first_ns >= 0 and not 0 <= found.first_ns <= self.first_ns:
                found.first_ns = self.first_ns
            yield rows
        self._finish()

    def begin(self) -> int:
        """Time of the earliest page, before anything was read; -1: there is none."""
        size, order = self._recording.page_size, ">i8" if self._recording.big_endian else "<i8"
        begins = [-1]
        for pages in self._recording.pages:
            page = bytearray(size)
            if pages.fill(memoryview(page)) == size:
                stamps = np.frombuffer(page, order, 1).astype(np.int64)
                begins.append(int(self._recording.clock.to_ns(stamps, pages.cpu)[0]))
        return min(begins[1:], default=-1)

    def consumed(self) -> int:
        """See `Trace`."""
        return sum(pages.consumed() for pages in self._recording.pages)

    def close(self) -> None:
        """See `Trace`; the files are closed afterwards, by their owner."""
        self._reader.shutdown(cancel_futures=True)

    def _read(self, stream: int) -> Iterator[NDArray[Any]]:
        """One CPU's rows, as soon as their stack has come or cannot come any more."""
        state, block, rows = self._state[stream], self._blocks[stream], self._rows[stream]
        waiting = state[ring.WAITING :]
        page_size = self._recording.page_size
        while block.at + page_size <= block.end or block.more():
            self._read_on(stream)
            ready = int(state[ring.ROWS])
            held = waiting[waiting >= 0]
            if len(held) and (held.min() > 0 or ready + self._most <= self._capacity):
                ready = int(held.min())  # else its stack comes too late and counts as lost
            yield rows[:ready]
            kept = int(state[ring.ROWS]) - ready
            raw(rows)[:kept] = raw(rows)[ready : ready + kept]
            waiting[:] = np.where(waiting < 0, waiting, np.where(waiting < ready, STORED, waiting - ready))
            state[ring.ROWS] = kept
        if block.end > block.at:
            self.found.damage("cut_off", f"{self._place(stream)}: its last page is cut off")
        yield rows[: state[ring.ROWS]]

    def _read_on(self, stream: int) -> None:
        """Read pages of a CPU until its rows, a table of names or the block are at their end."""
        state, block = self._state[stream], self._blocks[stream]
        cpu, clock = self._recording.pages[stream].cpu, self._recording.clock
        begun, damaged = int(state[ring.ROWS]), int(state[ring.DAMAGED])
        fresh = state[ring.FIRST_TS] < 0
        block.at = ring.read_pages(
            self._layout, self._tables, self._rows[stream], state, cpu, block.buffer.ctypes.data, block.at, block.end
        )
        self._take_names(block.buffer)
        if clock.converts:
            times = self._rows[stream, begun : state[ring.ROWS]]["ts"]
            times[:] = clock.to_ns(times, cpu)
            if fresh and state[ring.FIRST_TS] >= 0:
                state[ring.FIRST_TS] = clock.to_ns(state[ring.FIRST_TS : ring.FIRST_TS + 1], cpu)[0]
        if state[ring.DAMAGED] > damaged:
            self.found.damage(
                "damaged_records",
                f"{self._place(stream)}: no events of the ring buffer at byte {state[ring.DAMAGED_AT]:,} of its pages",
            )
            self.found.counts["damaged_records"] += int(state[ring.DAMAGED]) - damaged - 1

    def _place(self, stream: int) -> str:
        return f"{self._recording.where}: CPU {self._recording.pages[stream].cpu}"

    def _take_names(self, buffer: NDArray[np.uint8]) -> None:
        tables, order = self._tables, "big" if self._recording.big_endian else "little"
        gfps, stacks = int(tables.named[ring.GFPS]), int(tables.named[ring.STACKS])
        if gfps > len(self.gfps):
            for start, end in new_spans(tables.gfps, len(self.gfps)):
                mask = int.from_bytes(bytes(buffer[start:end]), order)  # type: ignore[arg-type]
                self.gfps.append(self._flags.text(mask) if self._flags else hex(mask))
        if stacks > len(self.stacks):
            chains = [bytes(buffer[start:end]) for start, end in new_spans(tables.stacks, len(self.stacks))]
            address = f"{'>' if order == 'big' else '<'}u{self._layout.page[ring.LONG]}"
            self.stacks += self._namer.stacks(chains, address)
        self._tables = tables._replace(gfps=self._roomy(tables.gfps, gfps), stacks=self._roomy(tables.stacks, stacks))

    def _roomy(self, table: NDArray[np.void], names: int) -> NDArray[np.void]:
        """The table, or one twice as large where the names of one more page could fill over half of it."""
        return table if 2 * (names + self._most) <= len(table) else doubled(table)

    def _finish(self) -> None:
        found = self.found
        for name, which in _COUNTED.items():
            found.counts[name] += int(self._tables.counts[which])
        marked = dict(zip((pages.cpu for pages in self._recording.pages), self._state, strict=True))
        for cpu in sorted(marked.keys() | self._recording.lost.keys()):
            stated = self._recording.lost.get(cpu, 0)  # by the kernel's own count
            counted, gaps = (int(marked[cpu][ring.LOST]), int(marked[cpu][ring.GAPS])) if cpu in marked else (0, 0)
            if stated or counted:
                found.lose(cpu, max(stated, counted))
            if gaps and stated <= counted:  # else the gaps are part of the kernel's own count
                found.uncounted[cpu] += gaps


def saved_cmdlines(text: str) -> dict[int, str]:
    """Names of tasks by pid (tracefs ``saved_cmdlines``)."""
    return {int(pid): name for pid, name in re.findall(r"^ *(\d{1,9}) (.*)$", text, re.MULTILINE)}


def _tasks(names: dict[int, str]) -> tuple[list[str], NDArray[np.int32]]:
    """Names of tasks by number, and the numbers by pid."""
    known = {pid: name for pid, name in names.items() if 0 < pid < MAX_TASKS}
    texts = [_NO_NAME, _IDLE, *dict.fromkeys(known.values())]
    numbers = {name: number for number, name in enumerate(texts)}
    tasks = np.zeros(max(known, default=0) + 1, np.int32)
    tasks[0] = 1
    for pid, name in known.items():
        tasks[pid] = numbers[name]
    return texts, tasks
