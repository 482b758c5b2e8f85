"""Traces out of mails: quoted with ``>``, encoded as quoted-printable (RFC 2045, 6.7), with CRLF line ends."""

import binascii
import re
from pathlib import Path

from ingest.source import Bytes

_QUOTED = re.compile(rb"^(?:> ?)+", re.MULTILINE)
_QUOTED_ENTRY = re.compile(rb"^> ?.*(?:\d: .*mm_page_\w+:|=> )", re.MULTILINE)
_ENCODED_FIELD = re.compile(rb"\b(?:page|pfn|order|gfp_flags)=3D")
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 20


def is_mail(head: bytes) -> bool:
    """Whether a text that begins with these bytes has to be cleaned before it can be read as a trace."""
    return b"\r\n" in head or bool(_ENCODED_FIELD.search(head) or _QUOTED_ENTRY.search(head))


class CleanedBytes(Bytes):
    """The text of a mail as it was before it was quoted and encoded."""

    def __init__(self, path: Path, head: bytes) -> None:
        super().__init__(path)
        self._encoded = bool(_ENCODED_FIELD.search(head))
        self._rest = b""  # raw: the beginning of a line
        self._ready = b""  # cleaned
        self._ended = False

    def fill(self, target: memoryview) -> int:
        """See `Bytes`."""
        filled = 0
        try:
            while filled < len(target) and (self._ready or not self._ended):
                if not self._ready:
                    self._read_on()
                piece = self._ready[: len(target) - filled]
                target[filled : filled + len(piece)] = piece
                self._ready = self._ready[len(piece) :]
                filled += len(piece)
        finally:
            self.filled = filled
        return filled

    def _read_on(self) -> None:
        chunk = bytearray(_CHUNK)
        self._ended = super().fill(memoryview(chunk)) < _CHUNK
        text = self._rest + bytes(chunk[: self.filled])
        end = len(text)
        if not self._ended and end < _LONGEST_LINE:
            end = text.rfind(b"\n") + 1
            while self._encoded and text[:end].endswith((b"=\n", b"=\r\n")):  # the line goes on in the next
                end = text.rfind(b"\n", 0, end - 1) + 1
        self._rest, text = text[end:], text[:end].replace(b"\r\n", b"\n")
        if self._encoded:
            text = binascii.a2b_qp(text)
        self._ready = _QUOTED.sub(b"", text)
