"""A folder of ``per_cpu/cpuN/trace_pipe_raw`` with the files of tracefs that describe them, as a `Trace`.

Names are those of tracefs: ``events/header_page``, ``events/*/*/format`` and, where they exist,
``saved_cmdlines``, ``trace_clock``; ``kallsyms`` next to them. ``ptpool ingest capture`` makes such folders.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ingest.formats.ring_buffer.clock import Clock
from ingest.formats.ring_buffer.event_format import Field, parse_fields, parse_format
from ingest.formats.ring_buffer.pages import EVENTS
from ingest.formats.ring_buffer.trace import RecordedBuffer, RingTrace, saved_cmdlines
from ingest.snapshots.kallsyms import NONE, read_symbols
from ingest.source import DAMAGE, Bytes, read_head
from ingest.trace import MAX_CPUS, Context, Findings, Trace
from ptpool.errors import UsageError

_REMEDY = "copy events/header_page and events/*/*/format of its tracefs into the folder: docs/recording.md"
_LARGEST = 1 << 24  # bytes of a descriptive file


def open_trace(paths: Sequence[Path], context: Context) -> Trace:
    """Open the pages of all CPUs (`ingest.trace.Trace`).

    Args:
        paths: ``per_cpu/cpuN/trace_pipe_raw`` of one folder, plain or compressed.
        context: as for every format.

    Raises:
        UsageError: a file that describes them is missing or damaged.
    """
    return _RawTrace(paths, context)


class _RawTrace(RingTrace):
    def __init__(self, paths: Sequence[Path], context: Context) -> None:
        cpus = [_cpu_of(path) for path in paths]
        folder = paths[0].absolute().parents[2]
        found = Findings(context.best_effort)
        header = parse_fields(_text(folder / "events" / "header_page"), f"{folder}/events/header_page")
        texts = sorted(path for path in folder.glob("events/*/*/format") if path.parent.name in EVENTS)
        clock = re.search(r"\[([\w-]+)\]", _optional(folder / "trace_clock"))
        recording = RecordedBuffer(
            where=folder,
            formats=[parse_format(_text(path), str(path)) for path in texts],
            header_page=header,
            page_size=header["data"].offset + header["data"].size if "data" in header else 0,
            big_endian=_is_big(paths, header),
            pages=(),
            symbols=read_symbols(context.kallsyms) if context.kallsyms else NONE,
            tasks=saved_cmdlines(_optional(folder / "saved_cmdlines")),
            clock=Clock(clock[1]) if clock else Clock(),
        )
        if recording.clock.counts:
            raise UsageError(
                f"{folder}/trace_clock: time stamps are counts of the clock {recording.clock.name}, not ns",
                "record with trace_clock local, global, mono or boot (not counter, uptime or x86-tsc)",
            )
        self._files = [_File(path, cpu, found) for path, cpu in zip(paths, cpus, strict=True)]
        recording.pages = sorted(self._files, key=lambda file: file.cpu)
        super().__init__(recording, found)

    def close(self) -> None:
        """See `Trace`."""
        super().close()
        for file in self._files:
            file.close()


class _File:
    """The pages of one CPU (`ingest.formats.ring_buffer.trace.CpuPages`)."""

    def __init__(self, path: Path, cpu: int, found: Findings) -> None:
        self.cpu, self.size = cpu, path.stat().st_size
        self._path, self._found = path, found
        self._data: Bytes | None = None  # opened when it is read

    def fill(self, target: memoryview) -> int:
        """Read until the target is full or the file ends."""
        if self._data is None:
            self._data = Bytes(self._path)
        try:
            self._data.fill(target)
        except DAMAGE as error:
            self._found.damage(
                "damaged_compression", f"{self._path}: the compressed data is damaged or cut off ({error})"
            )
        return self._data.filled

    def consumed(self) -> int:
        """Bytes of the file read."""
        return self._data.consumed() if self._data is not None else 0

    def close(self) -> None:
        """Close the file."""
        if self._data is not None:
            self._data.close()


def _cpu_of(path: Path) -> int:
    number = re.fullmatch(r"cpu(\d{1,4})", path.absolute().parent.name)
    if number is None or int(number[1]) >= MAX_CPUS or len(path.absolute().parents) < 3:
        raise UsageError(
            f"{path}: not in a folder per_cpu/cpuN", "name it as tracefs does: per_cpu/cpu0/trace_pipe_raw"
        )
    return int(number[1])


def _is_big(paths: Sequence[Path], header: Mapping[str, Field]) -> bool:
    """The byte order: no file has it, but the commit word of a page makes sense in one order only."""
    commit, data = header.get("commit"), header.get("data")
    for path in paths:
        head = read_head(path, 64)
        if commit is not None and data is not None and len(head) == 64 and commit.size in (4, 8) and commit.offset == 8:
            word = np.frombuffer(head, f"<u{commit.size}", 1, commit.offset)
            sizes = [int(word[0]), int(word.byteswap()[0])]
            little, big = (0 < size & ((1 << 27) - 1) <= data.size for size in sizes)
            if little != big:
                return big
    return False


def _optional(path: Path) -> str:
    return _text(path) if path.is_file() else ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", _REMEDY) from error
