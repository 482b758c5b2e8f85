"""Byte-level helpers that the text formats share: numbers, headers, fields, events.

All of them are compiled. A block of text is passed as its address (see ingest/spans.py) and is padded with at least 32
bytes; results go to flat arrays that the Python side owns. A format's kernel walks the block line by line and stops
early where a table is nearly full: nothing in here allocates.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.spans import find_byte, intern, load1, load8
from ingest.trace import KIND_BATCHED, MAX_CPUS, MAX_ORDER, MAX_PFN
from ptpool.compiled import compiled
from ptpool.vocabulary import (
    KIND_ALLOC,
    KIND_ALLOC_FAILED,
    KIND_EXTFRAG,
    KIND_FREE,
    KIND_PCPU_DRAIN,
    KIND_ZONE_LOCKED,
)

NO_KIND = -1  # an event that is no page event

NEWLINE, TAB, SPACE, HASH, LPAREN, RPAREN, DASH, DOT, SLASH, ZERO, NINE, COLON, LESS, EQUALS = b"\n\t #()-./09:<="
LBRACKET, RBRACKET, LOWER_A, LOWER_F, LOWER_H, LOWER_S, LOWER_X, LOWER_Z = b"[]afhsxz"

# What the kernels count: indices into Scan.counts.
(
    ROWS,  # rows written so far
    LINES,  # lines read so far, over all blocks of a file
    ENTRIES,  # trace entries: lines with a header, stacks included
    OTHER,  # events that are no page events
    BATCHED,  # mm_page_free_batched: repeats mm_page_free
    ORPHANS,  # stacks whose event was not found
    USER_FRAMES,  # user-space frames passed over
    NO_CPU,  # events without a CPU field
    NO_TIME,  # events whose time is their place in the file
    NO_TASK,  # events of an unknown task
    COUNTERS,  # time stamps without a fraction
    FIRST_NS,  # time of the first entry of a file
    LAST_NS,  # time of the last
    NOTES,  # notes taken in this call
    BACKWARD,  # entries that are earlier than the one before, and earlier than a second
    AFTER_OTHER,  # whether the last entry is no page event: its text may go on in lines of their own
) = range(16)
COUNTS = 16

# Names numbered so far: indices into Scan.named.
COMMS, GFPS, STACKS = range(3)

NOTE_COMMENT, NOTE_LOST, NOTE_DAMAGED, NOTE_STRAY, NOTE_MORE = range(5)


class Scan(NamedTuple):
    """Everything a format's kernel reads and writes."""

    rows: NDArray[np.void]  # ROW
    comms: NDArray[np.void]  # NAME, a power of two of slots
    gfps: NDArray[np.void]
    stacks: NDArray[np.void]
    named: NDArray[np.int64]
    waiting: NDArray[np.int64]  # [cpu, context]: row whose stack may still come; -1: none
    counts: NDArray[np.int64]
    notes: NDArray[np.int64]  # [note, (what, start, end, line)]


def word(text: str) -> np.uint64:
    """The first up to 8 bytes of a text as `load8` and a mask of that length would give them."""
    return np.uint64(int.from_bytes(text.encode()[:8], "little"))


@compiled
def has_room(scan: Scan) -> Any:
    """Whether one more record fits into every table; tables of names are kept half empty."""
    return (
        scan.counts[ROWS] < scan.rows.shape[0]
        and scan.counts[NOTES] < scan.notes.shape[0]
        and 2 * scan.named[COMMS] < scan.comms.shape[0]
        and 2 * scan.named[GFPS] < scan.gfps.shape[0]
        and 2 * scan.named[STACKS] < scan.stacks.shape[0]
    )


@compiled
def take_note(notes: Any, counts: Any, what: int, start: int, end: int) -> None:
    """Leave a line for the Python side to look at."""
    note = counts[NOTES]
    notes[note, 0] = what
    notes[note, 1] = start
    notes[note, 2] = end
    notes[note, 3] = counts[LINES]
    counts[NOTES] = note + 1


@compiled
def take_stray(notes: Any, counts: Any, start: int, end: int) -> None:
    """Leave a line that is no entry: after one that is no page event it may be more of its text (trace_marker)."""
    take_note(notes, counts, NOTE_MORE if counts[AFTER_OTHER] else NOTE_STRAY, start, end)


@compiled
def is_digit(byte: int) -> bool:
    """An ASCII decimal digit."""
    return ZERO <= byte <= NINE


@compiled
def skip_blanks(text: int, at: int, end: int) -> int:
    """First offset from `at` that is no blank."""
    while at < end and load1(text, at) == SPACE:
        at += 1
    return at


@compiled
def skip_blanks_back(text: int, at: int, start: int) -> int:
    """Last offset up to `at` that is no blank; `start` - 1 if all are."""
    while at >= start and load1(text, at) == SPACE:
        at -= 1
    return at


