"""``perf script`` text.

A line is ``comm pid[/tid] [[cpu]] seconds: [period] event: fields`` (tools/perf/builtin-script.c:process_event and
perf_sample__fprintf_start); ``-F`` selects the fields. The frames of its call chain follow, innermost first, each after
a tab, up to an empty line; user-space frames come last and are skipped.
"""

from collections.abc import Sequence
from pathlib import Path

from ingest.formats.text import scan
from ingest.formats.text.reader import TextTrace
from ingest.spans import find_byte, intern, load1, load8
from ingest.trace import KIND_BATCHED, Context
from ptpool.compiled import compiled

_PERF_RECORD = scan.word("PERF_REC")
_KERNEL, _GUEST = scan.word("([kernel"), scan.word("([guest.")


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


@compiled
def is_user_frame(text: int, at: int, end: int) -> bool:
    """Whether a frame line shows an address with the top bit clear; a line without an address counts as kernel.

    So does one that names the kernel as its object, as on s390x, where the kernel has an address space of its own, and
    on 32-bit machines. Addresses are printed ``%16lx`` (tools/perf/util/evsel_fprintf.c:sample__fprintf_callchain).
    """
    first = scan.skip_blanks(text, at + 1, end)
    after = first
    while after < end and (scan.is_digit(load1(text, after)) or scan.LOWER_A <= load1(text, after) <= scan.LOWER_F):
        after += 1
    if after != at + 17 or (after < end and load1(text, after) != scan.SPACE):
        return False
    if after - first == 16 and load1(text, first) >= 56:  # 16 digits, the first 8 or more: a kernel address
        return False
    place = end - 1
    while place > after and load1(text, place) != scan.LPAREN:
        place -= 1
    return bool(load8(text, place) != _KERNEL and load8(text, place) != _GUEST)


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
                cpu = -1
                if at >= start and load1(text, at) == scan.RBRACKET:
                    cpu, at = scan.cpu_back(text, at, start)
                    at = scan.skip_blanks_back(text, at, start)
                if at >= start:
                    tid, before = scan.number_back(text, at, start)
                    good = before < at <= before + 10
                    if before >= start and load1(text, before) == scan.DASH:  # -1: a task that is exiting
                        tid, before = -tid, before - 1
                    if good and before >= start and load1(text, before) == scan.SLASH:
                        _, first = scan.number_back(text, before - 1, start)
                        good, before = first < before - 1, first
                        if before >= start and load1(text, before) == scan.DASH:
                            before -= 1
                    comm_end = scan.skip_blanks_back(text, before, start) + 1
                    if good and before > start and load1(text, before) == scan.SPACE and comm_end > start:
                        return colon + 1, ts, fraction, cpu, tid, scan.skip_blanks(text, start, comm_end), comm_end
        colon += 1


@compiled
def scan_block(tables: scan.Scan, text: int, at: int, end: int, final: bool) -> int:
    """Read whole records from the block [at, end).

    Returns:
        Offset of the first byte not read: a record that may go on in the next block (unless `final`), or one that
        found a table full.
    """
    stacks, named, counts, notes = tables.stacks, tables.named, tables.counts, tables.notes
    while at < end and scan.has_room(tables):
        line_end = find_byte(text, scan.NEWLINE, at, end)
        if line_end >= end:
            break
        first = line_end + 1
        if line_end == at:
            counts[scan.LINES] += 1
            at = first
            continue
        kernel_end, stop, frames, user = first, first, 0, 0
        while stop < end and load1(text, stop) == scan.TAB:  # the call chain
            frame_end = find_byte(text, scan.NEWLINE, stop, end)
            frames += 1
            if user == 0 and not is_user_frame(text, stop, frame_end):
                kernel_end = frame_end + 1
            else:
                user += 1
            stop = frame_end + 1
        if stop >= end and not final:
            break
        counts[scan.LINES] += 1
        if load1(text, at) in (scan.HASH, scan.TAB):
            what = scan.NOTE_COMMENT if load1(text, at) == scan.HASH else scan.NOTE_DAMAGED
            scan.take_note(notes, counts, what, at, line_end)
            at = first
            continue
        name, ts, fraction, cpu, tid, comm, comm_end = header(text, at, line_end)
        if name < 0:
            if scan.skip_blanks(text, at, line_end) < line_end:
                scan.take_note(notes, counts, scan.NOTE_STRAY, at, line_end)
            at = first
            continue
        scan.count_entry(counts, ts, fraction)
        name = scan.skip_blanks(text, name, line_end)
        period_end = name
        while period_end < line_end and scan.is_digit(load1(text, period_end)):
            period_end += 1
        if period_end > name and load1(text, period_end) == scan.SPACE:
            name = scan.skip_blanks(text, period_end, line_end)
        kind, fields = scan.event_kind(text, name, line_end)
        if kind in (scan.NO_KIND, KIND_BATCHED):
            if kind == KIND_BATCHED:
                counts[scan.BATCHED] += 1
            elif load8(text, name) == _PERF_RECORD:
                scan.take_note(notes, counts, scan.NOTE_LOST, at, line_end)
            else:
                counts[scan.OTHER] += 1
            counts[scan.LINES] += frames
            counts[scan.USER_FRAMES] += user
            at = stop
            continue
        found = scan.read_fields(text, kind, fields, line_end)
        if found[0] == scan.NO_KIND:
            scan.take_note(notes, counts, scan.NOTE_DAMAGED, at, line_end)
        else:
            stack = intern(stacks, named, scan.STACKS, text, first, kernel_end) if kernel_end > first else -1
            counts[scan.NO_CPU] += cpu < 0
            scan.add_row(tables, text, ts, max(cpu, 0), tid, comm, comm_end, found, stack)
        counts[scan.LINES] += frames
        counts[scan.USER_FRAMES] += user
        at = stop
    return at
