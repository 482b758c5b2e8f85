"""Parts of a recording, each a trace.dat, merged by time: a `Trace`."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.formats.ring_buffer.trace import CpuPages, RecordedBuffer, RingTrace
from ingest.formats.trace_dat.file import MAGIC, Buffer, TraceDat, read_trace_dat
from ingest.formats.trace_dat.pages import ChunkedPages, PlainPages
from ingest.merge import merged
from ingest.snapshots.kallsyms import NONE, Symbols, parse_symbols, read_symbols
from ingest.source import decompressed
from ingest.trace import MAX_CPUS, Context, Findings
from ptpool.errors import UsageError

_MOST_PAGES = 1 << 26  # bytes of one page of each CPU: 8192 CPUs with 4K, a thousand with 64K


class Parts:
    """Parts of one recording, merged by time (a `Trace`)."""

    def __init__(self, paths: Sequence[Path], context: Context) -> None:
        self.comms: list[str] = []
        self.gfps: list[str] = []
        self.stacks: list[tuple[str, ...]] = []
        self.found = Findings(context.best_effort)
        self._context = context
        self._open: dict[Path, Part] = {}
        self._consumed = 0
        begin = sorted((self._begin(path) if len(paths) > 1 else -1, place) for place, path in enumerate(paths))
        self._waiting = deque((ns, paths[place]) for ns, place in begin)

    def batches(self) -> Iterator[NDArray[Any]]:
        """See `Trace`."""
        return merged(self._waiting, self._read)

    def _begin(self, path: Path) -> int:
        """Time of the first page of a part."""
        part = Part(path, self._context, Findings(best_effort=True))
        try:
            return part.trace.begin()
        finally:
            part.close()

    def _read(self, path: Path) -> Iterator[NDArray[Any]]:
        """One part; its names get numbers of their own: another kernel may have other names for the same bits."""
        self._open[path] = part = Part(path, self._context, self.found)
        trace = part.trace
        numbers = {name: np.full(1, -1, np.int32) for name in ("comm", "gfp", "stack")}  # the last is for -1, none
        for rows in trace.batches():
            numbers["comm"] = _learn(self.comms, trace.comms, numbers["comm"])
            numbers["gfp"] = _learn(self.gfps, trace.gfps, numbers["gfp"])
            numbers["stack"] = _learn(self.stacks, trace.stacks, numbers["stack"])
            if len(self._open) > 1 or self._consumed:
                for name, known in numbers.items():
                    rows[name] = known[rows[name]]
            yield rows
        del self._open[path]
        self._consumed += path.stat().st_size
        part.close()

    def consumed(self) -> int:
        """See `Trace`."""
        return self._consumed + sum(
            int(path.stat().st_size * part.trace.consumed() / max(part.size, 1)) for path, part in self._open.items()
        )

    def close(self) -> None:
        """See `Trace`."""
        for part in self._open.values():
            part.close()
        self._open.clear()


Name = TypeVar("Name")


def _learn(known: list[Name], of_part: list[Name], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Append the new names of a part; its numbers for them, before the last."""
    new = of_part[len(numbers) - 1 :]
    if not new:
        return numbers
    known.extend(new)
    fresh = np.arange(len(known) - len(new), len(known), dtype=np.int32)
    return np.concatenate([numbers[:-1], fresh, numbers[-1:]])


