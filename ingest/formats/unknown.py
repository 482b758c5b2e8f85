"""What a file is that is no trace, for the message that refuses it."""

import base64
import binascii
import re

_FORMATS = "for the formats that can be read: ptpool ingest formats"
_DECOMPRESS = "decompress it; gzip, xz and zstd are read as they are"
_CONVERT = "convert it: iconv -f {} -t UTF-8"
_FIELDS = "print them with perf script -F comm,tid,cpu,time,event,ip,sym,trace, or take the text of tracefs trace"

_MAGICS = {
    b"BZh": ("compressed with bzip2", _DECOMPRESS),
    b"\x04\x22\x4d\x18": ("compressed with lz4", _DECOMPRESS),
    b"LZIP": ("compressed with lzip", _DECOMPRESS),
    b"\x89LZO": ("compressed with lzop", _DECOMPRESS),
    b"\x1f\x9d": ("compressed with compress", _DECOMPRESS),
    b"PK\x03\x04": ("a zip archive", "take the trace out of it"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "take the trace out of it"),
    b"Rar!": ("a rar archive", "take the trace out of it"),
    b"\xc1\x1f\xfc\xc1": ("a trace in CTF, as LTTng writes it", _FORMATS),
    b"\x7fELF": ("a program", _FORMATS),
}
_HTML = re.compile(rb"<!doctype html|<html|&lt;stack trace|=&gt; ", re.IGNORECASE)
_BASE64 = re.compile(rb"\s*(?:[A-Za-z0-9+/]{40,}\s+){2}")
_DUMP = re.compile(rb"^0x[0-9a-f]+(?:@.*)? \[(?:0x)?[0-9a-f]+\]: event: \d+", re.MULTILINE)
_EVENT = re.compile(rb"^[^#\n].*\bmm_page_(?:alloc|free)\b", re.MULTILINE)


def why_not(head: bytes) -> tuple[str, str]:
    """What a file is that begins with these bytes and is of no format of ours, and what to do about it."""
    for magic, answer in _MAGICS.items():
        if head.startswith(magic):
            return answer
    if head[257:262] == b"ustar":
        return "a tar archive", "take the trace out of it"
    if _HTML.search(head):
        return "a web page", "save the text of the trace, without the page around it"
    if _DUMP.search(head):
        return "a dump of records", "print it again without perf script -D"
    if _EVENT.search(head):
        return "its page events have no task, no time or no fields", _FIELDS
    if "mm_page_" in head.decode("cp037", "replace"):
        return "text in EBCDIC", _CONVERT.format("IBM037")
    if _BASE64.match(head):
        return "text in base64", f"decode it: base64 -d{_inside(head)}"
    return "binary data" if b"\0" in head else "text without a trace line", _FORMATS


def _inside(head: bytes) -> str:
    """What base64 holds, where that is a compressed file."""
    text = b"".join(head.split())
    try:
        start = base64.b64decode(text[:16])
    except binascii.Error:
        return ""
    return "; what it holds is compressed" if start.startswith((b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")) else ""
