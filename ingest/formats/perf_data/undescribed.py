"""Page events of a recording that was cut off before their descriptions, by the raw data of its samples.

The fields of page events have lain in the same places on all 64-bit machines since 4.1, so their raw data has sizes of
its own, and their numbers follow each other (include/trace/events/kmem.h). Where any event of the recording is none of
them for sure, nothing is guessed.
"""

import ctypes
import struct
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingest.formats.perf_data import layout, records
from ingest.formats.perf_data.attributes import Layouts
from ingest.formats.perf_data.header import Header
from ingest.formats.perf_data.mapped import Mapped
from ingest.trace import MAX_ORDER, MAX_PFN

Fields = dict[str, tuple[int, int]]
"""Offset and size of each field."""

_PFN: Fields = {"common_type": (0, 2), "pfn": (8, 8)}
_START: Fields = {**_PFN, "order": (16, 4)}
_KNOWN: dict[int, tuple[str, Fields]] = {  # by the size of the raw data (include/trace/perf.h: a struct, padded)
    20: ("mm_page_free_batched", _PFN),
    28: ("mm_page_free", _START),
    36: ("mm_page_alloc", {**_START, "gfp_flags": (20, 4), "migratetype": (24, 4)}),  # 4.1 to 5.18: gfp_t
    44: ("mm_page_alloc", {**_START, "gfp_flags": (24, 8), "migratetype": (32, 4)}),  # since: unsigned long
}
_MOST = 10_000  # samples looked at
_FEWEST = 8  # of each event
_APART = 2  # the numbers of mm_page_alloc and mm_page_free: mm_page_free_batched is between them


def format_texts(file: Mapped, header: Header, layouts: Layouts) -> list[str]:
    """Descriptions of the page events, as tracefs would have them; none where they cannot be told for sure."""
    kinds = {row: attribute.config for row, attribute in enumerate(header.attributes) if attribute.type == 2}
    raw: dict[int, list[bytes]] = {row: [] for row in kinds}
    for row, data in islice(_samples(file, header, layouts), _MOST):
        if row in raw:
            raw[row].append(data)
    found: dict[str, tuple[int, Fields]] = {}
    for row, samples in raw.items():
        sizes = {len(data) for data in samples}
        name, fields = _KNOWN.get(sizes.pop(), ("", {})) if len(sizes) == 1 else ("", {})
        if not name or name in found or len(samples) < _FEWEST:
            return []
        if not all(_plausible(data, kinds[row], fields, header.order == "big") for data in samples):
            return []
        found[name] = kinds[row], fields
    alloc, free = found.get("mm_page_alloc"), found.get("mm_page_free")
    if alloc is None or free is None or abs(alloc[0] - free[0]) != _APART:
        return []
    return [_text(name, *event) for name, event in found.items()]


def _samples(file: Mapped, header: Header, layouts: Layouts) -> Iterator[tuple[int, bytes]]:
    """Attribute and raw data of the samples."""
    swap, at, end = header.order == "big", file.address + header.start, file.address + min(header.end, file.size)
    while at + 8 <= end:
        kind, size = records.u4(at, swap), records.u2(at + 6, swap)
        if size < 8 or at + size > end:
            return
        if kind == records.SAMPLE and size >= layouts.id_at + 8:
            row = int(records.layout_by_id(layouts.ids, at + layouts.id_at, swap)) if layouts.id_at else 0
            if row >= 0 and (data := _raw_of(at, size, layouts.rows[row], swap)) is not None:
                yield row, data
        at += size


def _raw_of(at: int, size: int, columns: NDArray[np.int64], swap: bool) -> bytes | None:
    """The raw data of a sample; None where it has none, or it does not fit."""
    rest, stop = at + int(columns[layout.L_REST]), at + size
    if not columns[layout.L_RAW] or rest + 4 > stop:
        return None
    if columns[layout.L_READ] >= 0:
        counters = records.read_size(rest, stop, int(columns[layout.L_READ]), swap)
        if counters < 0:
            return None
        rest += counters
    if columns[layout.L_CHAIN]:
        if rest + 8 > stop or not 0 <= records.i8(rest, swap) <= (stop - rest - 8) >> 3:
            return None
        rest += 8 + 8 * records.i8(rest, swap)
    if rest + 4 > stop or rest + 4 + records.u4(rest, swap) > stop:
        return None
    return ctypes.string_at(rest + 4, records.u4(rest, swap))


def _plausible(data: bytes, number: int, fields: Fields, big: bool) -> bool:
    """Whether raw data can be that of a page event."""
    order = ">" if big else "<"
    values = {
        name: struct.unpack_from(order + {2: "H", 4: "I", 8: "Q"}[size], data, at)[0]
        for name, (at, size) in fields.items()
    }
    failed = values["pfn"] == (1 << 64) - 1
    return bool(
        values["common_type"] == number
        and (failed or values["pfn"] < MAX_PFN)
        and values.get("order", 0) <= MAX_ORDER
        and values.get("migratetype", 0) < 16
        and values.get("gfp_flags", 1) < 1 << 32
    )


def _text(name: str, number: int, fields: Fields) -> str:
    lines = [
        f"\tfield:unsigned {field};\toffset:{at};\tsize:{size};\tsigned:0;" for field, (at, size) in fields.items()
    ]
    return f"name: {name}\nID: {number}\nformat:\n" + "\n".join(lines) + '\n\nprint fmt: ""\n'