class Part:
    """One file of a recording: opened, read, closed."""

    def __init__(self, path: Path, context: Context, found: Findings) -> None:
        self._file = plain_file(path)
        try:
            trace = read_trace_dat(self._file, path)
            for line in _comments(trace):
                found.comment(line)
            found.pages_of(trace.page_size)
            symbols = parse_symbols(trace.kallsyms)
            if not symbols.names:
                symbols = read_symbols(context.kallsyms) if context.kallsyms else NONE
            self.trace = self._open(trace, path, symbols, found)
        except BaseException:
            self._file.close()
            raise

    def _open(self, trace: TraceDat, path: Path, symbols: Symbols, found: Findings) -> RingTrace:
        if any(buffer.latency for buffer in trace.buffers):
            raise UsageError(
                f"{path}: it holds the text of a latency tracer instead of events",
                "print it and import the text: trace-cmd report -i trace.dat > trace.txt",
            )
        if trace.options.clock.counts:
            raise UsageError(
                f"{path}: time stamps are counts of the clock {trace.options.clock.name}, not ns",
                "record with trace_clock local, global, mono or boot (not counter, uptime or x86-tsc)",
            )
        filled = [buffer for buffer in trace.buffers if buffer.cpus]
        if not filled:
            raise UsageError(
                f"{path}: it holds no events", "record kmem:mm_page_alloc and kmem:mm_page_free, with stacks"
            )
        chosen = filled[0]
        if len(filled) > 1:
            chosen = next((buffer for buffer in filled if self._has_page_events(trace, buffer, path)), chosen)
            found.counts["buffers_not_read"] += len(filled) - 1
        recording = self._recording(trace, chosen, path, symbols, found)
        self.size = sum(pages.size for pages in recording.pages)
        return RingTrace(recording, found)

    def _has_page_events(self, trace: TraceDat, buffer: Buffer, path: Path) -> bool:
        probe = Findings(best_effort=True)
        reading = RingTrace(self._recording(trace, buffer, path, NONE, probe), probe)
        try:
            return any(len(rows) for rows in reading.batches())
        finally:
            reading.close()

    def _recording(
        self, trace: TraceDat, buffer: Buffer, path: Path, symbols: Symbols, found: Findings
    ) -> RecordedBuffer:
        _check_places(buffer, path)
        pages: list[CpuPages] = []
        for cpu, offset, size in buffer.cpus:
            if cpu >= MAX_CPUS or offset >= 1 << 62 or size >= 1 << 62:
                raise UsageError(f"{path}: impossible CPU {cpu} with {size:,} bytes at {offset:,}", "copy it again")
            if buffer.compressed:
                how = trace.order, trace.compression, buffer.page_size
                pages.append(ChunkedPages(self._file.fileno(), cpu, offset, size, path, found, *how))
            else:
                pages.append(PlainPages(self._file.fileno(), cpu, offset, size, path, found))
        return RecordedBuffer(
            path,
            trace.formats,
            trace.header_page,
            buffer.page_size,
            trace.order == "big",
            pages,
            symbols,
            trace.tasks,
            trace.options.clock,
            trace.options.lost.get(buffer.name, {}),
        )

    def close(self) -> None:
        """Close the file."""
        self.trace.close()
        self._file.close()


def _check_places(buffer: Buffer, path: Path) -> None:
    """Refuse a buffer whose CPUs share bytes, or whose pages would not fit into memory side by side."""
    if len(buffer.cpus) * buffer.page_size > _MOST_PAGES:
        raise UsageError(
            f"{path}: impossible {len(buffer.cpus):,} CPUs with pages of {buffer.page_size:,} bytes", "copy it again"
        )
    places = sorted((offset, size, cpu) for cpu, offset, size in buffer.cpus)
    for (first, size, cpu), (second, _, other) in pairwise(places):
        if first + size > second:
            raise UsageError(
                f"{path}: byte {second:,}: the pages of CPU {other} begin within those of CPU {cpu}", "copy it again"
            )


def plain_file(path: Path) -> BinaryIO:
    """The file, decompressed into a temporary one where it is compressed as a whole: its reader jumps back and forth.

    Raises:
        UsageError: it is damaged, or there is no room for it.
    """
    file = path.open("rb")
    if file.read(len(MAGIC)) == MAGIC:
        return file
    file.close()
    plain, damage = decompressed(path)
    if damage:
        plain.close()
        raise UsageError(f"{path}: cannot be decompressed ({damage})", "copy it again, or decompress it")
    return plain


def _comments(trace: TraceDat) -> Iterator[str]:
    """What the file says about the machine, in the words that ingest/snapshots/machine.py looks for."""
    options = trace.options
    if options.release:
        yield f"# os release : {options.release}"
        yield f"# arch : {options.arch}"
    if options.cpus:
        yield f"# nrcpus online : {options.cpus}"
    yield f"# trace_clock : {options.clock.name}"
