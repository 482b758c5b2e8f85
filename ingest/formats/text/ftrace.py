"""ftrace text: ``trace``, ``trace_pipe`` and ``trace-cmd report``, also in latency format.

A line is ``comm-pid [(tgid)] [cpu] [flags] seconds: event: fields`` (kernel/trace/trace_output.c:trace_print_context).
The comm may hold anything, so a header is read backward from the colon after its time stamp. A stack is an entry of
its own: ``<stack trace>`` and then one `` => symbol`` line per frame; it belongs to the last event of the same CPU,
task and interrupt context. Lines of other CPUs may come between the two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.formats.text import scan
from ingest.formats.text.reader import TextTrace
from ingest.spans import find_byte, intern, load1, load8
from ingest.trace import CONTEXTS, KIND_BATCHED, MAX_CPUS, OTHER_EVENT, Context
from ptpool.compiled import compiled

_LONG_FRAME = 72  # bytes: only a frame that is longer can hold the line of an event
TASK_COMM_LEN = 16  # names are printed %16s; trace-cmd report puts the instance before them: "NAME: "
_KERNEL_STACK = scan.word("kernel_stack")
_STACK = scan.word("<stack trace>")
_USER_STACK = scan.word("<user stack trace>")
_USER_STACK_OF_TRACE_CMD = scan.word("user_stack")


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


@compiled
def context_of(flag: int) -> int:
    """Interrupt context by the third flag character: 0 task, 1 softirq, 2 hardirq, 3 NMI.

    From kernel/trace/trace_output.c:trace_print_lat_fmt: ``Z`` ``z`` NMI, ``H`` ``h`` hardirq, ``s`` softirq, ``.``.
    """
    if flag == scan.LOWER_S:
        return 1
    if flag in (scan.LOWER_H, 72):
        return 2
    if flag in (scan.LOWER_Z, 90):
        return 3
    return 0


@compiled
def is_frame(text: int, at: int) -> bool:
    """Whether a line is a frame of a stack: ``=>`` after at most one blank or tab."""
    if load1(text, at) in (scan.SPACE, scan.TAB):
        at += 1
    return bool(load1(text, at) == scan.EQUALS and load1(text, at + 1) == 62)


@compiled
def frames_end(text: int, at: int, end: int, final: bool) -> tuple[int, int]:
    """Where the frames that begin at `at` end (-1: they may go on in the next block), and how many they are.

    A line that goes on with an event is no frame.
    """
    frames = 0
    while at < end and is_frame(text, at):
        line_end = find_byte(text, scan.NEWLINE, at, end)
        if line_end - at > _LONG_FRAME and scan.has_pfn(text, at, line_end):
            break
        at = line_end + 1
        frames += 1
    if not final and (at >= end or find_byte(text, scan.NEWLINE, at, end) >= end):
        return -1, frames
    return min(at, end), frames


@compiled
def stamp_back(text: int, at: int, start: int) -> tuple[int, int, bool]:
    """The time stamp before the colon at `at` + 1: ns, the offset before it (-1: none), and whether it has a fraction.

    The latency format counts microseconds from the start of the buffer, with a mark after long gaps: ``12345us+``
    (kernel/trace/trace_output.c:lat_print_timestamp).
    """
    if scan.is_digit(load1(text, at)):
        ts, before, fraction = scan.time_back(text, at, start)
        return ts, before, fraction
    if at - 3 >= start and load1(text, at - 1) == scan.LOWER_S and load1(text, at - 2) == 117:  # u
        us, before = scan.number_back(text, at - 3, start)
        if 0 < at - 3 - before <= 15:
            return us * 1000, before, True
    return 0, -1, False


@compiled
def place_back(text: int, at: int, start: int) -> tuple[int, int, int]:
    """CPU, interrupt context, and the offset of the last byte before them (-1: they are not there).

    ``[cpu]``, ``[cpu] flags``, or in the latency format both as one: ``0d..2.``.
    """
    context = 0
    if load1(text, at) != scan.RBRACKET:
        last = at
        while at >= start and load1(text, at) not in (scan.SPACE, scan.RBRACKET):
            at -= 1
        first = at + 1
        cpu = 0
        while first <= last and first - at <= 5 and scan.is_digit(load1(text, first)):
            cpu = cpu * 10 + load1(text, first) - scan.ZERO
            first += 1
        if last - first >= 3:
            context = context_of(load1(text, first + 2))
        at = scan.skip_blanks_back(text, at, start)
        if at >= start and scan.is_digit(load1(text, at)) and first <= last and scan.is_digit(load1(text, first - 1)):
            return (cpu, context, at) if cpu < MAX_CPUS else (0, 0, -1)
    if at < start or load1(text, at) != scan.RBRACKET:
        return 0, 0, -1
    cpu, at = scan.cpu_back(text, at, start)
    return cpu, context, scan.skip_blanks_back(text, at, start)


@compiled
def header(text: int, start: int, end: int) -> tuple[int, int, bool, int, int, int, int, int]:
    """Read a line's header.

    Returns:
        Offset after the colon of the time stamp (-1: no header), ns, whether they have a fraction, cpu, interrupt
        context, pid, and the bounds of the comm.
    """
    colon = start
    while True:
        colon = find_byte(text, scan.COLON, colon, end)
        if colon >= end:
            return -1, 0, False, 0, 0, 0, 0, 0
        if colon > start and load1(text, colon + 1) == scan.SPACE:
            ts, at, fraction = stamp_back(text, colon - 1, start)
            if at >= start and load1(text, at) == scan.SPACE:
                cpu, context, at = place_back(text, scan.skip_blanks_back(text, at, start), start)
                if at >= start and load1(text, at) == scan.RPAREN:
                    while at >= start and load1(text, at) != scan.LPAREN:
                        at -= 1
                    at = scan.skip_blanks_back(text, at - 1, start)
                if at >= start:
                    pid, before = scan.number_back(text, at, start)
                    if before < at <= before + 10 and before >= start and load1(text, before) == scan.DASH:
                        comm = scan.skip_blanks(text, max(start, before - TASK_COMM_LEN), before)
                        return colon + 1, ts, fraction, cpu, context, pid, comm, before
        colon += 1


@compiled
def event_at(text: int, at: int, end: int) -> int:
    """Where the event's name begins: after blanks and, with ``trace-cmd report --ts-diff``, ``(+n)``."""
    at = scan.skip_blanks(text, at, end)
    if load1(text, at) == scan.LPAREN and load1(text, at + 1) == 43:  # +
        at = scan.skip_blanks(text, min(find_byte(text, scan.RPAREN, at, end) + 1, end), end)
    return at