@compiled
def number_back(text: int, at: int, start: int) -> tuple[int, int]:
    """The decimal number that ends at `at`, and the offset before it (`at` itself if there is no digit)."""
    value, scale = 0, 1
    while at >= start and is_digit(load1(text, at)):
        value += scale * (load1(text, at) - ZERO)
        scale *= 10
        at -= 1
    return value, at


@compiled
def time_back(text: int, at: int, start: int) -> tuple[int, int, bool]:
    """The time stamp that ends at `at` in ns, the offset before it (-1: none), and whether it has a fraction.

    ftrace and perf print seconds with 6 or 9 decimals; clocks that count (``counter``, ``uptime``, ``x86-tsc``) print
    a bare number (kernel/trace/trace_output.c:trace_print_lat_fmt and lat_print_timestamp, in_ns == 0).
    """
    fraction, before = number_back(text, at, start)
    digits = at - before
    if digits == 0 or digits > 18:
        return 0, -1, False
    if before < start or load1(text, before) != DOT:
        return fraction, before, False
    if digits > 9:
        return 0, -1, False
    for _ in range(9 - digits):
        fraction *= 10
    seconds, first = number_back(text, before - 1, start)
    if first == before - 1 or before - 1 - first > 10 or seconds >= 9_000_000_000:
        return 0, -1, False
    return seconds * 1_000_000_000 + fraction, first, True


@compiled
def cpu_back(text: int, at: int, start: int) -> tuple[int, int]:
    """The CPU in the brackets that end at `at`, and the offset before them (-1: no such thing)."""
    cpu, before = number_back(text, at - 1, start)
    if before == at - 1 or before < start or load1(text, before) != LBRACKET or at - 1 - before > 5 or cpu >= MAX_CPUS:
        return 0, -1
    return cpu, before - 1


_MM_PAGE = word("mm_page_")
_MM_PAGEV = word("mm_pagev")
_ALLOC = word("alloc")
_FREE = word("free")
_KMEM = word("kmem:")
_5_BYTES = np.uint64((1 << 40) - 1)
_4_BYTES = np.uint64((1 << 32) - 1)


@compiled
def event_kind(text: int, at: int, end: int) -> tuple[int, int]:
    """Kind of the event whose name begins at `at`, and where its fields begin (include/trace/events/kmem.h)."""
    if load8(text, at) & _5_BYTES == _KMEM:
        at += 5
    first = load8(text, at)
    if first == _MM_PAGEV:
        return KIND_BATCHED, end  # mm_pagevec_free, up to 3.2
    if first != _MM_PAGE:
        return NO_KIND, end
    at += 8
    stop = at
    while stop < end and load1(text, stop) not in (COLON, SPACE):
        stop += 1
    length = stop - at
    fields = stop
    while fields < end and load1(text, fields) != SPACE:  # perf may add modifiers after the name
        fields += 1
    name = load8(text, at)
    if name & _5_BYTES == _ALLOC:
        if length == 5:
            return KIND_ALLOC, fields
        if length == 17:
            return KIND_ZONE_LOCKED, fields
        if length == 13:
            return KIND_EXTFRAG, fields
    elif name & _4_BYTES == _FREE:
        if length in (4, 11):  # mm_page_free_direct up to 3.2
            return KIND_FREE, fields
        if length == 12:
            return KIND_BATCHED, fields
    elif length == 10:
        return KIND_PCPU_DRAIN, fields
    return NO_KIND, end


@compiled
def number_at(text: int, at: int, end: int) -> tuple[int, int]:
    """The number at `at` (decimal, signed, or hexadecimal with 0x) and the offset after it (-1: none, or cut off)."""
    negative = at < end and load1(text, at) == DASH
    if negative:
        at += 1
    first = at
    value = 0
    if at + 1 < end and load1(text, at) == ZERO and load1(text, at + 1) == LOWER_X:
        at += 2
        first = at
        while at < end:
            byte = load1(text, at)
            if is_digit(byte):
                value = (value << 4) | (byte - ZERO)
            elif LOWER_A <= byte <= LOWER_F:
                value = (value << 4) | (byte - LOWER_A + 10)
            else:
                break
            at += 1
        too_long = at - first > 16
    else:
        while at < end and is_digit(load1(text, at)):
            value = value * 10 + load1(text, at) - ZERO
            at += 1
        too_long = at - first > 18 and value != -1  # 2^64 - 1, of a 64-bit number printed as unsigned
    if at == first or too_long or (at < end and load1(text, at) != SPACE):
        return 0, -1
    return (-value if negative else value), at


@compiled
def has_pfn(text: int, at: int, end: int) -> bool:
    """Whether a line has a field ``pfn=``."""
    while at < end:
        at = find_byte(text, EQUALS, at, end)
        if at < end and load8(text, at - 3) & _4_BYTES == _PFN:
            return True
        at += 1
    return False


