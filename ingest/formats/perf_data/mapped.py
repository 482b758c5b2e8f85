"""A file as bytes at an address: memory-mapped, and where it is compressed, decompressed into a temporary file first.

The event formats follow the records of a perf.data file, so a compressed one has to be decompressed to its end before
its first record can be understood. A temporary file costs disk space; a second pass would decompress twice.
"""

import ctypes
import mmap
from pathlib import Path

import numpy as np

from ingest.source import decompressed
from ptpool.errors import UsageError


class Mapped:
    """A mapped file; `damage` says what was wrong with its compression, `address` and `size` where its bytes are.

    Args:
        path: the file.
        magics: what it begins with where it is not compressed.

    Raises:
        UsageError: it cannot be read or mapped, or there is no room to decompress it.
    """

    def __init__(self, path: Path, magics: tuple[bytes, ...]) -> None:
        self.path, self.damage = path, ""
        self._dropped = 0
        try:
            with path.open("rb") as file:
                self._file_size = path.stat().st_size
                if file.read(8).startswith(magics):
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                else:
                    self._map = self._decompressed()
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise UsageError(f"{path}: cannot be mapped ({error})", "copy it to a local disk") from error
        self.size = len(self._map)
        self.address = int(np.frombuffer(self._map, np.uint8).ctypes.data)

    def _decompressed(self) -> mmap.mmap:
        file, self.damage = decompressed(self.path)
        with file:
            if not file.tell():
                raise UsageError(f"{self.path}: the compressed data is damaged or cut off", "copy it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def bytes(self, at: int, size: int) -> bytes:
        """Bytes of the file; fewer where it ends before."""
        at = min(at, self.size)
        return ctypes.string_at(self.address + at, min(size, self.size - at))

    def drop(self, until: int) -> None:
        """Let go of the memory of the bytes before `until`, which are not needed for now."""
        until -= until % mmap.PAGESIZE
        if until > self._dropped:
            self._map.madvise(mmap.MADV_DONTNEED, self._dropped, until - self._dropped)
            self._dropped = until

    def consumed(self, at: int) -> int:
        """Bytes of the file itself that `at` stands for, for progress."""
        return self._file_size * min(at, self.size) // self.size

    def close(self) -> None:
        """Close the file."""
        self._map.close()
