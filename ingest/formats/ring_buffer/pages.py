"""Pages of the kernel's trace ring buffer into rows (kernel/trace/ring_buffer.c, include/linux/ring_buffer.h).

A page begins with its time stamp and its commit word: how many bytes of events follow, and whether events were lost
before it. An event begins with a word of 5 bits of type and length and 27 bits of time since the event before it. The
fields of an event are described by its ``format`` text, which the recording carries: no kernel's layout is built in.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.formats.ring_buffer.event_format import EventFormat, Field
from ingest.spans import intern, load8
from ingest.trace import CONTEXTS, KIND_BATCHED, MAX_ORDER, MAX_PFN, OTHER_EVENT
from ptpool.compiled import compiled
from ptpool.errors import UsageError
from ptpool.vocabulary import (
    KIND_ALLOC,
    KIND_ALLOC_FAILED,
    KIND_EXTFRAG,
    KIND_FREE,
    KIND_PCPU_DRAIN,
    KIND_ZONE_LOCKED,
)

LARGEST_PAGE = 1 << 20  # RB_WRITE_MASK + 1: a sub-buffer is no larger
SMALLEST_EVENT = 8  # bytes: its word and one more
MOST_LOST = 1 << 40  # events; a larger count is damage
LATEST = 9_000_000_000 * 1_000_000_000  # ns: a later time is damage

KERNEL_STACK, USER_STACK = 101, 102  # kinds of events that are no page events

EVENTS = {  # include/trace/events/kmem.h, the names of up to 3.2 among them; kernel/trace/trace_entries.h
    "mm_page_alloc": KIND_ALLOC,
    "mm_page_free": KIND_FREE,
    "mm_page_free_direct": KIND_FREE,
    "mm_page_free_batched": KIND_BATCHED,
    "mm_pagevec_free": KIND_BATCHED,
    "mm_page_alloc_zone_locked": KIND_ZONE_LOCKED,
    "mm_page_pcpu_drain": KIND_PCPU_DRAIN,
    "mm_page_alloc_extfrag": KIND_EXTFRAG,
    "kernel_stack": KERNEL_STACK,
    "user_stack": USER_STACK,
}

# What the layout of a recording says: indices into Layout.page.
PAGE_SIZE, DATA, COMMIT, COMMIT_SIZE, LONG, BIG_ENDIAN = range(6)
# Of an event, indices into Layout.events[slot]: its kind, the bytes it has to have, and offset and size of its fields.
KIND, BYTES, PFN, ORDER, MIGRATETYPE, GFP, FRAMES, FRAME_COUNT = 0, 1, 2, 4, 6, 8, 10, 12
COLUMNS = 14

# The state of one CPU.
(
    ROWS,  # rows written
    LOST,  # events lost, by the counts in the pages
    GAPS,  # places where events were lost and not counted
    FIRST_TS,  # time of the first entry; -1: none yet
    LAST_TS,  # time of the last entry
    ENTRIES,
    DAMAGED,  # pages and records that cannot be what they claim to be
    DAMAGED_AT,  # bytes before the first of them
    READ,  # bytes of pages read
    WAITING,  # [context]: row whose stack may still come; OTHER_EVENT, STORED
) = range(10)
STATE = WAITING + CONTEXTS

# Of all CPUs together: indices into SharedTables.named and SharedTables.counts.
GFPS, STACKS = range(2)
OTHER, BATCHED, ORPHANS, USER_FRAMES = range(4)


class Layout(NamedTuple):
    """Where everything is, by the recording's own formats."""

    page: NDArray[np.int64]
    common: NDArray[np.int64]  # offset and size of common_type, common_flags and common_pid
    slots: NDArray[np.int16]  # common_type to a row of `events`; -1: an event that is not needed
    events: NDArray[np.int64]  # [slot, COLUMNS]


class SharedTables(NamedTuple):
    """What all CPUs of a recording share."""

    gfps: NDArray[np.void]  # NAME of the bytes of a mask
    stacks: NDArray[np.void]  # NAME of the bytes of the addresses
    named: NDArray[np.int64]
    counts: NDArray[np.int64]
    tasks: NDArray[np.int32]  # pid to number of its name; a pid beyond the end has number 0


