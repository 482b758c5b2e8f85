"""The options of a trace.dat that describe the recording (trace-cmd.dat.v7(5))."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.formats.cursor import Order
from ingest.formats.ring_buffer.clock import Clock

_DATE, _CPUSTAT, _TRACECLOCK, _UNAME, _OFFSET, _CPUCOUNT = 1, 2, 4, 5, 7, 8
_TIME_SHIFT, _TSC2NSEC = 12, 14
_INTERPOLATE = 1  # TRACECMD_TSYNC_FLAG_INTERPOLATE
_MOST_CPUS, _MOST_SAMPLES = 1 << 14, 1 << 20


@dataclass
class Options:
    """What the options said."""

    clock: Clock = field(default_factory=Clock)  # of the top-level buffer
    release: str = ""  # of the kernel
    arch: str = ""  # as uname has it
    cpus: int = 0  # 0: not said
    lost: dict[str, dict[int, int]] = field(default_factory=dict)  # events by name of the buffer and by CPU
    _buffer: str = ""  # the buffer whose statistics follow

    def read(self, option: int, data: bytes, order: Order, where: str) -> None:
        """Take in one option; one that does not concern the events is ignored.

        Raises:
            UsageError: it is damaged.
        """
        text = data.decode("utf-8", "replace").rstrip("\0")
        if option in (_DATE, _OFFSET):  # a number of us or ns, as strtoll(…, 0) takes it
            if match := re.match(r"\s*(-?)(0[xX][0-9a-fA-F]{1,16}|\d{1,19})", text):
                value = int(match[2], 0 if match[2][:2].lower() == "0x" else 10)
                self.clock.offset += (-value if match[1] else value) * (1000 if option == _DATE else 1)
        elif option == _CPUSTAT:
            self._statistics(text)
        elif option == _TRACECLOCK:
            if match := re.search(r"\[([\w-]+)\]", text):
                self.clock.name = match[1]
        elif option == _UNAME:  # system, host, release, machine: the host is not kept
            words = text.split()
            if len(words) >= 4:
                self.release, self.arch = words[2], words[-1]
        elif option == _CPUCOUNT and len(data) >= 4:
            self.cpus = min(_number(data, 0, 4, order), _MOST_CPUS)
        elif option == _TSC2NSEC and len(data) >= 16:
            self.clock.mult, self.clock.shift = _number(data, 0, 4, order), min(_number(data, 4, 4, order), 63)
        elif option == _TIME_SHIFT and len(data) >= 16:
            self.clock.interpolate = bool(_number(data, 8, 4, order) & _INTERPOLATE)
            self.clock.samples = time_shifts(data, order)

    def _statistics(self, text: str) -> None:
        cpu = 0
        for line in text.splitlines():
            if match := re.match(r"Buffer: (\S+)", line):
                self._buffer = match[1]
            elif match := re.match(r"CPU: (\d{1,4})$", line):
                cpu = int(match[1])
            elif match := re.match(r"(?:overrun|commit overrun|dropped events): (\d{1,12})$", line):
                lost = self.lost.setdefault(self._buffer, {})
                lost[cpu] = lost.get(cpu, 0) + int(match[1])


def time_shifts(data: bytes, order: Order) -> dict[int, NDArray[np.int64]]:
    """The samples of a TIME_SHIFT option by CPU: rows of time, offset, scaling and fraction bits, by rising time.

    A damaged or empty table shifts nothing.
    """
    cpus, at = _number(data, 12, 4, order), 16
    tables = []
    for _ in range(min(cpus, _MOST_CPUS)):
        count = _number(data, at, 4, order)
        at += 4
        if count > _MOST_SAMPLES or at + 24 * count > len(data):
            return {}
        columns = np.frombuffer(data, ">i8" if order == "big" else "<i8", 3 * count, at).reshape(3, count)
        tables.append(columns.astype(np.int64))
        at += 24 * count
    shifts = {}
    for cpu, columns in enumerate(tables):
        count = columns.shape[1]
        fractions = np.zeros(count, np.int64)
        if at + 8 * count <= len(data):  # files of trace-cmd before 3.1 end here
            fractions = np.frombuffer(data, ">i8" if order == "big" else "<i8", count, at).astype(np.int64)
            at += 8 * count
        rows = np.column_stack([*columns, np.clip(fractions, 0, 63)])
        if count:
            shifts[cpu] = rows[np.unique(rows[:, 0], return_index=True)[1]]
    return shifts


def _number(data: bytes, at: int, size: int, order: Order) -> int:
    return int.from_bytes(data[at : at + size], order)
