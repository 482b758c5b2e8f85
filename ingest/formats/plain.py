"""Text as people have it, made plain: encodings, line ends, quoted and wrapped mails, logs, copies of web pages.

What has to be changed is seen in the first bytes of a file. The changes are made block by block, each on whole lines.
"""

import binascii
import codecs
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ingest.source import Bytes

_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 20

_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_STAMP = rb"\[ *(?:\d+\.\d+)? *(?:< *\d+\.\d+>)?\](?:\[ *[TC]\d+\])?"  # CONFIG_PRINTK_TIME, _CALLER; dmesg -d
_DATE = rb"\[(?:\w{3} )?" + _MONTH + rb" ?\d[\d: ]*\]|\[ *\+\d+\.\d+\]"  # dmesg -T, -e
_ISO = rb"\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-][\d:]+)?"  # dmesg --time-format iso, journalctl -o short-iso
_HOST = rb"(?:" + _MONTH + rb" [ \d]\d [\d:.]+|" + _ISO + rb"|" + _STAMP + rb") \S+ kernel: ?"  # syslog, journalctl
_LEVEL = rb"(?:<\d+>|\w+ *: *\w+ *: )?"  # dmesg -r, pstore; dmesg -x
_KMSG = rb"\d+,\d+,\d+,[^;\n]*;"  # /dev/kmsg
_LOG = rb"^" + _LEVEL + rb"(?:" + _HOST + rb"(?:" + _STAMP + rb")?|" + _KMSG + rb"|(?:" + _STAMP + rb"|" + _DATE
_LOG += rb"|" + _ISO + rb"))(?: |$)?"
"""What a log puts before a line of the kernel (ftrace_dump_on_oops)."""

_ENTRY_MARK = rb"-\d+ .*\d(?:us[ +!#*@$]*|\.\d{6,9}): [<\w]"  # up to the name of an event
_LOG_LINE = re.compile(_LOG, re.MULTILINE)
_LOGGED_ENTRY = re.compile(_LOG + rb" *\S.*" + _ENTRY_MARK, re.MULTILINE)
_OTHER_MESSAGE = re.compile(
    rb"^(?! *=> |.*(?:" + _ENTRY_MARK + rb"|\| +/\* |mm_page_\w+: |CPU:\d+ \[)).*(?:\n|\Z)", re.MULTILINE
)
_QUOTED = re.compile(rb"^(?:> ?)+", re.MULTILINE)
_QUOTED_ENTRY = re.compile(rb"^> ?.*(?:\d: .*mm_page_\w+:|/\* mm_page_\w+:|=> )", re.MULTILINE)
_ENCODED_FIELD = re.compile(rb"\b(?:page|pfn|order|gfp_flags)=3D")
_ESCAPED = re.compile(rb"^ ?=&gt; |&lt;stack trace&gt;|&quot;", re.MULTILINE)
_INDENTED = re.compile(rb"^[ \t]{2,}=> |^[ \t]+# (?:tracer:|entries-in-buffer|=====)", re.MULTILINE)
_INDENT = re.compile(rb"^[ \t]+(?==> |#)", re.MULTILINE)
_WRAPPED_AT = rb"(?:kmem:)?mm_page_\w+: |(?:page|pfn|order|migratetype|gfp_flags)=|\*/|\d+\.\d{6,9}: |\[\d+\] +\S*\d"
_WRAPPED = re.compile(rb"\n[ \t]*(?=" + _WRAPPED_AT + rb")")
_WRAPPED_FLAGS = re.compile(rb"(?<=\|)\n[ \t]*(?=_*GFP_)")
_GOES_ON = re.compile(rb"[>| \t]*(?:" + _WRAPPED_AT + rb"|[*/]|_*GFP_|\w+=3D)")
_COLOUR = re.compile(rb"\x1b\[[0-9;]*[mK]")
_LINE_END = re.compile(rb"\r+\n")
_BOM = "\ufeff".encode()


class Change(NamedTuple):
    """One thing that makes a text plainer."""

    needed: Callable[[bytes], object]  # whether a text that begins with these bytes needs it
    make: Callable[[bytes], bytes]  # the change, on whole lines
    keeps_lines: bool = True  # a line stays a line


