"""ftrace text: ``trace``, ``trace_pipe`` and ``trace-cmd report``, also in latency format.

A line is ``comm-pid [(tgid)] [cpu] [flags] seconds: event: fields`` (kernel/trace/trace_output.c:trace_print_context).
The comm may hold anything, so a header is read backward from the colon after its time stamp. A stack is an entry of
its own: ``<stack trace>`` and then one `` => symbol`` line per frame; it belongs to the last event of the same CPU,
task and interrupt context. Lines of other CPUs may come between the two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.formats.text.reader import TextTrace
from ingest.formats.text.scan import (
    BATCHED,
    COLON,
    DASH,
    EQUALS,
    HASH,
    LBRACKET,
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
    RBRACKET,
    ROWS,
    RPAREN,
    SPACE,
    STACKS,
    TAB,
    USER_FRAMES,
    ZERO,
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
from ingest.trace import CONTEXTS, KIND_BATCHED, MAX_CPUS, OTHER_EVENT, Context
from ptpool.compiled import compiled

TASK_COMM_LEN = 16  # names are printed %16s; trace-cmd report puts the instance before them: "NAME: "
_KERNEL_STACK = word("kernel_stack")
_STACK = word("<stack trace>")
_USER_STACK = word("<user stack trace>")
_USER_STACK_OF_TRACE_CMD = word("user_stack")


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
    """Whether a line is a frame of a stack: ``=>`` after at most one blank or tab."""
    if load1(text, at) in (SPACE, TAB):
        at += 1
    return bool(load1(text, at) == EQUALS and load1(text, at + 1) == 62)


@compiled
def stamp_back(text: int, at: int, start: int) -> tuple[int, int, bool]:
    """The time stamp before the colon at `at` + 1: ns, the offset before it (-1: none), and whether it has a fraction.

    The latency format counts microseconds from the start of the buffer, with a mark after long gaps: ``12345us+``
    (kernel/trace/trace_output.c:lat_print_timestamp).
    """
    if is_digit(load1(text, at)):
        ts, before, fraction = time_back(text, at, start)
        return ts, before, fraction
    if at - 3 >= start and load1(text, at - 1) == LOWER_S and load1(text, at - 2) == 117:  # u
        us, before = number_back(text, at - 3, start)
        if 0 < at - 3 - before <= 15:
            return us * 1000, before, True
    return 0, -1, False


@compiled
def place_back(text: int, at: int, start: int) -> tuple[int, int, int]:
    """CPU, interrupt context, and the offset of the last byte before them (-1: they are not there).

    ``[cpu]``, ``[cpu] flags``, or in the latency format both as one: ``0d..2.``.
    """
    context = 0
    if load1(text, at) != RBRACKET:
        last = at
        while at >= start and load1(text, at) not in (SPACE, RBRACKET):
            at -= 1
        first = at + 1
        cpu = 0
        while first <= last and first - at <= 5 and is_digit(load1(text, first)):
            cpu = cpu * 10 + load1(text, first) - ZERO
            first += 1
        if last - first >= 3:
            context = context_of(load1(text, first + 2))
        at = skip_blanks_back(text, at, start)
        if at >= start and is_digit(load1(text, at)) and first <= last and is_digit(load1(text, first - 1)):
            return (cpu, context, at) if cpu < MAX_CPUS else (0, 0, -1)
    if at < start or load1(text, at) != RBRACKET:
        return 0, 0, -1
    cpu, at = cpu_back(text, at, start)
    return cpu, context, skip_blanks_back(text, at, start)


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
        if colon > start and load1(text, colon + 1) == SPACE:
            ts, at, fraction = stamp_back(text, colon - 1, start)
            if at >= start and load1(text, at) == SPACE:
                cpu, context, at = place_back(text, skip_blanks_back(text, at, start), start)
                if at >= start and load1(text, at) == RPAREN:
                    while at >= start and load1(text, at) != LPAREN:
                        at -= 1
                    at = skip_blanks_back(text, at - 1, start)
                if at >= start:
                    pid, before = number_back(text, at, start)
                    if before < at <= before + 10 and before >= start and load1(text, before) == DASH:
                        comm = skip_blanks(text, max(start, before - TASK_COMM_LEN), before)
                        return colon + 1, ts, fraction, cpu, context, pid, comm, before
        colon += 1


@compiled
def event_at(text: int, at: int, end: int) -> int:
    """Where the event's name begins: after blanks and, with ``trace-cmd report --ts-diff``, ``(+n)``."""
    at = skip_blanks(text, at, end)
    if load1(text, at) == LPAREN and load1(text, at + 1) == 43:  # +
        at = skip_blanks(text, min(find_byte(text, RPAREN, at, end) + 1, end), end)
    return at


NOT_A_STACK, KERNEL_STACK, USER_STACK = range(3)


@compiled
def stack_at(text: int, name: int, end: int) -> tuple[int, int]:
    """Which kind of stack an entry is, and where its frames begin: in its line, or (`end` + 1) in the next.

    tracefs prints ``<stack trace>``; trace-cmd ``kernel_stack:`` and then that, the first frame, or with ``-R`` the
    addresses as an array of bytes.
    """
    first = load8(text, name)
    if load1(text, name) == LESS:
        if first == _STACK:
            return KERNEL_STACK, end + 1
        return (USER_STACK, end + 1) if first == _USER_STACK else (NOT_A_STACK, end + 1)
    if first not in (_KERNEL_STACK, _USER_STACK_OF_TRACE_CMD):
        return NOT_A_STACK, end
    kind = KERNEL_STACK if first == _KERNEL_STACK else USER_STACK
    at = name + 8
    while at < end and load1(text, at) not in (TAB, LBRACKET):
        at += 1
    if at < end and (load1(text, at) == LBRACKET or is_frame(text, at)):
        return kind, at
    return kind, end + 1


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
        name = event_at(text, name, line_end)
        stack, frames_at = stack_at(text, name, line_end)
        if stack != NOT_A_STACK or frames_at > line_end:
            stop = line_end + 1
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
            if stack == USER_STACK:
                counts[USER_FRAMES] += frames
            elif stack == KERNEL_STACK:
                row = waiting[cpu, context]
                if row >= 0 and rows[row].pid == pid:
                    rows[row].stack = intern(stacks, named, STACKS, text, frames_at, stop)
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
    """A stack of this CPU and context now belongs to `row`; the contexts that interrupted it are over."""
    waiting[cpu, context] = row
    for deeper in range(context + 1, CONTEXTS):
        waiting[cpu, deeper] = OTHER_EVENT
