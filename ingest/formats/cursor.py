"""Numbers, texts and bytes of a binary file, one after the other and within bounds."""

import os
from io import BytesIO
from typing import BinaryIO, Literal

from ptpool.errors import UsageError

Order = Literal["little", "big"]

_LARGEST = 1 << 27  # bytes taken at once: event formats and kallsyms have some 10 MB
_DAMAGED = "the file is damaged: copy it again"


class Cursor:
    """Reads a stream.

    Args:
        stream: the bytes.
        where: the file and the place in it, for messages.
        order: byte order of the numbers.

    Raises:
        UsageError: its methods read or go beyond the end.
    """

    def __init__(self, stream: BinaryIO, where: str, order: Order = "little") -> None:
        self._stream, self.where, self.order = stream, where, order
        self.end = stream.seek(0, os.SEEK_END)
        stream.seek(0)

    def over(self, data: bytes, place: str) -> "Cursor":
        """A cursor over bytes that were taken from this one."""
        return Cursor(BytesIO(data), f"{self.where}: {place}", self.order)

    def bytes(self, size: int) -> bytes:
        """The next bytes."""
        at = self._stream.tell()
        if size > min(self.end - at, _LARGEST):
            raise UsageError(f"{self.where}: byte {at:,}: the {size:,} bytes that should follow are missing", _DAMAGED)
        data = self._stream.read(size)
        if len(data) < size:
            raise UsageError(f"{self.where}: byte {at:,}: cut off", _DAMAGED)
        return data

    def number(self, size: int) -> int:
        """The next unsigned number of `size` bytes."""
        return int.from_bytes(self.bytes(size), self.order)

    def numbers(self, size: int, count: int) -> list[int]:
        """The next `count` unsigned numbers of `size` bytes each."""
        return [self.number(size) for _ in range(count)]

    def string(self, longest: int = 4096) -> str:
        """The next text that ends with a zero."""
        data = bytearray()
        while (byte := self.bytes(1)) != b"\0":
            data += byte
            if len(data) > longest:
                raise UsageError(f"{self.where}: a name without an end at byte {self.at:,}", _DAMAGED)
        return data.decode("utf-8", "replace")

    def seek(self, at: int) -> None:
        """Go to an offset."""
        if at > self.end:
            raise UsageError(f"{self.where}: byte {at:,} is beyond the end of the file", _DAMAGED)
        self._stream.seek(at)

    @property
    def at(self) -> int:
        """The present offset."""
        return self._stream.tell()