@compiled
def hides_an_event(text: int, at: int, end: int) -> bool:
    """Whether the line of a page event follows within the line of another event."""
    name = header(text, at, end)[0]
    return bool(name >= 0 and scan.event_kind(text, event_at(text, name, end), end)[0] != scan.NO_KIND)


NOT_A_STACK, KERNEL_STACK, USER_STACK = range(3)


@compiled
def stack_at(text: int, name: int, end: int) -> tuple[int, int]:
    """Which kind of stack an entry is, and where its frames begin: in its line, or (`end` + 1) in the next.

    tracefs prints ``<stack trace>``; trace-cmd ``kernel_stack:`` and then that, the first frame, or with ``-R`` the
    addresses as an array of bytes.
    """
    first = load8(text, name)
    if load1(text, name) == scan.LESS:
        if first == _STACK:
            return KERNEL_STACK, end + 1
        return (USER_STACK, end + 1) if first == _USER_STACK else (NOT_A_STACK, end + 1)
    if first not in (_KERNEL_STACK, _USER_STACK_OF_TRACE_CMD):
        return NOT_A_STACK, end
    kind = KERNEL_STACK if first == _KERNEL_STACK else USER_STACK
    at = name + 8
    while at < end and load1(text, at) not in (scan.TAB, scan.LBRACKET):
        at += 1
    if at < end and (load1(text, at) == scan.LBRACKET or is_frame(text, at)):
        return kind, at
    return kind, end + 1


@compiled
def scan_block(tables: scan.Scan, text: int, at: int, end: int, final: bool) -> int:
    """Read whole records from the block [at, end).

    Returns:
        Offset of the first byte not read: a record that may go on in the next block (unless `final`), or one that
        found a table full.
    """
    rows, _, _, stacks, named, waiting, counts, notes = tables
    while at < end and scan.has_room(tables):
        line_end = find_byte(text, scan.NEWLINE, at, end)
        if line_end >= end:
            break
        counts[scan.LINES] += 1
        if load1(text, at) == scan.HASH or is_frame(text, at):
            what = scan.NOTE_COMMENT if load1(text, at) == scan.HASH else scan.NOTE_DAMAGED
            scan.take_note(notes, counts, what, at, line_end)
            at = line_end + 1
            continue
        name, ts, fraction, cpu, context, pid, comm, comm_end = header(text, at, line_end)
        if name < 0:
            if scan.skip_blanks(text, at, line_end) < line_end:
                scan.take_stray(notes, counts, at, line_end)
            at = line_end + 1
            continue
        name = event_at(text, name, line_end)
        stack, frames_at = stack_at(text, name, line_end)
        if stack != NOT_A_STACK or frames_at > line_end:
            stop, frames = frames_end(text, line_end + 1, end, final)
            if stop < 0:
                counts[scan.LINES] -= 1
                break
            counts[scan.LINES] += frames
            counts[scan.AFTER_OTHER] = 0
            scan.count_entry(counts, ts, fraction)
            if stack == USER_STACK:
                counts[scan.USER_FRAMES] += frames
            elif stack == KERNEL_STACK:
                row = waiting[cpu, context]
                if row >= 0 and rows[row].pid == pid:
                    rows[row].stack = intern(stacks, named, scan.STACKS, text, frames_at, stop)
                    waiting[cpu, context] = OTHER_EVENT
                elif row != OTHER_EVENT:
                    counts[scan.ORPHANS] += 1
            at = stop
            continue
        kind, fields = scan.event_kind(text, name, line_end)
        other = kind == scan.NO_KIND
        counts[scan.AFTER_OTHER] = other
        if (other and not hides_an_event(text, name, line_end)) or kind == KIND_BATCHED:
            counts[scan.OTHER if kind == scan.NO_KIND else scan.BATCHED] += 1
            _await_stack(waiting, cpu, context, OTHER_EVENT)
            scan.count_entry(counts, ts, fraction)
            at = line_end + 1
            continue
        found = scan.read_fields(text, kind, fields, line_end)
        if other or found[0] == scan.NO_KIND:
            scan.take_note(notes, counts, scan.NOTE_DAMAGED, at, line_end)
        else:
            _await_stack(waiting, cpu, context, counts[scan.ROWS])
            scan.add_row(tables, text, ts, cpu, pid, comm, comm_end, found, -1)
        scan.count_entry(counts, ts, fraction)
        at = line_end + 1
    return at


@compiled
def _await_stack(waiting: Any, cpu: int, context: int, row: int) -> None:
    """A stack of this CPU and context now belongs to `row`; the contexts that interrupted it are over."""
    waiting[cpu, context] = row
    for deeper in range(context + 1, CONTEXTS):
        waiting[cpu, deeper] = OTHER_EVENT
