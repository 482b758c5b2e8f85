"""``perf script`` text.

A line is ``comm pid[/tid] [[cpu]] seconds: [period] event: fields`` (tools/perf/builtin-script.c:process_event and
perf_sample__fprintf_start); ``-F`` selects the fields. Other fields may stand before the comm (the virtual machine),
between CPU and time (misc, time of day), and after those of the event. The frames of its call chain follow, innermost
first, each after a tab (in mails and on web pages, blanks), up to an empty line; user-space frames come last and are
skipped. Lines that belong to frames (source lines) or to the sample (registers, branches) are passed over.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingest.formats.text import scan
from ingest.formats.text.reader import TextTrace
from ingest.spans import find_byte, intern, load1, load8
from ingest.trace import KIND_BATCHED, MAX_CPUS, Context
from ptpool.compiled import compiled

_PERF_RECORD = scan.word("PERF_REC")
_KERNEL, _GUEST = scan.word("([kernel"), scan.word("([guest.")
_BAR = b"|"[0]  # before a source line: tools/perf/util/srccode.c
_KERNEL_HALF = b"8"[0]  # first of the 16 digits of a kernel address, or more
_LONG_FRAME = 100  # bytes: only a frame that is longer can hold the line of an event
_LONGEST_MISC = 8  # letters of -F misc, or "disabled" where perf does not know the time of day
_VM, _VCPU = scan.word("VM:"), scan.word("VCPU:")
_3_BYTES, _5_BYTES = np.uint64((1 << 24) - 1), np.uint64((1 << 40) - 1)


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


NO_FRAME, KERNEL_FRAME, USER_FRAME, CUT_OFF = range(4)


@compiled
def of_kernel(text: int, at: int, end: int) -> bool:
    """Whether a frame names the kernel as its object, in brackets at its end.

    On s390x the kernel has an address space of its own, on 32-bit machines addresses are short: neither shows.
    """
    place = end - 1
    while place > at and load1(text, place) != scan.LPAREN:
        place -= 1
    return bool(load8(text, place) == _KERNEL or load8(text, place) == _GUEST)


_EACH, _TOP = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_FROM_0, _BEYOND_9 = (_EACH * np.uint64(0x80 - byte) for byte in b"0:")
_FROM_A, _BEYOND_F = (_EACH * np.uint64(0x80 - byte) for byte in b"ag")


@compiled
def is_hex(word: Any) -> Any:
    """Whether all 8 bytes are hexadecimal digits (0-9, a-f): the top bit of each says what it is at least."""
    decimal = (word + _FROM_0) & ~(word + _BEYOND_9)
    letter = (word + _FROM_A) & ~(word + _BEYOND_F)
    return word & _TOP == 0 and (decimal | letter) & _TOP == _TOP


@compiled
def frame_at(text: int, at: int, end: int, final: bool, frames: int) -> int:
    """What the line at `at` is in a call chain that has some frames so far; CUT_OFF: the block ends too early to say.

    Addresses are printed ``%16lx`` after a tab (tools/perf/util/evsel_fprintf.c:sample__fprintf_callchain). A frame
    without an address counts as kernel; so does none with the top bit clear, unless its object is the kernel.
    """
    tab = load1(text, at) == scan.TAB
    if tab and load1(text, at + 1) >= _KERNEL_HALF and is_hex(load8(text, at + 1)) and is_hex(load8(text, at + 9)):
        return KERNEL_FRAME
    first = at
    while first < end and (load1(text, first) == scan.SPACE or load1(text, first) == scan.TAB):
        first += 1
    after = first
    while after < end and (scan.is_digit(load1(text, after)) or scan.LOWER_A <= load1(text, after) <= scan.LOWER_F):
        after += 1
    if after >= end and not tab and not final:
        return CUT_OFF
    digits = after - first
    address = digits > 0 and (after >= end or load1(text, after) in (scan.SPACE, scan.NEWLINE))
    user = digits < 16 or load1(text, first) < _KERNEL_HALF
    if user and address and of_kernel(text, after, find_byte(text, scan.NEWLINE, after, end)):
        user = False
    if tab:
        return USER_FRAME if address and user and (after == at + 17 or digits >= 4) else KERNEL_FRAME
    if not address or digits > 16 or (first == at and digits < 16 and frames == 0):
        return NO_FRAME
    line_end = find_byte(text, scan.NEWLINE, after, end)
    if line_end >= end and not final:
        return CUT_OFF
    if header(text, at, line_end)[0] >= 0:
        return NO_FRAME
    return USER_FRAME if user else KERNEL_FRAME


@compiled
def names_an_event(text: int, at: int, end: int) -> bool:
    """Whether a page event begins somewhere in a line, with or without a header before it."""
    colon = find_byte(text, scan.COLON, at, end)
    while colon < end:
        if scan.event_kind(text, event_at(text, colon + 1, end), end)[0] != scan.NO_KIND:
            return True
        colon = find_byte(text, scan.COLON, colon + 1, end)
    return False


@compiled
def chain_end(text: int, at: int, end: int, final: bool) -> tuple[int, int, int, int]:
    """The call chain at `at`.

    Returns:
        Where it ends (beyond `end`: it may go on in the next block), where its kernel frames end, its lines, and how
        many of them are user-space frames.
    """
    kernel_end, stop, lines, frames, user = at, at, 0, 0, 0
    while stop < end and load1(text, stop) != scan.NEWLINE:
        kind = frame_at(text, stop, end, final, frames)
        if kind == CUT_OFF:
            return end + 1, kernel_end, lines, user
        line_end = find_byte(text, scan.NEWLINE, stop, end)
        if kind == NO_FRAME:
            if frames == 0 or load1(text, stop) not in (scan.SPACE, _BAR):
                break
            if line_end >= end:
                return stop if final else end + 1, kernel_end, lines, user
            if scan.skip_blanks(text, stop, line_end) == line_end or header(text, stop, line_end)[0] >= 0:
                break
        elif line_end - stop > _LONG_FRAME and (
            header(text, stop, line_end)[0] >= 0 or names_an_event(text, stop, line_end)
        ):
            break  # the next event runs into it
        elif user == 0 and kind == KERNEL_FRAME:
            kernel_end = line_end + 1
            frames += 1
        else:
            user += 1
            frames += 1
        lines += 1
        stop = line_end + 1
    return stop, kernel_end, lines, user


@compiled
def fields_back(text: int, at: int, start: int) -> int:
    """Last offset up to `at` before the fields between CPU and time: K, U, H, GK, GU, ..., and the time of day."""
    for _ in range(4):  # flags, date, time of day
        at = scan.skip_blanks_back(text, at, start)
        first, letters, colons = at, 0, 0
        while first >= start and load1(text, first) != scan.SPACE:
            byte = load1(text, first) | 32
            letters += scan.LOWER_A <= byte <= scan.LOWER_Z
            colons += byte in (scan.COLON, scan.DASH)
            first -= 1
        length = at - first
        flags = 0 < length == letters <= _LONGEST_MISC
        date = colons == 2 and letters == 0 and (length == 10 or length >= 15) and scan.is_digit(load1(text, first + 1))
        if first < start or not (flags or date):
            return at
        at = first
    return at


@compiled
def task_back(text: int, at: int, start: int) -> tuple[int, int, int]:
    """CPU (-1: not there) and thread id of the header that ends at `at`, and the end of the comm (-1: no header).

    ``tid``, ``pid/tid``, either followed by ``[cpu]``, or with ``-L`` by the bare number ``%3d``.
    """
    cpu = -1
    if load1(text, at) == scan.RBRACKET:
        cpu, at = scan.cpu_back(text, at, start)
        at = scan.skip_blanks_back(text, at, start)
        if at < start:
            return -1, 0, -1
    tid, before = scan.number_back(text, at, start)
    good = before < at <= before + 10
    if cpu < 0 and good:
        last = scan.skip_blanks_back(text, before, start)
        if start <= last < before and at - last <= max(4, at - before + 1) and scan.is_digit(load1(text, last)):
            cpu = tid if tid < MAX_CPUS else -1
            tid, before = scan.number_back(text, last, start)
            good = cpu >= 0 and before < last <= before + 10
    if before >= start and load1(text, before) == scan.DASH:  # -1: a task that is exiting
        tid, before = -tid, before - 1
    if good and before >= start and load1(text, before) == scan.SLASH:
        _, first = scan.number_back(text, before - 1, start)
        good, before = first < before - 1, first
        if before >= start and load1(text, before) == scan.DASH:
            before -= 1
    comm_end = scan.skip_blanks_back(text, before, start) + 1
    if good and before > start and load1(text, before) == scan.SPACE and comm_end > start:
        return cpu, tid, comm_end
    return -1, 0, -1


@compiled
def comm_at(text: int, at: int, end: int) -> int:
    """Where the comm begins: after blanks and, for samples of a guest, ``VM:%5d`` and ``VCPU:%03d``."""
    at = scan.skip_blanks(text, at, end)
    for mark, mask, length in ((_VM, _3_BYTES, 3), (_VCPU, _5_BYTES, 5)):
        if load8(text, at) & mask != mark:
            break
        after = scan.skip_blanks(text, at + length, end)
        while after < end and scan.is_digit(load1(text, after)):
            after += 1
        if after >= end or load1(text, after) != scan.SPACE:
            break
        at = scan.skip_blanks(text, after, end)
    return at


@compiled
def header(text: int, start: int, end: int) -> tuple[int, int, bool, int, int, int, int]:
    """Read a line's header.

    Returns:
        Offset after the colon of the time stamp (-1: no header), ns, whether they have a fraction, cpu (-1: none),
        thread id, and the bounds of the comm.
    """
    colon = start
    while True:
        colon = find_byte(text, scan.COLON, colon, end)
        if colon >= end:
            return -1, 0, False, 0, 0, 0, 0
        if colon > start and scan.is_digit(load1(text, colon - 1)) and load1(text, colon + 1) == scan.SPACE:
            ts, at, fraction = scan.time_back(text, colon - 1, start)
            if at >= start and load1(text, at) == scan.SPACE and fraction:
                at = scan.skip_blanks_back(text, at, start)
                if at >= start:
                    cpu, tid, comm_end = task_back(text, at, start)
                    if comm_end < 0:
                        before = fields_back(text, at, start)
                        if start <= before < at:
                            cpu, tid, comm_end = task_back(text, before, start)
                    if comm_end >= 0:
                        return colon + 1, ts, fraction, cpu, tid, comm_at(text, start, comm_end), comm_end
        colon += 1


@compiled
def event_at(text: int, at: int, end: int) -> int:
    """Where the event's name begins: after blanks and the period."""
    at = scan.skip_blanks(text, at, end)
    period_end = at
    while period_end < end and scan.is_digit(load1(text, period_end)):
        period_end += 1
    if period_end > at and load1(text, period_end) == scan.SPACE:
        at = scan.skip_blanks(text, period_end, end)
    return at


