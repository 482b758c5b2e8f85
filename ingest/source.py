"""Files as a stream of blocks of text: plain, gzip, xz or zstd, recognised by their first bytes.

A thread reads and decompresses ahead of the scanner. The unread start of a record at the end of a block moves in front
of the next block, so memory does not depend on the size of the file.
"""

import lzma
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError

BLOCK = 4 << 20  # bytes; fits the last-level cache of a small machine
LONGEST_RECORD = 1 << 20  # bytes; an event with its stack has a few KiB
PADDING = 64  # bytes after the text that the scanner may look at

_AHEAD = 2  # blocks read ahead
_STEP = 64 << 10  # bytes decompressed at a time: at most so many are lost before a damaged place
_MAGICS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


DAMAGE = (OSError, EOFError, lzma.LZMAError)
"""Errors that reading damaged compressed data raises."""


class Bytes:
    """The decompressed bytes of a file.

    Raises:
        UsageError: it does not exist or may not be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._raw = path.open("rb", buffering=0)
            magic = self._raw.read(6)
            self._raw.seek(0)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", "name a trace file, or a folder that holds one") from error
        kind = next((kind for start, kind in _MAGICS.items() if magic.startswith(start)), None)
        self._step = BLOCK if kind is None else _STEP
        self._stream: Any = self._raw
        if kind == "xz":
            self._stream = lzma.LZMAFile(self._raw)  # noqa: SIM115
        elif kind is not None:
            import pyarrow as pa

            self._stream = pa.CompressedInputStream(pa.PythonFile(self._raw, "r"), kind)

    def fill(self, target: memoryview) -> int:
        """Read until the buffer is full or the file ends; bytes read (any of DAMAGE: it is damaged from here on)."""
        self.filled = 0
        while self.filled < len(target):
            got = self._stream.readinto(target[self.filled : self.filled + self._step])
            if not got:
                break
            self.filled += got
        return self.filled

    def consumed(self) -> int:
        """Bytes of the file itself read so far, for progress."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._raw.close()


def read_head(path: Path, length: int = 1 << 18) -> bytes:
    """The first bytes of a file, decompressed; fewer where it is shorter.

    Raises:
        UsageError: it does not exist, may not be read, or nothing of it can be decompressed.
    """
    data = Bytes(path)
    head = bytearray(length)
    try:
        data.fill(memoryview(head))
    except DAMAGE as error:
        if not data.filled:
            raise UsageError(f"{path}: the compressed data is damaged or cut off ({error})", "copy it again") from error
    finally:
        data.close()
    return bytes(head[: data.filled])


class Text:
    """The text of one file, block by block."""

    def __init__(self, path: Path, block: int = BLOCK, data: Bytes | None = None) -> None:
        self.path = path
        self.final = False
        self.damage = ""  # what was wrong with the compressed data, if anything
        self.buffer: NDArray[np.uint8] = np.zeros(PADDING, np.uint8)
        self.at = self.end = 0  # what the scanner has not read of the buffer
        self.offset = 0  # bytes of decompressed text before buffer[0] (may be negative for the first)
        self._block = block
        self._bytes = data or Bytes(path)
        self.consumed = self._bytes.consumed
        self._full: queue.Queue[tuple[NDArray[np.uint8], int] | str] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, daemon=True)
        self._thread.start()

    def _read_ahead(self) -> None:
        """Queue full blocks, and finally a text: what was wrong with the compressed data, empty if nothing."""
        damage, filled = "", self._block
        while filled == self._block and not damage:
            buffer = np.empty(LONGEST_RECORD + self._block + PADDING, np.uint8)
            view = memoryview(buffer)[LONGEST_RECORD : LONGEST_RECORD + self._block]  # type: ignore[arg-type]
            try:
                self._bytes.fill(view)
            except DAMAGE as error:
                damage = str(error) or type(error).__name__
            filled = self._bytes.filled
            if not self._put((buffer, filled)):
                return
        self._put(damage)

    def _put(self, item: tuple[NDArray[np.uint8], int] | str) -> bool:
        while not self._stopped.is_set():
            try:
                self._full.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def more(self) -> None:
        """Get the next block, after the unread rest of this one; sets `final` at the end of the file.

        Raises:
            UsageError: a record is longer than any trace has.
        """
        rest = self.end - self.at
        if rest > LONGEST_RECORD:
            raise UsageError(
                f"{self.path}: no end of line within {LONGEST_RECORD >> 20} MiB at byte {self.offset + self.at}",
                "this is not trace text; for the formats that can be read: ptpool ingest formats",
            )
        item = self._full.get()
        if isinstance(item, str):
            self.final, self.damage = True, item
            item = np.empty(LONGEST_RECORD + PADDING, np.uint8), 0
        buffer, filled = item
        buffer[LONGEST_RECORD - rest : LONGEST_RECORD] = self.buffer[self.at : self.end]
        self.offset += self.end - LONGEST_RECORD
        self.buffer, self.at, self.end = buffer, LONGEST_RECORD - rest, LONGEST_RECORD + filled
        buffer[self.end : self.end + PADDING] = 0

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()
        self._bytes.close()
