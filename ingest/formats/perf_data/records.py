"""The compiled walk over the records of a perf.data file: samples to rows, names to numbers, losses to counts.

A record is ``struct perf_event_header`` and what its type says (include/uapi/linux/perf_event.h). The bytes are passed
as their address. Every length in a record is checked against the record's own size before it is used, and no byte
outside the records is touched. Names and forks of tasks become rows of their own kinds: they have to be put in order
of time first.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.formats.perf_data import layout
from ingest.formats.perf_data.tracing_data import OTHER
from ingest.formats.ring_buffer.pages import BYTES, GFP, KIND, MIGRATETYPE, ORDER, PFN
from ingest.spans import enter, find_byte, intern, load1, load8, slot_of
from ingest.trace import KIND_BATCHED, MAX_CPUS, MAX_ORDER, MAX_PFN
from ptpool.compiled import compiled
from ptpool.vocabulary import KIND_ALLOC, KIND_ALLOC_FAILED

# enum perf_event_type, and enum perf_user_event_type (tools/lib/perf/include/perf/event.h)
MMAP, LOST, COMM, THROTTLE, FORK, SAMPLE, MMAP2, LOST_SAMPLES = 1, 2, 3, 5, 7, 9, 10, 13
HEADER_ATTR, HEADER_TRACING_DATA, FINISHED_ROUND, AUXTRACE, HEADER_FEATURE = 64, 66, 68, 71, 80
COMPRESSED, COMPRESSED2 = 81, 83
LARGEST = (1 << 16) - 1  # bytes of a record: its size is a 16-bit number

KIND_COMM, KIND_FORK = 101, 102  # rows that are no events: a task got a name; a task (pid) was made by another (pfn)

# Why the walk stopped: end of the bytes, no room, a record for trace.py, no record.
MORE, FULL, SPECIAL, BROKEN = range(4)

(
    C_ROWS,  # rows that wait for their turn
    C_COMMS,  # names numbered so far
    C_GFPS,
    C_STACKS,
    C_DAMAGED,  # records that cannot be what they claim to be
    C_DAMAGED_AT,  # address of the first of them
    C_OTHER,  # samples that are no page events
    C_BATCHED,
    C_USER_FRAMES,
    C_NO_CPU,
    C_SKIPPED,  # events between samples of a sampled recording
    C_THROTTLED,
    C_FIRST_NS,  # time of the earliest sample; -1: none yet
    C_LATEST,  # latest time so far
    C_ROUND,  # latest time of the rounds that are over
    C_DUE,  # up to this time nothing earlier can follow
) = range(16)
COUNTS = 16

_KERNEL_MODE = 1  # PERF_RECORD_MISC_KERNEL
_MODES = 7
_LOST_TO_FILTER = 1 << 15  # PERF_RECORD_MISC_LOST_SAMPLES_BPF: dropped on purpose
_CONTEXT_KERNEL, _CONTEXT_MAX = -128, -4095  # enum perf_callchain_context
_FORMAT_ENABLED, _FORMAT_RUNNING, _FORMAT_ID, _FORMAT_GROUP, _FORMAT_LOST = 1, 2, 4, 8, 16
LATEST = 9_000_000_000_000_000_000  # ns; later times are damage
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Walk(NamedTuple):
    """Everything the walk reads and writes."""

    rows: NDArray[np.void]  # ROW, in the order of the file
    comms: NDArray[np.void]  # NAME, a power of two of slots; `start` and `end` are addresses
    gfps: NDArray[np.void]  # NAME; `start` is the value
    stacks: NDArray[np.void]
    ids: NDArray[np.void]  # NAME: an event's id to its layout
    layouts: NDArray[np.int64]
    event_of: NDArray[np.int16]
    events: NDArray[np.int64]  # [event, column of ingest.formats.ring_buffer.pages.columns_of]
    lost: NDArray[np.int64]  # [cpu + 1 (0: not said), records lost or samples lost]
    counts: NDArray[np.int64]


@compiled
def number(at: int, size: int, swap: bool) -> Any:
    """The unsigned number of 1, 2, 4 or 8 bytes at an address; one of 8 comes as a signed one."""
    value = 0
    for place in range(size):
        shift = (size - 1 - place if swap else place) << 3
        value |= load1(at, place) << shift
    return value


@compiled
def u2(at: int, swap: bool) -> Any:
    """2 bytes."""
    if swap:
        return load1(at, 0) << 8 | load1(at, 1)
    return load1(at, 1) << 8 | load1(at, 0)


@compiled
def u4(at: int, swap: bool) -> Any:
    """4 bytes."""
    if swap:
        return load1(at, 0) << 24 | load1(at, 1) << 16 | load1(at, 2) << 8 | load1(at, 3)
    return load1(at, 3) << 24 | load1(at, 2) << 16 | load1(at, 1) << 8 | load1(at, 0)


@compiled
def i8(at: int, swap: bool) -> Any:
    """8 bytes, signed."""
    if swap:
        return u4(at, True) << 32 | u4(at + 4, True)
    return np.int64(load8(at, 0))


@compiled
def i4(at: int, swap: bool) -> Any:
    """4 bytes, signed."""
    value = u4(at, swap)
    return value - ((value >> 31) << 32)


@compiled
def key_of(value: int) -> Any:
    """A key for a number: one to one, and spread."""
    return np.uint64(value) * _ODD


@compiled
def enter_ids(ids: Any, values: Any, which: int) -> None:
    """Note which layout the samples of some events have."""
    for place in range(values.shape[0]):
        slot = slot_of(ids, key_of(values[place]))
        ids[slot].hash = key_of(values[place])
        ids[slot].number = which


@compiled
def layout_by_id(ids: Any, at: int, swap: bool) -> Any:
    """The layout of the event whose id stands at an address; -1: unknown."""
    return ids[slot_of(ids, key_of(i8(at, swap)))].number


@compiled
def has_room(walk: Walk) -> Any:
    """Whether one more record fits into every table; tables of names are kept half empty."""
    return (
        walk.counts[C_ROWS] < walk.rows.shape[0]
        and 2 * walk.counts[C_COMMS] < walk.comms.shape[0]
        and 2 * walk.counts[C_GFPS] < walk.gfps.shape[0]
        and 2 * walk.counts[C_STACKS] < walk.stacks.shape[0]
    )


@compiled
def read_size(at: int, stop: int, read_format: int, swap: bool) -> Any:
    """Bytes of the counts in a sample (kernel/events/core.c:perf_output_read); -1: they do not fit."""
    times = (read_format & _FORMAT_ENABLED) + ((read_format & _FORMAT_RUNNING) >> 1)
    each = 1 + ((read_format & _FORMAT_ID) >> 2) + ((read_format & _FORMAT_LOST) >> 4)
    size = 8 * (times + each)
    if read_format & _FORMAT_GROUP:
        if at + 8 > stop:
            return -1
        members = i8(at, swap)
        if members < 0 or members > (stop - at) >> 3:
            return -1
        size = 8 * (1 + times + members * each)
    return size if at + size <= stop else -1


@compiled
def kernel_frames(at: int, frames: int, in_kernel: bool, swap: bool) -> tuple[int, int, int]:
    """Bounds of the kernel's frames in a call chain (-1: none), and how many frames are not the kernel's."""
    first, end, others = -1, -1, 0
    for _ in range(frames):
        address = i8(at, swap)
        if _CONTEXT_MAX <= address < 0:
            in_kernel = address == _CONTEXT_KERNEL
        elif in_kernel and end in (-1, at):
            if first < 0:
                first = at
            end = at + 8
        else:
            others += 1
        at += 8
    return first, end, others


@compiled
def field(walk: Walk, event: int, column: int, raw: int, swap: bool) -> Any:
    """A number in the raw data of an event."""
    return number(raw + walk.events[event, column], walk.events[event, column + 1], swap)


@compiled
def take_sample(walk: Walk, at: int, size: int, which: int, type_at: int, type_size: int, swap: bool) -> bool:
    """Read one sample; False: it cannot be what it claims to be."""
    rows, counts, of = walk.rows, walk.counts, walk.layouts
    rest, stop = at + of[which, layout.L_REST], at + size
    if rest > stop:
        return False
    ts = 0
    if of[which, layout.L_TIME]:
        ts = i8(at + of[which, layout.L_TIME], swap)
        if ts < 0 or ts > LATEST:
            return False
        if counts[C_FIRST_NS] < 0 or ts < counts[C_FIRST_NS]:
            counts[C_FIRST_NS] = ts
        counts[C_LATEST] = max(counts[C_LATEST], ts)
    if not (of[which, layout.L_TRACEPOINT] and of[which, layout.L_RAW] and of[which, layout.L_TIME]):
        counts[C_OTHER] += 1
        return True
    if of[which, layout.L_READ] >= 0:
        counters = read_size(rest, stop, of[which, layout.L_READ], swap)
        if counters < 0:
            return False
        rest += counters
    chain, frames = rest, 0
    if of[which, layout.L_CHAIN]:
        if rest + 8 > stop:
            return False
        frames = i8(rest, swap)
        if frames < 0 or frames > (stop - rest - 8) >> 3:
            return False
        chain = rest + 8
        rest = chain + 8 * frames
    if rest + 4 > stop:
        return False
    raw, raw_size = rest + 4, u4(rest, swap)
    if raw + raw_size > stop or type_at + type_size > raw_size:
        return False
    event = walk.event_of[number(raw + type_at, type_size, swap) & 0xFFFF]
    if event == OTHER:
        counts[C_OTHER] += 1
        return True
    if event < 0 or walk.events[event, BYTES] > raw_size:
        return False
    kind = walk.events[event, KIND]
    cpu, tid, first, end, others = -1, -1, -1, -1, 0
    if frames:
        mode = u2(at + 4, swap) & _MODES
        first, end, others = kernel_frames(chain, frames, mode == _KERNEL_MODE, swap)
    counts[C_USER_FRAMES] += others
    if kind == KIND_BATCHED:
        counts[C_BATCHED] += 1
        return True
    pfn = field(walk, event, PFN, raw, swap)
    order = field(walk, event, ORDER, raw, swap)
    migratetype, gfp = -1, -1
    if walk.events[event, MIGRATETYPE + 1]:
        migratetype = field(walk, event, MIGRATETYPE, raw, swap)
        if migratetype < 0 or migratetype > 127:
            return False
    if kind == KIND_ALLOC and (pfn == -1 or (walk.events[event, PFN + 1] == 4 and pfn == 0xFFFFFFFF)):
        kind, pfn = KIND_ALLOC_FAILED, -1
    elif pfn < 0 or pfn > MAX_PFN:
        return False
    if order < 0 or order > MAX_ORDER or pfn > MAX_PFN - (1 << order):
        return False
    if of[which, layout.L_CPU]:
        cpu = u4(at + of[which, layout.L_CPU], swap)
        if cpu >= MAX_CPUS:
            return False
    else:
        counts[C_NO_CPU] += 1
    if of[which, layout.L_TID]:
        tid = i4(at + of[which, layout.L_TID] + 4, swap)
    if of[which, layout.L_PERIOD]:
        counts[C_SKIPPED] += min(max(i8(at + of[which, layout.L_PERIOD], swap), 1), 1 << 32) - 1
    if walk.events[event, GFP + 1]:
        value = field(walk, event, GFP, raw, swap)
        gfp = enter(walk.gfps, counts, C_GFPS, key_of(value), value, value)
    row = counts[C_ROWS]
    rows[row].ts = ts
    rows[row].pfn = pfn
    rows[row].pid = tid
    rows[row].comm = -1
    rows[row].gfp = gfp
    rows[row].stack = -1 if first < 0 else intern(walk.stacks, counts, C_STACKS, 0, first, end)
    rows[row].cpu = max(cpu, 0)
    rows[row].kind = kind
    rows[row].order = order
    rows[row].migratetype = migratetype
    counts[C_ROWS] = row + 1
    return True


@compiled
def take_other(walk: Walk, kind: int, at: int, size: int, swap: bool) -> bool:
    """Read a record of losses or of tasks; False: it cannot be what it claims to be."""
    rows, counts, which = walk.rows, walk.counts, 0
    back_id = walk.layouts[0, layout.L_BACK_ID]
    if back_id and walk.layouts.shape[0] > 1 and size >= 8 + back_id:
        which = max(layout_by_id(walk.ids, at + size - back_id, swap), 0)
    back_time, back_cpu = walk.layouts[which, layout.L_BACK_TIME], walk.layouts[which, layout.L_BACK_CPU]
    if size < 24 or size % 8 or back_time > size - 16 or back_cpu > size - 16:
        return False
    if kind in (LOST, LOST_SAMPLES):
        cpu = u4(at + size - back_cpu, swap) if back_cpu else -1
        if kind == LOST_SAMPLES and back_time and i8(at + size - back_time, swap) == 0:
            cpu = -1  # written by perf at the end, which leaves all but the id zero (builtin-record.c in 6.1)
        lost = i8(at + (16 if kind == LOST else 8), swap)
        if lost < 0 or cpu >= MAX_CPUS:
            return False
        if kind == LOST or not u2(at + 4, swap) & _LOST_TO_FILTER:
            walk.lost[cpu + 1, int(kind == LOST_SAMPLES)] += min(lost, 1 << 40)
        return True
    ts = i8(at + size - back_time, swap) if back_time else 0
    if ts < 0 or ts > LATEST:
        ts = 0  # made up by perf before or after the recording: at once
    row = counts[C_ROWS]
    if kind == COMM:
        end = find_byte(0, 0, at + 16, at + size)
        if end == at + size:
            return False
        rows[row].kind = KIND_COMM
        rows[row].pid = i4(at + 12, swap)
        rows[row].comm = intern(walk.comms, counts, C_COMMS, 0, at + 16, end)
    else:
        rows[row].kind = KIND_FORK
        rows[row].pid = i4(at + 16, swap)
        rows[row].pfn = i4(at + 20, swap)
    rows[row].ts = ts
    counts[C_LATEST] = max(counts[C_LATEST], ts)
    counts[C_ROWS] = row + 1
    return True


@compiled
def walk_records(
    walk: Walk, at: int, end: int, id_at: int, type_at: int, type_size: int, swap: bool
) -> tuple[int, int]:
    """Read whole records from the addresses [at, end).

    Args:
        walk: the tables.
        at: address of the first record.
        end: address after the last.
        id_at: where samples have the id of their event; 0: there is one layout.
        type_at: where raw data has the number of its event.
        type_size: bytes of that number.
        swap: whether the machine that recorded was big-endian.

    Returns:
        Address of the first record not read, and why: MORE, FULL, SPECIAL or BROKEN.
    """
    counts = walk.counts
    while at + 8 <= end:
        if not has_room(walk):
            return at, FULL
        kind, size = u4(at, swap), u2(at + 6, swap)
        if size < 8 or kind == 0:
            return at, BROKEN
        if at + size > end:
            break
        good = True
        if kind == SAMPLE:
            which = 0
            if id_at:
                which = layout_by_id(walk.ids, at + id_at, swap) if size >= id_at + 8 else -1
            good = which >= 0 and take_sample(walk, at, size, which, type_at, type_size, swap)
        elif kind == FINISHED_ROUND:
            counts[C_DUE] = counts[C_ROUND]
            counts[C_ROUND] = counts[C_LATEST]
        elif kind in (COMM, FORK, LOST, LOST_SAMPLES):
            good = take_other(walk, kind, at, size, swap)
        elif kind == THROTTLE and size >= 24:
            which = max(layout_by_id(walk.ids, at + 16, swap), 0)
            counts[C_THROTTLED] += walk.layouts[which, layout.L_TRACEPOINT]
        elif kind in (HEADER_ATTR, HEADER_TRACING_DATA, AUXTRACE, HEADER_FEATURE, COMPRESSED, COMPRESSED2) or (
            kind in (MMAP, MMAP2) and u2(at + 4, swap) & _MODES == _KERNEL_MODE
        ):
            return at, SPECIAL
        if not good:
            if not counts[C_DAMAGED]:
                counts[C_DAMAGED_AT] = at
            counts[C_DAMAGED] += 1
        at += size
    return at, MORE