@compiled
def hides_an_event(text: int, at: int, end: int) -> bool:
    """Whether the line of a page event follows within the line of another event."""
    name = header(text, at, end)[0]
    return bool(name >= 0 and scan.event_kind(text, event_at(text, name, end), end)[0] != scan.NO_KIND)


@compiled
def scan_block(tables: scan.Scan, text: int, at: int, end: int, final: bool) -> int:
    """Read whole records from the block [at, end).

    Returns:
        Offset of the first byte not read: a record that may go on in the next block (unless `final`), or one that
        found a table full.
    """
    counts, notes = tables.counts, tables.notes
    while at < end and scan.has_room(tables):
        line_end = find_byte(text, scan.NEWLINE, at, end)
        if line_end >= end:
            break
        first = line_end + 1
        if line_end == at:
            counts[scan.LINES] += 1
            at = first
            continue
        stop, kernel_end, lines, user = chain_end(text, first, end, final)
        if stop >= end and not final:
            break
        counts[scan.LINES] += 1
        if load1(text, at) == scan.HASH:
            scan.take_note(notes, counts, scan.NOTE_COMMENT, at, line_end)
            at = first
        elif load1(text, at) == scan.TAB:
            scan.take_note(notes, counts, scan.NOTE_DAMAGED, at, line_end)
            counts[scan.LINES] += lines
            at = stop
        elif _read_sample(tables, text, at, line_end, kernel_end):
            counts[scan.LINES] += lines
            counts[scan.USER_FRAMES] += user
            at = stop
        else:
            if scan.skip_blanks(text, at, line_end) < line_end:
                scan.take_stray(notes, counts, at, line_end)
            at = first
    return at