def layout_of(
    formats: Iterable[EventFormat], header: Mapping[str, Field], page_size: int, big_endian: bool, where: str
) -> Layout:
    """Lay out a recording, by its events, the fields of its ``events/header_page`` and its page size (bytes).

    Raises:
        UsageError: no page event is described, or something impossible is.
    """
    missing = [name for name in ("timestamp", "commit", "data") if name not in header]
    if missing or header["timestamp"].offset != 0 or header["timestamp"].size != 8:
        raise UsageError(
            f"{where}: header_page does not say where a page's {', '.join(missing) or 'time stamp'} is", "copy it again"
        )
    commit, data = header["commit"], header["data"].offset
    if commit.size not in (4, 8) or commit.offset != 8 or not 12 <= data <= 64:
        raise UsageError(f"{where}: header_page describes an impossible page", "copy it again")
    if page_size & (page_size - 1) or not 256 <= page_size <= LARGEST_PAGE:
        raise UsageError(f"{where}: impossible page size of {page_size} bytes", "copy it again")
    known = [form for form in formats if form.name in EVENTS]
    if not any(EVENTS[form.name] <= KIND_EXTFRAG for form in known):
        raise UsageError(
            f"{where}: it describes no page-allocation events",
            "record kmem:mm_page_alloc and kmem:mm_page_free, with stacks",
        )
    slots = np.full(1 << 16, -1, np.int16)
    events = np.zeros((len(known), COLUMNS), np.int64)
    for slot, form in enumerate(known):
        if not 0 < form.id < 1 << 16:
            raise UsageError(f"{where}: impossible number {form.id} of event {form.name}", "copy it again")
        slots[form.id] = slot
        events[slot] = columns_of(form)
    common = [known[0].number(name) for name in ("common_type", "common_flags", "common_pid")]
    return Layout(
        np.array([page_size, data, commit.offset, commit.size, commit.size, int(big_endian)], np.int64),
        np.array([(field.offset, field.size) for field in common], np.int64).reshape(-1),
        slots,
        events,
    )


def columns_of(form: EventFormat) -> NDArray[np.int64]:
    """Where the fields of an event of `EVENTS` lie: a row of `Layout.events`.

    Raises:
        UsageError: it lacks a field, or is from a kernel that recorded no page frame numbers.
    """
    columns = np.zeros(COLUMNS, np.int64)
    kind = columns[KIND] = EVENTS[form.name]
    used: list[Field] = []

    def place(column: int, name: str) -> None:
        field = form.number(name)
        used.append(field)
        columns[column : column + 2] = field.offset, field.size

    if kind in (KERNEL_STACK, USER_STACK):
        if "caller" not in form.fields:
            raise UsageError(f"{form.where}: the format of {form.name} has no field caller", "copy it again")
        columns[FRAMES] = form.fields["caller"].offset
        if "size" in form.fields:  # before 2.6.39 and in user_stack, the frames end with -1
            place(FRAME_COUNT, "size")
    elif kind != KIND_BATCHED:
        prefix = "alloc_" if kind == KIND_EXTFRAG else ""
        if "pfn" not in form.fields and "page" in form.fields:
            raise UsageError(
                f"{form.where}: {form.name} has the address of a struct page, not its page frame number (before 4.1)",
                "run trace-cmd report or perf script on that machine and import the text",
            )
        place(PFN, "pfn")
        place(ORDER, prefix + "order")
        if kind != KIND_FREE:
            place(MIGRATETYPE, prefix + "migratetype")
        if kind == KIND_ALLOC:
            place(GFP, "gfp_flags")
    columns[BYTES] = max((field.offset + field.size for field in used), default=0)
    return columns


_BYTE = np.uint64(0xFF)
_ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_64 = np.uint64(64)
_8 = np.uint64(8)
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31  # enum ring_buffer_type
_TIME_BITS = 27
_MISSED, _MISSED_STORED = 1 << 31, 1 << 30  # RB_MISSED_EVENTS, RB_MISSED_STORED
_COMMIT_MASK = (1 << 27) - 1
_HIGH_TIME = 0x1F << 59  # an absolute time stamp has 59 bits
_HARDIRQ, _SOFTIRQ, _NMI = 0x08, 0x10, 0x40  # enum trace_flag_type


