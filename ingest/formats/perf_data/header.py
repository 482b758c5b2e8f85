"""What a perf.data file has before and after its records: attributes of its events, features of its machine.

Layouts are those of tools/perf/Documentation/perf.data-file-format.txt and tools/perf/util/header.c; attributes are
``struct perf_event_attr`` (include/uapi/linux/perf_event.h), of which every size since the first is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from ingest.formats.cursor import Cursor, Order
from ingest.formats.perf_data.folder import MAGICS
from ingest.formats.perf_data.mapped import Mapped
from ingest.trace import MAX_CPUS, MAX_PFN
from ptpool.errors import UsageError

LITTLE_MAGIC = MAGICS[0]
DAMAGED = "the file is damaged: copy it again"

# enum of tools/perf/util/header.h
TRACING_DATA, HOSTNAME, OSRELEASE, ARCH, NRCPUS, CPUDESC, TOTAL_MEM, DIR_FORMAT = 1, 3, 4, 6, 7, 8, 10, 24
FEATURES = 256
MOST_IDS = 1 << 21  # of all attributes: events times CPUs; all trace events on a thousand CPUs
_LARGEST_FEATURE = {TRACING_DATA: 1 << 27, DIR_FORMAT: 8}  # bytes; a description of all events has some 4 MB
_LARGEST_TEXT = 1 << 16

_PIPE_HEADER = 16
_SMALLEST_ATTRIBUTE, _LARGEST_ATTRIBUTE = 64, 4096  # PERF_ATTR_SIZE_VER0; perf_copy_attr takes up to a page
_CLOCKS = {0: "realtime", 1: "monotonic", 4: "monotonic_raw", 7: "boottime", 11: "tai"}


@dataclass(frozen=True)
class Attribute:
    """How one event was recorded: the fields of ``struct perf_event_attr`` that concern reading."""

    type: int
    config: int  # of a tracepoint: the number of its event
    sample_type: int
    read_format: int
    sample_id_all: bool
    clock: str | None
    ids: NDArray[np.uint64]


@dataclass
class Header:
    """What the file says apart from its records."""

    order: Order  # the byte order of the recording machine
    pipe: bool  # whether the file was a pipe: attributes and features are records among the others
    start: int  # first byte of the records
    end: int  # the byte after them
    finished: bool = True  # whether perf wrote the length of the file; if it was killed before, there are no features
    attributes: list[Attribute] = field(default_factory=list)
    features: dict[int, bytes] = field(default_factory=dict)  # contents by number, of those that ptpool uses


def read_header(file: Mapped) -> Header:
    """Read the header, the attributes and the features.

    Raises:
        UsageError: they are not there, or cannot be what they claim to be.
    """
    order: Order = "little" if file.bytes(0, 8) == LITTLE_MAGIC else "big"
    cursor = Cursor(BytesIO(file.bytes(0, 104)), f"{file.path}: header", order)
    if cursor.bytes(8) not in MAGICS:
        raise UsageError(f"{file.path}: no perf.data", "for the formats that can be read: ptpool ingest formats")
    size = cursor.number(8)
    if size == _PIPE_HEADER:
        return Header(order, True, _PIPE_HEADER, file.size)
    attribute_size, attributes, attributes_size, start, length, _, _ = cursor.numbers(8, 7)
    header = Header(order, False, start, start + length)
    if not length:
        header.end, header.finished = file.size, False
    if not size <= start < 1 << 63 or start > file.size:
        raise UsageError(f"{file.path}: header: the records begin at byte {start} of {file.size}", DAMAGED)
    if not _SMALLEST_ATTRIBUTE + 16 <= attribute_size <= _LARGEST_ATTRIBUTE + 16 or attributes_size % attribute_size:
        raise UsageError(
            f"{file.path}: header: {attributes_size} bytes of attributes of impossible size {attribute_size}", DAMAGED
        )
    if attributes + attributes_size > file.size:
        raise UsageError(f"{file.path}: header: its {attributes_size} bytes of attributes are missing", DAMAGED)
    left = MOST_IDS
    for place in range(attributes, attributes + attributes_size, attribute_size):
        where = f"{file.path}: attribute at byte {place}"
        data = file.bytes(place, attribute_size)
        ids, ids_size = Cursor(BytesIO(data[-16:]), where, order).numbers(8, 2)
        left -= ids_size // 8
        if ids + ids_size > file.size or ids_size % 8 or left < 0:
            raise UsageError(f"{where}: impossible {ids_size:,} bytes of numbers at byte {ids:,}", DAMAGED)
        header.attributes.append(parse_attribute(data[:-16], file.bytes(ids, ids_size), order, where))
    if header.finished:
        header.features = dict(_features(file, header, cursor))
    return header


def _features(file: Mapped, header: Header, cursor: Cursor) -> Iterator[tuple[int, bytes]]:
    """The features that ptpool uses; their sections follow the records in the order of their bits."""
    words = cursor.bytes(FEATURES // 8)
    present = _bits(words, 8, header.order)
    if HOSTNAME not in present:  # perf always writes it: else the bitmap has words of 32 bits (perf_file_header__read)
        present = _bits(words, 4, header.order)
    where = f"{file.path}: table of features at byte {header.end}"
    table = Cursor(BytesIO(file.bytes(header.end, 16 * len(present))), where, header.order)
    if header.end + 16 * len(present) > file.size:
        header.end = min(header.end, file.size)
        return  # cut off: the records say so
    for feature in present:
        at, size = table.numbers(8, 2)
        if feature not in (TRACING_DATA, OSRELEASE, ARCH, NRCPUS, CPUDESC, TOTAL_MEM, DIR_FORMAT):
            continue
        if size > _LARGEST_FEATURE.get(feature, _LARGEST_TEXT):
            raise UsageError(f"{where}: feature {feature}: impossible size of {size:,} bytes", DAMAGED)
        if at + size <= file.size:
            yield feature, file.bytes(at, size)


def _bits(words: bytes, size: int, order: Order) -> list[int]:
    numbers = [int.from_bytes(words[at : at + size], order) for at in range(0, len(words), size)]
    return [place for place in range(FEATURES) if numbers[place // (8 * size)] >> place % (8 * size) & 1]


def parse_attribute(data: bytes, ids: bytes, order: Order, where: str) -> Attribute:
    """Read a ``struct perf_event_attr`` and the numbers of the events that were opened with it."""
    cursor = Cursor(BytesIO(data.ljust(_SMALLEST_ATTRIBUTE, b"\0")), where, order)
    kind, _ = cursor.numbers(4, 2)
    config, _, sample_type, read_format = cursor.numbers(8, 4)
    flags = cursor.bytes(8)
    if order == "big":  # compilers for big-endian machines lay out bit fields from the top bit on
        flags = bytes(int(f"{byte:08b}"[::-1], 2) for byte in flags)
    bits = int.from_bytes(flags, "little")
    clock = None
    if bits >> 25 & 1 and len(data) >= 96:  # use_clockid
        clock = _CLOCKS.get(int.from_bytes(data[92:96], order))
    numbers = np.frombuffer(ids, ">u8" if order == "big" else "<u8", len(ids) // 8).astype(np.uint64)
    return Attribute(kind, config, sample_type, read_format, bool(bits >> 18 & 1), clock, numbers)


def facts(features: Mapping[int, bytes], order: Order, where: str) -> Iterator[str]:
    """What is known about the recorded machine, in the words of ``perf script --header``; never its name.

    Raises:
        UsageError: it is not what its number says.
    """

    def text(feature: int) -> str:
        return features[feature][4:].split(b"\0")[0].decode("utf-8", "replace")

    def number(data: bytes, size: int) -> int:
        return Cursor(BytesIO(data), where, order).number(size)

    if OSRELEASE in features:
        yield f"# os release : {text(OSRELEASE)}"
    if ARCH in features:
        yield f"# arch : {text(ARCH)}"
    if CPUDESC in features:
        yield f"# cpudesc : {text(CPUDESC)}"
    if NRCPUS in features:
        cpus = number(features[NRCPUS][4:], 4)
        if not 0 < cpus <= MAX_CPUS:
            raise UsageError(f"{where}: impossible number of {cpus:,} CPUs", DAMAGED)
        yield f"# nrcpus online : {cpus}"
    if TOTAL_MEM in features:
        kib = number(features[TOTAL_MEM], 8)
        if kib >= MAX_PFN << 2:
            raise UsageError(f"{where}: impossible memory of {kib:,} kB", DAMAGED)
        yield f"# total memory : {kib} kB"
