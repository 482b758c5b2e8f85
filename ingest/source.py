"""Files as a stream of blocks of text: plain, gzip, xz or zstd, recognised by their first bytes.

A thread reads and decompresses ahead of the scanner. The unread start of a record at the end of a block moves in front
of the next block, so memory does not depend on the size of the file.
"""

import lzma
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

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

    keeps_lines = True  # a line of the text is a line of the file

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

    def blocks(self, size: int) -> Iterator[memoryview]:
        """The rest of the file in blocks of `size` bytes, each overwritten by the next; closes the file."""
        block = memoryview(bytearray(size))
        with closing(self):
            while filled := self.fill(block):
                yield block[:filled]

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
    head = bytearray(length)
    with closing(Bytes(path)) as data:
        try:
            data.fill(memoryview(head))
        except DAMAGE as error:
            if not data.filled:
                what = f"{path}: the compressed data is damaged or cut off ({error})"
                raise UsageError(what, "copy it again") from error
    return bytes(head[: data.filled])


def read_whole(path: Path, most: int) -> bytes:
    """A file, decompressed; where it is longer than `most` bytes, its beginning, which is more than those.

    Raises:
        DAMAGE: the compressed data is damaged or cut off.
    """
    whole = bytearray()
    for block in Bytes(path).blocks(1 << 20):
        whole += block
        if len(whole) > most:
            break
    return bytes(whole)


def decompressed(path: Path) -> tuple[BinaryIO, str]:
    """A temporary file with the bytes of a file up to where it is damaged, and what is wrong there, if anything.

    Raises:
        UsageError: it cannot be read, or there is no room to decompress it.
    """
    block, damage = memoryview(bytearray(BLOCK)), ""
    with closing(Bytes(path)) as data:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  (the caller closes it)
        data.filled = len(block)
        try:
            while data.filled == len(block) and not damage:
                try:
                    data.fill(block)
                except DAMAGE as error:
                    damage = str(error) or type(error).__name__
                file.write(block[: data.filled])
            file.flush()
        except OSError as error:
            file.close()
            raise UsageError(f"{path}: cannot be decompressed ({error})", "make room in TMPDIR for it") from error
    return file, damage


class Text:
    """The text of one file, block by block."""

    def __init__(self, path: Path, block: int = BLOCK, data: Bytes | None = None) -> None:
        self.path = path
        self.final = False
        self.damage = self._damage = ""  # what was wrong with the compressed data, if anything: at the end; so far
        self.buffer: NDArray[np.uint8] = np.zeros(PADDING, np.uint8)
        self.at = self.end = 0  # what the scanner has not read of the buffer
        self.offset = 0  # bytes of decompressed text before buffer[0] (may be negative for the first)
        self._block = block
        self._bytes = data or Bytes(path)
        self.consumed = self._bytes.consumed
        self.line = "line" if self._bytes.keeps_lines else "line of its plain text"
        self._pool = ThreadPoolExecutor(1)
        self._coming: deque[Future[tuple[NDArray[np.uint8], int]]] = deque()

    def _read(self) -> tuple[NDArray[np.uint8], int]:
        """A block behind room for the rest of the one before it, and its length: 0 at the end or after damage."""
        buffer = np.empty(LONGEST_RECORD + self._block + PADDING, np.uint8)
        if self._damage:
            return buffer, 0
        try:
            self._bytes.fill(memoryview(buffer)[LONGEST_RECORD : LONGEST_RECORD + self._block])  # type: ignore[arg-type]
        except DAMAGE as error:
            self._damage = str(error) or type(error).__name__
        return buffer, self._bytes.filled

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
        while len(self._coming) <= _AHEAD:
            self._coming.append(self._pool.submit(self._read))
        buffer, filled = self._coming.popleft().result()
        if not filled:
            self.final, self.damage = True, self._damage
        buffer[LONGEST_RECORD - rest : LONGEST_RECORD] = self.buffer[self.at : self.end]
        self.offset += self.end - LONGEST_RECORD
        self.buffer, self.at, self.end = buffer, LONGEST_RECORD - rest, LONGEST_RECORD + filled
        buffer[self.end : self.end + PADDING] = 0

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(cancel_futures=True)
        self._bytes.close()
