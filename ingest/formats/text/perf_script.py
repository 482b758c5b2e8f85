"""``perf script`` text.

A line is ``comm pid[/tid] [[cpu]] seconds: [period] event: fields`` (tools/perf/builtin-script.c:process_event and
perf_sample__fprintf_start); ``-F`` selects the fields. The frames of its call chain follow, innermost first, each after
a tab, up to an empty line; user-space frames come last and are skipped.
"""

from collections.abc import Sequence
from pathlib import Path

from ingest.formats.text.reader import TextTrace
from ingest.formats.text.scan import (
    BATCHED,
    COLON,
    DASH,
    HASH,
    LINES,
    LOWER_A,
    LOWER_F,
    NEWLINE,
    NO_CPU,
    NO_KIND,
    NOTE_COMMENT,
    NOTE_DAMAGED,
    NOTE_LOST,
    NOTE_STRAY,
    OTHER,
    RBRACKET,
    SLASH,
    SPACE,
    STACKS,
    TAB,
    USER_FRAMES,
    Scan,
    add_row,
    count_entry,
    cpu_back,
    event_kind,
    has_room,
    is_digit,
    number_back,
    read_fields,
    skip_blanks,
    skip_blanks_back,
    take_note,
    time_back,
    word,
)
from ingest.spans import find_byte, intern, load1, load8
from ingest.trace import KIND_BATCHED, Context
from ptpool.compiled import compiled

_PERF_RECORD = word("PERF_REC")


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


@compiled
def is_user_frame(text: int, at: int, end: int) -> bool:
    """Whether a frame line shows an address with the top bit clear; a line without an address counts as kernel.

    Addresses are printed ``%16lx`` (tools/perf/util/evsel_fprintf.c:sample__fprintf_callchain).
    """
    first = skip_blanks(text, at + 1, end)
    after = first
    while after < end and (is_digit(load1(text, after)) or LOWER_A <= load1(text, after) <= LOWER_F):
        after += 1
    if after != at + 17 or (after < end and load1(text, after) != SPACE):
        return False
    return bool(after - first < 16 or load1(text, first) < 56)  # 16 digits, the first 8 or more: a kernel address


@compiled
def header(text: int, start: int, end: int) -> tuple[int, int, bool, int, int, int, int]:
    """Read a line's header.

    Returns:
        Offset after the colon of the time stamp (-1: no header), ns, whether they have a fraction, cpu (-1: none),
        thread id, and the bounds of the comm.
    """
    colon = start
    while True:
        colon = find_byte(text, COLON, colon, end)
        if colon >= end:
            return -1, 0, False, 0, 0, 0, 0
        if colon > start and is_digit(load1(text, colon - 1)) and load1(text, colon + 1) == SPACE:
            ts, at, fraction = time_back(text, colon - 1, start)
            if at >= start and load1(text, at) == SPACE and fraction:
                at = skip_blanks_back(text, at, start)
                cpu = -1
                if at >= start and load1(text, at) == RBRACKET:
                    cpu, at = cpu_back(text, at, start)
                    at = skip_blanks_back(text, at, start)
                if at >= start:
                    tid, before = number_back(text, at, start)
                    good = before < at <= before + 10
                    if before >= start and load1(text, before) == DASH:  # -1: a task that is exiting
                        tid, before = -tid, before - 1
                    if good and before >= start and load1(text, before) == SLASH:
                        _, first = number_back(text, before - 1, start)
                        good, before = first < before - 1, first
                        if before >= start and load1(text, before) == DASH:
                            before -= 1
                    comm_end = skip_blanks_back(text, before, start) + 1
                    if good and before > start and load1(text, before) == SPACE and comm_end > start:
                        return colon + 1, ts, fraction, cpu, tid, skip_blanks(text, start, comm_end), comm_end
        colon += 1


@compiled
def scan_block(scan: Scan, text: int, at: int, end: int, final: bool) -> int:
    """Read whole records from the block [at, end).

    Returns:
        Offset of the first byte not read: a record that may go on in the next block (unless `final`), or one that
        found a table full.
    """
    rows, comms, gfps, stacks, named, _, counts, notes = scan
    while at < end and has_room(rows, comms, gfps, stacks, named, notes, counts):
        line_end = find_byte(text, NEWLINE, at, end)
        if line_end >= end:
            break
        first = line_end + 1
        if line_end == at:
            counts[LINES] += 1
            at = first
            continue
        kernel_end, stop, frames, user = first, first, 0, 0
        while stop < end and load1(text, stop) == TAB:  # the call chain
            frame_end = find_byte(text, NEWLINE, stop, end)
            frames += 1
            if user == 0 and not is_user_frame(text, stop, frame_end):
                kernel_end = frame_end + 1
            else:
                user += 1
            stop = frame_end + 1
        if stop >= end and not final:
            break
        counts[LINES] += 1
        if load1(text, at) == HASH:
            take_note(notes, counts, NOTE_COMMENT, at, line_end)
            at = first
            continue
        if load1(text, at) == TAB:
            take_note(notes, counts, NOTE_DAMAGED, at, line_end)
            at = first
            continue
        name, ts, fraction, cpu, tid, comm, comm_end = header(text, at, line_end)
        if name < 0:
            if skip_blanks(text, at, line_end) < line_end:
                take_note(notes, counts, NOTE_STRAY, at, line_end)
            at = first
            continue
        count_entry(counts, ts, fraction)
        name = skip_blanks(text, name, line_end)
        period_end = name
        while period_end < line_end and is_digit(load1(text, period_end)):
            period_end += 1
        if period_end > name and load1(text, period_end) == SPACE:
            name = skip_blanks(text, period_end, line_end)
        kind, fields = event_kind(text, name, line_end)
        if kind in (NO_KIND, KIND_BATCHED):
            if kind == KIND_BATCHED:
                counts[BATCHED] += 1
            elif load8(text, name) == _PERF_RECORD:
                take_note(notes, counts, NOTE_LOST, at, line_end)
            else:
                counts[OTHER] += 1
            counts[LINES] += frames
            counts[USER_FRAMES] += user
            at = stop
            continue
        found = read_fields(text, kind, fields, line_end)
        if found[0] == NO_KIND:
            take_note(notes, counts, NOTE_DAMAGED, at, line_end)
        else:
            stack = -1
            if kernel_end > first:
                stack = intern(stacks, named, STACKS, text, first, kernel_end)
            if cpu < 0:
                counts[NO_CPU] += 1
            add_row(scan, text, ts, max(cpu, 0), tid, comm, comm_end, found, stack)
        counts[LINES] += frames
        counts[USER_FRAMES] += user
        at = stop
    return at