@compiled
def number(text: int, at: int, size: int, big_endian: int) -> Any:
    """The unsigned number of `size` bytes at an offset."""
    value = load8(text, at)
    if big_endian:
        swapped = np.uint64(0)
        for _ in range(8):
            swapped = (swapped << _8) | (value & _BYTE)
            value >>= _8
        return swapped >> (_64 - _8 * np.uint64(size))
    if size == 8:
        return value
    return value & ~(_ALL_ONES << (_8 * np.uint64(size)))


@compiled
def signed(value: Any, size: int) -> Any:
    """An unsigned number of `size` bytes as the signed number of the same bits."""
    shift = 64 - 8 * size
    return (np.int64(value) << shift) >> shift


@compiled
def context_of(flags: int) -> int:
    """Interrupt context by common_flags: 0 task, 1 softirq, 2 hardirq, 3 NMI, as a text trace shows it."""
    if flags & _NMI:
        return 3
    if flags & _HARDIRQ:
        return 2
    return 1 if flags & _SOFTIRQ else 0


@compiled
def read_pages(
    layout: Layout, tables: SharedTables, rows: Any, state: Any, cpu: int, text: int, at: int, end: int
) -> int:
    """Read whole pages from the block [at, end) of one CPU.

    Returns:
        Offset of the first page not read: the block ends within it, or `rows` or a table is nearly full.
    """
    page_size = layout.page[PAGE_SIZE]
    most = page_size // SMALLEST_EVENT
    while (
        at + page_size <= end
        and state[ROWS] + most <= rows.shape[0]
        and 2 * (tables.named[GFPS] + most) <= tables.gfps.shape[0]
        and 2 * (tables.named[STACKS] + most) <= tables.stacks.shape[0]
    ):
        read_page(layout, tables, rows, state, cpu, text, at)
        state[READ] += page_size
        at += page_size
    return at


@compiled
def damage(state: Any, at: int) -> None:
    """Count damage at `at` bytes into the page being read."""
    if state[DAMAGED] == 0:
        state[DAMAGED_AT] = state[READ] + at
    state[DAMAGED] += 1


@compiled
def read_page(layout: Layout, tables: SharedTables, rows: Any, state: Any, cpu: int, text: int, page: int) -> None:
    """Read the page at `page`; the rest of a damaged page is skipped."""
    big = layout.page[BIG_ENDIAN]
    long = layout.page[LONG]
    data = page + layout.page[DATA]
    ts = number(text, page, 8, big)
    commit = np.int64(number(text, page + layout.page[COMMIT], layout.page[COMMIT_SIZE], big))
    size = commit & _COMMIT_MASK
    room = layout.page[PAGE_SIZE] - layout.page[DATA]
    if size > room:
        damage(state, layout.page[COMMIT])
        return
    if commit & _MISSED:
        missed = 0
        if commit & _MISSED_STORED and size + long <= room:
            missed = signed(number(text, data + size, long, big), long)
        if 0 < missed < MOST_LOST:
            state[LOST] += missed
        else:
            state[GAPS] += 1
    at, end = data, data + size
    while at + 4 <= end:
        start = at
        head = np.int64(number(text, at, 4, big))
        kind = head >> _TIME_BITS if big else head & 31
        delta = head & ((1 << _TIME_BITS) - 1) if big else head >> 5
        at += 4
        if kind >= _PADDING or kind == 0:
            if kind == _PADDING and delta == 0:  # the rest of the page is empty
                break
            if at + 4 > end:
                damage(state, start - page)
                break
            word = np.int64(number(text, at, 4, big))
            if kind == _TIME_STAMP:
                absolute = np.uint64((word << _TIME_BITS) | delta) | (ts & np.uint64(_HIGH_TIME))
                ts = absolute
                at += 4
                continue
            if kind == _TIME_EXTEND:
                ts += np.uint64((word << _TIME_BITS) | delta)
                at += 4
                continue
            ts += np.uint64(delta)
            if kind == _PADDING:  # an event that was discarded
                at += (word + 3) & ~3
                if at > end:
                    damage(state, start - page)
                continue
            at += 4
            length = (word - 4 + 3) & ~3
        else:
            ts += np.uint64(delta)
            length = 4 * kind
        if length <= 0 or at + length > end or ts > np.uint64(LATEST):
            damage(state, start - page)
            break
        if not read_event(layout, tables, rows, state, cpu, text, at, length, np.int64(ts)):
            damage(state, start - page)
        at += length