@compiled
def is_null_page(text: int, at: int, end: int) -> bool:
    """Whether ``page=`` shows a null pointer: zeros, 0x0, (null) or (nil)."""
    if load1(text, at) == LPAREN:
        return bool(load1(text, at + 1) == 110)  # n; (____ptrval____) is a page whose address was not yet hashed
    while at < end and load1(text, at) != SPACE:
        if load1(text, at) not in (ZERO, LOWER_X):
            return False
        at += 1
    return True


_PAGE = word("page=")
_PFN = word("pfn=")
_ORDER = word("order=")
_MIGRATETYPE = word("migratetype")
_GFP_FLAGS = word("gfp_flags")
_ALLOC_ORDER = word("alloc_order")
_ALLOC_MIGRATETYPE = word("alloc_migratetype")
_6_BYTES = np.uint64((1 << 48) - 1)


@compiled
def read_fields(text: int, kind: int, at: int, end: int) -> tuple[int, int, int, int, int, int]:
    """Read the fields of a page event by name.

    A failed allocation is ``page=`` null with ``pfn=`` 0, or pfn -1 (mm_page_alloc's TP_printk, 2.6.32 to 7.0).

    Returns:
        Kind (NO_KIND: a damaged line), pfn, order, migratetype, and the bounds of the GFP text (-1: none).
    """
    pfn, order, migratetype, gfp, gfp_end = -2, -1, -1, -1, -1
    null_page = False
    while True:
        at = skip_blanks(text, at, end)
        if at >= end:
            break
        key = load8(text, at)
        after = -2
        if key & _4_BYTES == _PFN:
            if pfn != -2:  # two events in one line
                return NO_KIND, 0, 0, 0, 0, 0
            pfn, after = number_at(text, at + 4, end)
        elif key & _6_BYTES == _ORDER:
            order, after = number_at(text, at + 6, end)
        elif key == _MIGRATETYPE:
            migratetype, after = number_at(text, at + 12, end)
        elif key == _GFP_FLAGS:
            gfp = at + 10
            gfp_end = after = find_byte(text, SPACE, gfp, end)
            if gfp >= gfp_end:
                after = -1
        elif key & _5_BYTES == _PAGE:
            null_page = is_null_page(text, at + 5, end)
        elif kind == KIND_EXTFRAG and key == _ALLOC_ORDER:
            order, after = number_at(text, at + 12, end)
        elif kind == KIND_EXTFRAG and key == _ALLOC_MIGRATETYPE:
            migratetype, after = number_at(text, at + 18, end)
        if after == -1:
            return NO_KIND, 0, 0, 0, 0, 0
        at = find_byte(text, SPACE, at, end) if after == -2 else after
    if kind == KIND_ALLOC:
        if gfp < 0 or migratetype < 0:
            return NO_KIND, 0, 0, 0, 0, 0
        if pfn == -1 or (pfn == 0 and null_page):
            kind, pfn = KIND_ALLOC_FAILED, -1
    elif kind == KIND_FREE:
        migratetype = -1
    if not 0 <= order <= MAX_ORDER or migratetype > 127:
        return NO_KIND, 0, 0, 0, 0, 0
    if kind != KIND_ALLOC_FAILED and not 0 <= pfn <= MAX_PFN - (1 << order):
        return NO_KIND, 0, 0, 0, 0, 0
    return kind, pfn, order, migratetype, gfp, gfp_end


@compiled
def add_row(
    scan: Scan, text: int, ts: int, cpu: int, pid: int, comm: int, comm_end: int, fields: Any, stack: int
) -> None:
    """Add an event; `fields` is what `read_fields` returned."""
    rows, named, counts = scan.rows, scan.named, scan.counts
    kind, pfn, order, migratetype, gfp, gfp_end = fields
    row = counts[ROWS]
    rows[row].ts = ts
    rows[row].pfn = pfn
    rows[row].pid = pid
    rows[row].comm = intern(scan.comms, named, COMMS, text, comm, comm_end)
    rows[row].gfp = -1 if gfp < 0 else intern(scan.gfps, named, GFPS, text, gfp, gfp_end)
    rows[row].stack = stack
    rows[row].cpu = cpu
    rows[row].kind = kind
    rows[row].order = order
    rows[row].migratetype = migratetype
    counts[ROWS] = row + 1


@compiled
def count_entry(counts: Any, ts: int, fraction: bool) -> None:
    """Count a trace entry, whatever it is."""
    if counts[FIRST_NS] < 0:
        counts[FIRST_NS] = ts
    counts[BACKWARD] += ts < min(counts[LAST_NS], 1_000_000_000)
    counts[LAST_NS] = ts
    counts[ENTRIES] += 1
    if not fraction:
        counts[COUNTERS] += 1