@compiled
def _read_sample(tables: scan.Scan, text: int, at: int, line_end: int, kernel_end: int) -> bool:
    """Read the line of a sample whose kernel frames follow up to `kernel_end`; False: it has no header."""
    counts, notes = tables.counts, tables.notes
    name, ts, fraction, cpu, tid, comm, comm_end = header(text, at, line_end)
    if name < 0:
        return False
    name = event_at(text, name, line_end)
    if load8(text, name) == _PERF_RECORD:
        if ts > 0:  # what was there before the recording has no time
            scan.count_entry(counts, ts, fraction)
        scan.take_note(notes, counts, scan.NOTE_LOST, at, line_end)
        return True
    scan.count_entry(counts, ts, fraction)
    kind, fields = scan.event_kind(text, name, line_end)
    counts[scan.AFTER_OTHER] = kind == scan.NO_KIND
    if kind == KIND_BATCHED:
        counts[scan.BATCHED] += 1
        return True
    if kind == scan.NO_KIND and not hides_an_event(text, name, line_end):
        counts[scan.OTHER] += 1
        return True
    found = scan.read_fields(text, kind, fields, line_end)
    if kind == scan.NO_KIND or found[0] == scan.NO_KIND:
        scan.take_note(notes, counts, scan.NOTE_DAMAGED, at, line_end)
        return True
    stack, first = -1, line_end + 1
    if kernel_end > first:
        stack = intern(tables.stacks, tables.named, scan.STACKS, text, first, kernel_end)
    counts[scan.NO_CPU] += cpu < 0
    scan.add_row(tables, text, ts, max(cpu, 0), tid, comm, comm_end, found, stack)
    return True
