"""Files as a stream of blocks of text: plain, gzip, xz or zstd, told apart by their first bytes.

A thread of its own reads and decompresses ahead of the scanner. What a record leaves unread at the end of a block is
carried in front of the next one, so memory does not depend on the size of the file.
"""

import lzma
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError

BLOCK = 4 << 20  # bytes; fits the last-level cache of a small machine
LONGEST_RECORD = 1 << 20  # bytes; an event with its stack has a few KiB
PADDING = 64  # bytes after the text that the scanner may look at

_AHEAD = 2  # blocks read ahead
_MAGICS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Stream(Protocol):
    """What blocks are filled from."""

    def readinto(self, target: Any, /) -> int | None:
        """Fill as much of the buffer as there is; 0 at the end."""

    def close(self) -> None:
        """Done."""


def open_bytes(path: Path) -> tuple[Stream, Callable[[], int]]:
    """Open a file for reading its decompressed bytes.

    Returns:
        The stream, and a function that says how many bytes of the file itself were read so far.

    Raises:
        UsageError: it does not exist or may not be read.
    """
    try:
        raw = path.open("rb", buffering=0)
        magic = raw.read(6)
        raw.seek(0)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "name a trace file, or a folder that holds one") from error
    kind = next((kind for start, kind in _MAGICS.items() if magic.startswith(start)), None)
    if kind is None:
        return raw, raw.tell
    if kind == "xz":
        return lzma.LZMAFile(raw), raw.tell
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(raw, "r"), kind), raw.tell


def read_head(path: Path, length: int = 1 << 18) -> bytes:
    """The first bytes of a file, decompressed; fewer where it is shorter or damaged.

    Raises:
        UsageError: it does not exist or may not be read.
    """
    stream, _ = open_bytes(path)
    head = bytearray(length)
    filled = 0
    try:
        while filled < length and (got := stream.readinto(memoryview(head)[filled:])):
            filled += got
    except (OSError, EOFError, lzma.LZMAError):
        pass
    stream.close()
    return bytes(head[:filled])


class Text:
    """The text of one file, block by block."""

    def __init__(self, path: Path, block: int = BLOCK) -> None:
        self.path = path
        self.final = False
        self.damage = ""  # what was wrong with the compressed data, if anything
        self.buffer: NDArray[np.uint8] = np.zeros(PADDING, np.uint8)
        self.at = self.end = 0  # what the scanner has not read of the buffer
        self.offset = 0  # bytes of decompressed text before buffer[0] (may be negative for the first)
        self._block = block
        self._stream, self.bytes_read = open_bytes(path)
        self._full: queue.Queue[tuple[NDArray[np.uint8], int] | str] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, daemon=True)
        self._thread.start()

    def _read_ahead(self) -> None:
        try:
            for buffer, filled in self._fill():
                if not self._put((buffer, filled)):
                    return
        except (OSError, EOFError, lzma.LZMAError) as error:
            self._put(f"{error}" or type(error).__name__)

    def _fill(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        filled = -1
        while filled:
            buffer = np.empty(LONGEST_RECORD + self._block + PADDING, np.uint8)
            view = memoryview(buffer)[LONGEST_RECORD : LONGEST_RECORD + self._block]  # type: ignore[arg-type]
            filled = 0
            try:
                while filled < self._block and (got := self._stream.readinto(view[filled:])):
                    filled += got
            except (OSError, EOFError, lzma.LZMAError):
                yield buffer, filled
                raise
            yield buffer, filled

    def _put(self, item: tuple[NDArray[np.uint8], int] | str) -> bool:
        while not self._stopped.is_set():
            try:
                self._full.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def more(self) -> None:
        """Get the next block behind what was left unread; sets `final` at the end of the file.

        Raises:
            UsageError: a record is longer than any trace has.
        """
        rest = self.end - self.at
        if rest > LONGEST_RECORD:
            raise UsageError(
                f"{self.path}: no end of line within {LONGEST_RECORD >> 20} MiB at byte {self.offset + self.at}",
                "this is no trace text; formats that are known: ptpool ingest formats",
            )
        item = self._full.get()
        if isinstance(item, str):
            self.damage, item = item, (np.empty(LONGEST_RECORD + PADDING, np.uint8), 0)
        buffer, filled = item
        buffer[LONGEST_RECORD - rest : LONGEST_RECORD] = self.buffer[self.at : self.end]
        self.offset += self.end - LONGEST_RECORD
        self.buffer, self.at, self.end = buffer, LONGEST_RECORD - rest, LONGEST_RECORD + filled
        buffer[self.end : self.end + PADDING] = 0
        self.final = filled == 0

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()
        self._stream.close()
