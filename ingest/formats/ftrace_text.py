"""ftrace text: ``trace``, ``trace_pipe`` and ``trace-cmd report``.

A line is ``comm-pid [(tgid)] [cpu] [flags] seconds: event: fields`` (kernel/trace/trace_output.c:trace_print_context).
The comm may hold anything, so a header is read backward from the colon after its time stamp. A stack is an entry of
its own: ``<stack trace>`` and then one `` => symbol`` line a frame; it belongs to the last event of the same CPU, task
and interrupt context, which other CPUs' lines may separate from it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.scan import (
    BATCHED,
    COLON,
    CONTEXTS,
    DASH,
    EQUALS,
    HASH,
    KIND_BATCHED,
    LESS,
    LINES,
    LOWER_H,
    LOWER_S,
    LOWER_Z,
    LPAREN,
    NEWLINE,
    NO_KIND,
    NOTE_COMMENT,
    NOTE_DAMAGED,
    NOTE_STRAY,
    ORPHANS,
    OTHER,
    OTHER_EVENT,
    RBRACKET,
    ROWS,
    RPAREN,
    SPACE,
    STACKS,
    USER_FRAMES,
    Scan,
    add_row,
    count_entry,
    cpu_back,
    event_kind,
    find_byte,
    has_room,
    intern,
    is_digit,
    load1,
    load8,
    number_back,
    read_fields,
    skip_blanks,
    skip_blanks_back,
    take_note,
    time_back,
    word,
)
from ingest.text import TextTrace
from ingest.trace import Context
from ptpool.compiled import compiled

_KERNEL_STACK = word("kernel_stack")
_STACK = word("<stack trace>")
_USER_STACK = word("<user stack trace>")


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


@compiled
def context_of(flag: int) -> int:
    """Interrupt context by the third flag character: 0 task, 1 softirq, 2 hardirq, 3 NMI.

    From kernel/trace/trace_output.c:trace_print_lat_fmt: ``Z`` ``z`` NMI, ``H`` ``h`` hardirq, ``s`` softirq, ``.``.
    """
    if flag == LOWER_S:
        return 1
    if flag in (LOWER_H, 72):
        return 2
    if flag in (LOWER_Z, 90):
        return 3
    return 0


@compiled
def is_frame(text: int, at: int) -> bool:
    """Whether a line is a frame of a stack: ``=>`` after at most one blank."""
    if load1(text, at) == SPACE:
        at += 1
    return bool(load1(text, at) == EQUALS and load1(text, at + 1) == 62)


@compiled
def header(text: int, start: int, end: int) -> tuple[int, int, bool, int, int, int, int, int]:
    """Read a line's header.

    Returns:
        Offset after the colon of the time stamp (-1: no header), ns, whether they have a fraction, cpu, interrupt
        context, pid, and the bounds of the comm.
    """
    colon = start
    while True:
        colon = find_byte(text, COLON, colon, end)
        if colon >= end:
            return -1, 0, False, 0, 0, 0, 0, 0
        if colon > start and is_digit(load1(text, colon - 1)) and load1(text, colon + 1) == SPACE:
            ts, at, fraction = time_back(text, colon - 1, start)
            if at >= start and load1(text, at) == SPACE:
                at = skip_blanks_back(text, at, start)
                context = 0
                if at >= start and load1(text, at) != RBRACKET:
                    last = at
                    while at >= start and load1(text, at) not in (SPACE, RBRACKET):
                        at -= 1
                    if last - at >= 4:
                        context = context_of(load1(text, at + 3))
                    at = skip_blanks_back(text, at, start)
                if at >= start and load1(text, at) == RBRACKET:
                    cpu, at = cpu_back(text, at, start)
                    at = skip_blanks_back(text, at, start)
                    if at >= start and load1(text, at) == RPAREN:
                        while at >= start and load1(text, at) != LPAREN:
                            at -= 1
                        at = skip_blanks_back(text, at - 1, start)
                    if at >= start:
                        pid, before = number_back(text, at, start)
                        if before < at <= before + 10 and before >= start and load1(text, before) == DASH:
                            comm = skip_blanks(text, start, before)
                            return colon + 1, ts, fraction, cpu, context, pid, comm, before
        colon += 1


@compiled
def scan_block(scan: Scan, text: int, at: int, end: int, final: bool) -> int:
    """Read whole records from the block [at, end).

    Returns:
        Offset of the first byte not read: a record that may go on in the next block (unless `final`), or one that
        found a table full.
    """
    rows, comms, gfps, stacks, named, waiting, counts, notes = scan
    while at < end and has_room(rows, comms, gfps, stacks, named, notes, counts):
        line_end = find_byte(text, NEWLINE, at, end)
        if line_end >= end:
            break
        counts[LINES] += 1
        if load1(text, at) == HASH:
            take_note(notes, counts, NOTE_COMMENT, at, line_end)
            at = line_end + 1
            continue
        if is_frame(text, at):
            take_note(notes, counts, NOTE_DAMAGED, at, line_end)
            at = line_end + 1
            continue
        name, ts, fraction, cpu, context, pid, comm, comm_end = header(text, at, line_end)
        if name < 0:
            if skip_blanks(text, at, line_end) < line_end:
                take_note(notes, counts, NOTE_STRAY, at, line_end)
            at = line_end + 1
            continue
        name = skip_blanks(text, name, line_end)
        if load1(text, name) == LESS or load8(text, name) == _KERNEL_STACK:
            what = find_byte(text, LESS, name, line_end)
            first = line_end + 1
            stop = first
            frames = 0
            while stop < end and is_frame(text, stop):
                stop = find_byte(text, NEWLINE, stop, end) + 1
                frames += 1
            if not final and (stop >= end or find_byte(text, NEWLINE, stop, end) >= end):  # more may follow
                counts[LINES] -= 1
                break
            stop = min(stop, end)
            counts[LINES] += frames
            count_entry(counts, ts, fraction)
            if load8(text, what) == _USER_STACK:
                counts[USER_FRAMES] += frames
            elif load8(text, what) == _STACK:
                row = waiting[cpu, context]
                if row >= 0 and rows[row].pid == pid:
                    rows[row].stack = intern(stacks, named, STACKS, text, first, stop)
                    waiting[cpu, context] = OTHER_EVENT
                elif row != OTHER_EVENT:
                    counts[ORPHANS] += 1
            at = stop
            continue
        kind, fields = event_kind(text, name, line_end)
        if kind in (NO_KIND, KIND_BATCHED):
            counts[OTHER if kind == NO_KIND else BATCHED] += 1
            _await_stack(waiting, cpu, context, OTHER_EVENT)
            count_entry(counts, ts, fraction)
            at = line_end + 1
            continue
        found = read_fields(text, kind, fields, line_end)
        if found[0] == NO_KIND:
            take_note(notes, counts, NOTE_DAMAGED, at, line_end)
        else:
            _await_stack(waiting, cpu, context, counts[ROWS])
            add_row(scan, text, ts, cpu, pid, comm, comm_end, found, -1)
        count_entry(counts, ts, fraction)
        at = line_end + 1
    return at


@compiled
def _await_stack(waiting: Any, cpu: int, context: int, row: int) -> None:
    """A stack of this CPU and context now belongs to `row`; what had interrupted it is over."""
    waiting[cpu, context] = row
    for deeper in range(context + 1, CONTEXTS):
        waiting[cpu, deeper] = OTHER_EVENT