@compiled
def read_event(
    layout: Layout,
    tables: SharedTables,
    rows: Any,
    state: Any,
    cpu: int,
    text: int,
    at: int,
    length: int,
    ts: int,
) -> bool:
    """Read one event of `length` bytes; False: it cannot be what it claims to be."""
    big, common, counts = layout.page[BIG_ENDIAN], layout.common, tables.counts
    if length < common[4] + common[5]:
        return False
    if state[FIRST_TS] < 0:
        state[FIRST_TS] = ts
    state[LAST_TS] = ts
    state[ENTRIES] += 1
    slot = layout.slots[np.int64(number(text, at + common[0], common[1], big)) & 0xFFFF]
    context = context_of(np.int64(number(text, at + common[2], common[3], big)))
    kind = KIND_BATCHED if slot < 0 else layout.events[slot, KIND]
    if slot < 0 or kind == KIND_BATCHED:
        counts[OTHER if slot < 0 else BATCHED] += 1
        await_stack(state, context, OTHER_EVENT)
        return True
    event = layout.events[slot]
    if length < event[BYTES]:
        return False
    pid = signed(number(text, at + common[4], common[5], big), common[5])
    if kind in (KERNEL_STACK, USER_STACK):
        frames = frames_at(layout, event, text, at, length)
        if kind == USER_STACK:
            counts[USER_FRAMES] += frames
            return True
        row = state[WAITING + context]
        if row >= 0 and rows[row].pid == pid:
            first = at + event[FRAMES]
            if frames:
                rows[row].stack = intern(
                    tables.stacks, tables.named, STACKS, text, first, first + frames * layout.page[LONG]
                )
            state[WAITING + context] = OTHER_EVENT
        elif row != OTHER_EVENT:
            counts[ORPHANS] += 1
        return True
    pfn = signed(number(text, at + event[PFN], event[PFN + 1], big), event[PFN + 1])
    order = signed(number(text, at + event[ORDER], event[ORDER + 1], big), event[ORDER + 1])
    migratetype = -1
    if event[MIGRATETYPE + 1]:
        migratetype = signed(number(text, at + event[MIGRATETYPE], event[MIGRATETYPE + 1], big), event[MIGRATETYPE + 1])
        if not 0 <= migratetype <= 127:
            return False
    if kind == KIND_ALLOC and pfn == -1:
        kind = KIND_ALLOC_FAILED
    if not 0 <= order <= MAX_ORDER or (kind != KIND_ALLOC_FAILED and not 0 <= pfn <= MAX_PFN - (1 << order)):
        return False
    row = state[ROWS]
    rows[row].ts = ts
    rows[row].pfn = pfn
    rows[row].pid = pid
    rows[row].comm = tables.tasks[pid] if 0 <= pid < tables.tasks.shape[0] else 0
    rows[row].gfp = -1
    if event[GFP + 1]:
        mask = at + event[GFP]
        rows[row].gfp = intern(tables.gfps, tables.named, GFPS, text, mask, mask + event[GFP + 1])
    rows[row].stack = -1
    rows[row].cpu = cpu
    rows[row].kind = kind
    rows[row].order = order
    rows[row].migratetype = migratetype
    await_stack(state, context, row)
    state[ROWS] = row + 1
    return True


@compiled
def frames_at(layout: Layout, event: Any, text: int, at: int, length: int) -> int:
    """How many addresses a stack has: at most as many as it says and as fit, up to one of all ones."""
    long, big = layout.page[LONG], layout.page[BIG_ENDIAN]
    first = at + event[FRAMES]
    most = (length - event[FRAMES]) // long
    if event[FRAME_COUNT + 1]:
        most = min(most, np.int64(number(text, at + event[FRAME_COUNT], event[FRAME_COUNT + 1], big)))
    frames = 0
    while frames < most and signed(number(text, first + frames * long, long, big), long) != -1:
        frames += 1
    return frames


@compiled
def await_stack(state: Any, context: int, row: int) -> None:
    """A stack of this CPU and context now belongs to `row`; the contexts that interrupted it are over."""
    state[WAITING + context] = row
    for deeper in range(context + 1, CONTEXTS):
        state[WAITING + deeper] = OTHER_EVENT


def new_state(cpus: int) -> NDArray[np.int64]:
    """The states of CPUs from which nothing was read yet."""
    state = np.zeros((cpus, STATE), np.int64)
    state[:, FIRST_TS] = -1
    state[:, WAITING:] = OTHER_EVENT
    return state
