"""Removes personal data from a recording: names of tasks become task-1, task-2, ...; user frames are dropped."""

import re
from collections.abc import Iterable
from pathlib import Path

_SAMPLE = re.compile(rb"^ *(\S.*?) +(\d+)( +\[\d+\] +\d+\.\d+: .*)$", re.DOTALL)
_FRAME = re.compile(rb"^\s+([0-9a-f]+) ")
_FTRACE_ENTRY = re.compile(r"^ *(\S.*)-(\d+)( +\[\d+\] )", re.MULTILINE)
_KERNEL_HALF = 1 << 63  # kernel addresses are in the upper half on every 64-bit machine


class Pseudonyms:
    """Pseudonyms of tasks: equal names get equal pseudonyms; kernel threads keep their names.

    Args:
        kernel_threads: their pids.
    """

    def __init__(self, kernel_threads: set[int]) -> None:
        self._kernel_threads = kernel_threads
        self._names: dict[str, str] = {}

    def of(self, pid: int, comm: str) -> str:
        """The pseudonym of a task."""
        if pid in self._kernel_threads:
            return comm
        return self._names.setdefault(comm, f"task-{len(self._names) + 1}")


def redact_perf_script(lines: Iterable[bytes], path: Path, pseudonyms: Pseudonyms) -> None:
    """Write the text of perf script (-F comm,tid,cpu,time,event,trace,ip,sym) without names and user frames, as zstd.

    A line that is neither an event, a kernel frame nor empty is left out: it may hold anything.
    """
    import pyarrow as pa

    with path.open("wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        for line in lines:
            if match := _SAMPLE.match(line):
                comm = pseudonyms.of(int(match[2]), match[1].decode(errors="replace"))
                stream.write(b"%s %s%s" % (comm.encode(), match[2], match[3]))
            elif line == b"\n" or ((frame := _FRAME.match(line)) and int(frame[1], 16) >= _KERNEL_HALF):
                stream.write(line)


def redact_ftrace(text: str, pseudonyms: Pseudonyms) -> str:
    """Text of tracefs's trace with pseudonyms for names of tasks."""
    return _FTRACE_ENTRY.sub(lambda match: f"{pseudonyms.of(int(match[2]), match[1])}-{match[2]}{match[3]}", text)