def _without_log(text: bytes) -> bytes:
    """The trace in a log, without the lines of other messages: they may come in the middle of a stack."""
    return _OTHER_MESSAGE.sub(b"", _LOG_LINE.sub(b"", text))


CHANGES = (
    Change(lambda head: b"\r\n" in head, lambda text: _LINE_END.sub(b"\n", text)),
    Change(lambda head: b"\r" in head and b"\n" not in head, lambda text: text.replace(b"\r", b"\n")),
    Change(lambda head: _BOM in head, lambda text: text.replace(_BOM, b"")),
    Change(_COLOUR.search, lambda text: _COLOUR.sub(b"", text)),
    Change(_ENCODED_FIELD.search, binascii.a2b_qp, keeps_lines=False),
    Change(_ESCAPED.search, lambda text: html.unescape(text.decode("latin-1")).encode("latin-1", "replace")),
    Change(_QUOTED_ENTRY.search, lambda text: _QUOTED.sub(b"", text)),
    Change(_LOGGED_ENTRY.search, _without_log, keeps_lines=False),
    Change(_INDENTED.search, lambda text: _INDENT.sub(b"", text)),
    Change(_WRAPPED.search, lambda text: _WRAPPED.sub(b" ", _WRAPPED_FLAGS.sub(b"", text)), keeps_lines=False),
)
"""In the order in which they are made: each sees what those before it left."""


class Plainer(NamedTuple):
    """What makes a text plain."""

    encoding: str  # that Python knows it by; empty: ASCII and what extends it
    changes: tuple[Change, ...]


def plainer(head: bytes) -> tuple[Plainer | None, bytes]:
    """What makes a text plain that begins with these bytes (None: it is plain), and its plain beginning."""
    encoding = _encoding_of(head)
    text, changes = _decoder(encoding)(head, False), []
    for change in CHANGES:
        if change.needed(text):
            changes.append(change)
            text = change.make(text)
    return Plainer(encoding, tuple(changes)) if encoding or changes else None, text


def _encoding_of(head: bytes) -> str:
    """UTF-16 or UTF-32, by its mark or by the zeros between ASCII characters; empty: another one."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    sample = head[:400]
    for zeros, encoding in _ZEROS:
        if len(sample) >= 16 and all(
            (sample[place::4].count(0) > len(sample) // 5) == (place in zeros) for place in range(4)
        ):
            return encoding
    return ""


_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS = (({1, 3}, "utf-16-le"), ({0, 2}, "utf-16-be"), ({1, 2, 3}, "utf-32-le"), ({0, 1, 2}, "utf-32-be"))


def _decoder(encoding: str) -> Callable[[bytes, bool], bytes]:
    """Makes UTF-8 of blocks of bytes, and of the last one."""
    if not encoding:
        return lambda data, _: data
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    return lambda data, last: decoder.decode(data, last).encode("utf-8", "replace")


class PlainBytes(Bytes):
    """The plain text of a file."""

    def __init__(self, path: Path, plain: Plainer) -> None:
        super().__init__(path)
        self.keeps_lines = all(change.keeps_lines for change in plain.changes)
        self._changes = plain.changes
        self._decode = _decoder(plain.encoding)
        self._rest = b""  # decoded: lines that may go on in the next block
        self._ready = b""  # plain
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
        text = self._rest + self._decode(bytes(chunk[: self.filled]), self._ended)
        end = len(text)
        if not self._ended and end < _LONGEST_LINE:
            end = _last_record(text)
        self._rest, text = text[end:], text[:end]
        for change in self._changes:
            text = change.make(text)
        self._ready = text


def _last_record(text: bytes) -> int:
    """Where the last lines begin that may go on in the next block; wrapped ones count as one."""
    end = text.rfind(b"\n") + 1
    while end:
        end = text.rfind(b"\n", 0, end - 1) + 1
        if not (_GOES_ON.match(text, end) or text.endswith((b"=\n", b"=\r\n"), 0, end)):
            break
    return end
