"""The kernel's memory by address: /proc/kcore (fs/proc/kcore.c), or a saved core of the same form.

Both are ELF files whose segments are ranges of kernel addresses, with a note VMCOREINFO (kernel/vmcore_info.c) that
tells some addresses and numbers. Lockdown, missing rights and kernels without CONFIG_PROC_KCORE refuse it.
"""

import os
import struct
from pathlib import Path

from ingest.recorder.free_lists.errors import UnreadableError

_LOAD, _NOTE = 1, 4


class Kcore:
    """An open core; its segments are those of when it was opened.

    Raises:
        OSError: it cannot be opened or read.
        UnreadableError: it is no core of a 64-bit little-endian machine.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def _read_headers(self) -> None:
        head = os.pread(self._file, 64, 0)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            raise UnreadableError("kcore is not that of a 64-bit little-endian machine")
        size, count = struct.unpack_from("<HH", head, 54)
        headers = os.pread(self._file, size * count, struct.unpack_from("<Q", head, 32)[0])
        self._segments: list[tuple[int, int, int]] = []  # first address, the one after the last, place in the file
        self._said: dict[str, str] = {}
        for number in range(count):
            kind, _, place, address, _, length, _, _ = struct.unpack_from("<IIQQQQQQ", headers, number * size)
            if kind == _LOAD:
                self._segments.append((address, address + length, place))
            elif kind == _NOTE:
                self._said |= _vmcoreinfo(os.pread(self._file, length, place))
        self._last = (0, 0, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address.

        Raises:
            OSError: the kernel refuses.
            UnreadableError: the core has no such address.
        """
        first, end, place = self._last
        if not first <= address < end:
            found = next((segment for segment in self._segments if segment[0] <= address < segment[1]), None)
            if found is None:
                raise UnreadableError("an address is in no segment of kcore")
            first, end, place = self._last = found
        data = os.pread(self._file, size, address - first + place)
        if len(data) != size:
            raise UnreadableError(f"kcore gives {len(data)} of {size} bytes")
        return data

    def words(self, address: int, count: int = 1) -> tuple[int, ...]:
        """Words of 64 bits at an address; errors as for `read`."""
        return struct.unpack(f"<{count}Q", self.read(address, 8 * count))

    def int32(self, address: int) -> int:
        """A signed number of 32 bits; errors as for `read`."""
        return int.from_bytes(self.read(address, 4), "little", signed=True)

    def says(self, name: str) -> bool:
        """Whether VMCOREINFO has an entry."""
        return name in self._said

    def number(self, name: str) -> int:
        """An entry of VMCOREINFO, such as LENGTH(mem_section), or the address SYMBOL(mem_section).

        Raises:
            UnreadableError: there is none.
        """
        if name not in self._said:
            raise UnreadableError(f"VMCOREINFO has no {name}")
        return int(self._said[name], 16 if name.startswith("SYMBOL") else 10)


def _vmcoreinfo(notes: bytes) -> dict[str, str]:
    """The lines NAME=VALUE of the note VMCOREINFO: sizes of its name and text, type, name, text."""
    at = notes.find(b"VMCOREINFO\0")
    if at < 12:
        return {}
    text = notes[at + 12 :][: int.from_bytes(notes[at - 8 : at - 4], "little")].decode(errors="replace")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
