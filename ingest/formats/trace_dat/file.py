"""The container of trace-cmd's trace.dat: its header, sections, options and buffers, of versions 6 and 7.

trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5) describe it. Where they are wrong, this follows what trace-cmd 3.1 to 3.4
writes: the size in a section's header has 8 bytes, and a BUFFER option holds the buffer's page size.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from ingest.formats.cursor import Cursor, Order
from ingest.formats.ring_buffer.event_format import EventFormat, Field, parse_fields, parse_format
from ingest.formats.ring_buffer.pages import EVENTS
from ingest.formats.ring_buffer.trace import saved_cmdlines
from ingest.formats.trace_dat.options import Options
from ptpool.errors import UsageError

MAGIC = b"\x17\x08\x44tracing"
_LARGEST = 1 << 27  # bytes of a section, decompressed; kallsyms has some 10 MB
_COMPRESSED = 1  # section flag
_DAMAGED = "copy it again"
_HEADER_INFO, _FTRACE_EVENTS, _EVENT_FORMATS, _KALLSYMS, _PRINTK, _CMDLINES = range(16, 22)  # options and sections


@dataclass
class Buffer:
    """One trace buffer: where the pages of each CPU are."""

    name: str  # of the instance; empty for the top-level one
    page_size: int  # bytes
    cpus: list[tuple[int, int, int]]  # number, offset and size of the data of each CPU that has any
    compressed: bool = False  # the data are chunks
    latency: bool = False  # it is the text of a latency tracer


@dataclass
class TraceDat:
    """What a trace.dat says, apart from its pages."""

    version: int = 6
    page_size: int = 0  # of the machine, bytes
    order: Order = "little"
    compression: str = "none"
    header_page: dict[str, Field] = field(default_factory=dict)
    formats: list[EventFormat] = field(default_factory=list)
    kallsyms: bytes = b""
    tasks: dict[int, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    buffers: list[Buffer] = field(default_factory=list)


@cache
def _zstd() -> Any:
    import pyarrow as pa

    return pa.Codec("zstd")


def decompress(data: bytes, size: int, kind: str, where: str) -> bytes:
    """Decompress one block whose size is known.

    Raises:
        UsageError: it is damaged, or of an unknown kind of compression.
    """
    try:
        if kind == "zlib":
            plain = zlib.decompressobj().decompress(data, size + 1)
        elif kind == "zstd":
            plain = _zstd().decompress(data, size, asbytes=True)
        else:
            raise UsageError(f"{where}: compressed with {kind}, which ptpool does not read", "trace-cmd convert it")
    except (OSError, zlib.error, ValueError) as error:
        raise UsageError(f"{where}: the compressed data is damaged ({error})", _DAMAGED) from error
    if len(plain) != size:
        raise UsageError(f"{where}: the compressed data is damaged (its size is wrong)", _DAMAGED)
    return plain


def read_trace_dat(stream: BinaryIO, path: Path) -> TraceDat:
    """Read everything but the pages.

    Raises:
        UsageError: the file is cut off, damaged, or of another version.
    """
    cursor = Cursor(stream, str(path))
    if cursor.bytes(min(cursor.end, 10)) != MAGIC:
        raise UsageError(f"{path}: no trace.dat", "for the formats that can be read: ptpool ingest formats")
    version = cursor.string()
    if version not in ("6", "7"):
        shown = "".join(c if c.isprintable() else "?" for c in version[:10])
        raise UsageError(
            f"{path}: trace.dat of version {shown}; ptpool reads 6 and 7", "trace-cmd convert --file-version 7"
        )
    big, long_size = cursor.bytes(2)
    if big > 1 or long_size not in (4, 8):
        raise UsageError(f"{path}: impossible byte order or size of long", _DAMAGED)
    trace = TraceDat(int(version), order="big" if big else "little")
    cursor.order = trace.order
    trace.page_size = page_size = cursor.number(4)
    if trace.version == 6:
        _read_6(trace, cursor, page_size)
    else:
        trace.compression = cursor.string()
        cursor.string()  # its version
        _read_7(trace, cursor)
    return trace


# ------------------------------------------------------------------------------------------------------- version 6


def _read_6(trace: TraceDat, cursor: Cursor, page_size: int) -> None:
    for section in (_HEADER_INFO, _FTRACE_EVENTS, _EVENT_FORMATS, _KALLSYMS, _PRINTK, _CMDLINES):
        _read_section(trace, cursor, section)
    cpus = cursor.number(4)
    instances: list[tuple[int, str]] = []
    kind = cursor.bytes(10)
    if kind.startswith(b"options"):
        while option := cursor.number(2):
            data = cursor.bytes(cursor.number(4))
            if option == 3:  # BUFFER
                instance = cursor.over(data, "option BUFFER")
                instances.append((instance.number(8), instance.string()))
            else:
                trace.options.read(option, data, trace.order, cursor.where)
        kind = cursor.bytes(10)
    cpus = trace.options.cpus or cpus
    trace.buffers.append(_buffer_6(cursor, kind, "", page_size, cpus))
    for offset, name in instances:
        cursor.seek(offset)
        trace.buffers.append(_buffer_6(cursor, cursor.bytes(10), name, page_size, cpus))


def _buffer_6(cursor: Cursor, kind: bytes, name: str, page_size: int, cpus: int) -> Buffer:
    if kind.startswith(b"latency"):
        return Buffer(name, page_size, [], latency=True)
    if not kind.startswith(b"flyrecord"):
        raise UsageError(f"{cursor.where}: byte {cursor.at:,}: no trace data where it should begin", _DAMAGED)
    if cpus > 1 << 16:
        raise UsageError(f"{cursor.where}: impossible number of {cpus} CPUs", _DAMAGED)
    places = [(cpu, cursor.number(8), cursor.number(8)) for cpu in range(cpus)]
    return Buffer(name, page_size, [place for place in places if place[2]])


# ------------------------------------------------------------------------------------------------------- version 7


def _read_7(trace: TraceDat, cursor: Cursor) -> None:
    sections: dict[int, int] = {}
    offset = cursor.number(8)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise UsageError(f"{cursor.where}: byte {offset:,}: the options sections go in a circle", _DAMAGED)
        seen.add(offset)
        options = _section_at(trace, cursor, offset, 0)
        offset = 0
        for option, data in _options_of(options):
            if option == 0:  # DONE
                offset = options.over(data, "option DONE").number(8) if len(data) >= 8 else 0
                break
            if option in (3, 22):  # BUFFER, BUFFER_TEXT
                trace.buffers.append(_buffer_7(options.over(data, "option BUFFER"), cursor, option == 22))
            elif _HEADER_INFO <= option <= _CMDLINES:
                sections[option] = options.over(data, f"option {option}").number(8)
            else:
                trace.options.read(option, data, trace.order, cursor.where)
    for section in sorted(sections):
        _read_section(trace, _section_at(trace, cursor, sections[section], section), section)


def _options_of(options: Cursor) -> Iterator[tuple[int, bytes]]:
    while True:
        option = options.number(2)
        yield option, options.bytes(options.number(4))


def _section_at(trace: TraceDat, cursor: Cursor, offset: int, section: int) -> Cursor:
    """The contents of a section, decompressed."""
    cursor.seek(offset)
    if (found := cursor.number(2)) != section:
        raise UsageError(f"{cursor.where}: byte {offset:,}: section {found} where {section} should be", _DAMAGED)
    flags = cursor.number(2)
    cursor.number(4)  # its description
    size = cursor.number(8)
    place = f"section {section} at byte {offset:,}"
    if not flags & _COMPRESSED:
        return cursor.over(cursor.bytes(size), place)
    packed, plain = cursor.number(4), cursor.number(4)
    if plain > _LARGEST:
        raise UsageError(f"{cursor.where}: {place}: impossible size of {plain:,} bytes", _DAMAGED)
    data = decompress(cursor.bytes(packed), plain, trace.compression, f"{cursor.where}: {place}")
    return cursor.over(data, place)


def _buffer_7(option: Cursor, cursor: Cursor, latency: bool) -> Buffer:
    offset, name = option.number(8), option.string()
    option.string()  # its clock
    if latency:
        return Buffer(name, 0, [], latency=True)
    page_size = option.number(4)
    places = [(option.number(4), option.number(8), option.number(8)) for _ in range(option.number(4))]
    compressed = False
    if offset:
        back = cursor.at
        cursor.seek(offset)
        cursor.number(2)
        compressed = bool(cursor.number(2) & _COMPRESSED)
        cursor.seek(back)
    return Buffer(name, page_size, [place for place in places if place[2]], compressed)


# -------------------------------------------------------------------------------------------------------- sections


def _read_section(trace: TraceDat, cursor: Cursor, section: int) -> None:
    if section == _HEADER_INFO:
        for name in (b"header_page\0", b"header_event\0"):
            if cursor.bytes(len(name)) != name:
                raise UsageError(f"{cursor.where}: no {name[:-1].decode()} where it should be", _DAMAGED)
            text = _text(cursor.bytes(cursor.number(8)))
            if name == b"header_page\0":
                trace.header_page = parse_fields(text, f"{cursor.where}: header_page")
    elif section == _FTRACE_EVENTS:
        _read_formats(trace, cursor, "ftrace")
    elif section == _EVENT_FORMATS:
        for _ in range(cursor.number(4)):
            _read_formats(trace, cursor, cursor.string())
    elif section == _KALLSYMS:
        trace.kallsyms = cursor.bytes(cursor.number(4))
    elif section == _PRINTK:
        cursor.bytes(cursor.number(4))
    else:
        trace.tasks = saved_cmdlines(_text(cursor.bytes(cursor.number(8))))


def _read_formats(trace: TraceDat, cursor: Cursor, system: str) -> None:
    """Keep the formats of the events that are read."""
    for _ in range(cursor.number(4)):
        data = cursor.bytes(cursor.number(8))
        name = re.match(rb"name: (\w+)\n", data)
        if name and EVENTS.get(name[1].decode()) is not None and system in ("kmem", "ftrace"):
            form = parse_format(_text(data), f"{cursor.where}: event {system}:{name[1].decode()}")
            trace.formats.append(form)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\0")
