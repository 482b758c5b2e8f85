"""The ring-buffer pages of one CPU in a file: as they are, or in compressed chunks (trace-cmd.dat.v7(5))."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ingest.formats.cursor import Order
from ingest.formats.trace_dat.file import decompress
from ingest.trace import Findings
from ptpool.errors import UsageError

_WINDOW = 1 << 18  # bytes read at once
LARGEST_CHUNK = 16  # pages; trace-cmd makes chunks of ten
_AT_ONCE = 1 << 18  # bytes of chunks that zstd decompresses in one call: a call for each takes ten times as long
_COUNT = 4  # bytes of the number of chunks, which the size of a CPU's data leaves out


class PlainPages:
    """Pages as the kernel wrote them.

    Args:
        file: descriptor of the file; missing bytes are counted as cut off.
        cpu: their CPU.
        offset, size: where they are.
        path: the file's name, for messages.
        found: where damage is counted.
    """

    def __init__(self, file: int, cpu: int, offset: int, size: int, path: Path, found: Findings) -> None:
        self.cpu, self.size = cpu, size
        self._file, self._at, self._end = file, offset, offset + size
        self._begin, self._path, self._found = offset, path, found

    def fill(self, target: memoryview) -> int:
        """See `ingest.formats.ring_buffer.trace.CpuPages`."""
        filled = 0
        wanted = min(len(target), self._end - self._at)
        while filled < wanted:
            got = os.preadv(self._file, [target[filled:wanted]], self._at)
            if not got:
                what = f"{self._path}: cut off: CPU {self.cpu} lacks {self._end - self._at:,} of {self.size:,} bytes"
                self._end = self._at
                self._found.damage("cut_off", what)
                break
            filled += got
            self._at += got
        return filled

    def consumed(self) -> int:
        """Bytes read."""
        return self._at - self._begin


class _Chunk(NamedTuple):
    place: int  # byte of the file
    data: bytes  # compressed
    size: int  # bytes of what it holds


class ChunkedPages(PlainPages):
    """Pages in chunks: the number of chunks, then for each its compressed size, its plain size and its bytes.

    They have to end where their size says, or so many bytes later as the number of chunks has.

    Args:
        order: byte order of the numbers.
        compression: zlib or zstd.
        page_size: bytes.
    """

    def __init__(
        self,
        file: int,
        cpu: int,
        offset: int,
        size: int,
        path: Path,
        found: Findings,
        order: Order,
        compression: str,
        page_size: int,
    ) -> None:
        super().__init__(file, cpu, offset, size, path, found)
        self._stated, file_size = self._end, os.fstat(file).st_size
        self._whole = self._stated <= file_size
        self._end = min(self._end + _COUNT, max(self._end, file_size))
        self._order, self._compression, self._largest = order, compression, LARGEST_CHUNK * page_size
        self._rest = memoryview(b"")
        self._chunks = -1
        self._at_once = _AT_ONCE if compression == "zstd" else 1
        self._window, self._used = b"", 0  # bytes read ahead, and how many of them were taken

    def fill(self, target: memoryview) -> int:
        """See `ingest.formats.ring_buffer.trace.CpuPages`."""
        filled = 0
        while filled < len(target):
            if not self._rest and not self._next():
                break
            taken = min(len(self._rest), len(target) - filled)
            target[filled : filled + taken] = self._rest[:taken]
            self._rest = self._rest[taken:]
            filled += taken
        return filled

    def _next(self) -> bool:
        if self._chunks < 0:
            head = self._read(_COUNT)
            if len(head) < _COUNT:
                return False
            self._chunks = self._number(head)
            if not self._chunks:
                self._check_end()
        if self._chunks == 0:
            return False
        chunks: list[_Chunk] = []
        plain: list[bytes] = []
        try:
            try:
                self._take(chunks)
            finally:
                self._decompress(chunks, plain)
        except UsageError as error:
            self._chunks = 0
            self._found.damage("damaged_compression", error.what)
        else:
            if chunks and not self._chunks:
                self._check_end()
        self._rest = memoryview(b"".join(plain))
        return len(self._rest) > 0

    @property
    def _place(self) -> int:
        """Offset in the file of the next byte to be taken."""
        return self._at - len(self._window) + self._used

    def _check_end(self) -> None:
        if self._place not in (self._stated, self._stated + _COUNT):
            self._found.damage(
                "damaged_compression",
                f"{self._path}: CPU {self.cpu}: its chunks end at byte {self._place:,}, not at {self._stated:,}",
            )

    def _take(self, chunks: "list[_Chunk]") -> None:
        """Take the next chunks, compressed; those before one that cannot be, too."""
        size = 0
        while self._chunks and size < self._at_once:
            self._chunks -= 1
            sizes = self._read(8)
            if len(sizes) < 8:
                if self._whole:
                    raise UsageError(f"{self._path}: CPU {self.cpu}: {self._chunks + 1:,} of its chunks are missing")
                return
            packed, plain, place = self._number(sizes[:4]), self._number(sizes[4:]), self._place
            if not 0 < plain <= self._largest or packed > self._stated + _COUNT - place:
                raise UsageError(f"{self._where(place)}: impossible size of {packed:,} bytes for {plain:,}")
            data = self._read(packed)
            if len(data) < packed:
                return
            chunks.append(_Chunk(place, data, plain))
            size += plain

    def _decompress(self, chunks: "list[_Chunk]", plain: list[bytes]) -> None:
        """Decompress chunks: in one call, or if that fails one by one, up to one that is damaged."""
        if len(chunks) > 1:
            data, size = b"".join(chunk.data for chunk in chunks), sum(chunk.size for chunk in chunks)
            with suppress(UsageError):
                plain.append(decompress(data, size, self._compression, ""))
                return
        for place, data, size in chunks:
            plain.append(decompress(data, size, self._compression, self._where(place)))

    def _where(self, place: int) -> str:
        return f"{self._path}: CPU {self.cpu}: chunk at byte {place:,}"

    def _read(self, size: int) -> bytes:
        if len(self._window) - self._used < size:
            rest = self._window[self._used :]
            window = bytearray(max(size - len(rest), min(_WINDOW, self._end - self._at)))
            self._window, self._used = rest + window[: super().fill(memoryview(window))], 0
        self._used += size
        return bytes(self._window[self._used - size : self._used])

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, self._order)
