"""ftrace text of the function_graph tracer, where events are comments: ``/* mm_page_alloc: page=… */``.

The text before a comment depends on the tracer's options (kernel/trace/trace_functions_graph.c:
print_graph_prologue): ``seconds |`` with funcgraph-abstime, ``cpu)`` with funcgraph-cpu, ``comm-pid |`` with
funcgraph-proc. Without the first, an event's time is its place in the file, one microsecond per entry; such events,
and events of an unknown task, are counted.
"""

from collections.abc import Sequence
from pathlib import Path

from ingest.formats.text.ftrace import is_frame
from ingest.formats.text.reader import TextTrace
from ingest.formats.text.scan import (
    BATCHED,
    DASH,
    ENTRIES,
    EQUALS,
    HASH,
    LESS,
    LINES,
    NEWLINE,
    NO_CPU,
    NO_KIND,
    NO_TASK,
    NO_TIME,
    NOTE_COMMENT,
    NOTE_DAMAGED,
    NOTE_STRAY,
    ORPHANS,
    OTHER,
    ROWS,
    RPAREN,
    SLASH,
    SPACE,
    STACKS,
    Scan,
    add_row,
    count_entry,
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
from ingest.trace import KIND_BATCHED, MAX_CPUS, OTHER_EVENT, Context
from ptpool.compiled import compiled

_BAR, _STAR = b"|*"
_STACK = word("<stack trace>")


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


@compiled
def comment_at(text: int, at: int, end: int) -> int:
    """Where a comment's text begins; `end`: there is none."""
    while at < end:
        at = find_byte(text, SLASH, at, end)
        if at + 3 < end and load1(text, at + 1) == _STAR and load1(text, at + 2) == SPACE:
            return at + 3
        at += 1
    return end


@compiled
def prologue(text: int, start: int, end: int) -> tuple[int, int, int, int, int]:
    """The fields before a comment: ns, cpu and pid (-1: not there), and the bounds of the comm."""
    ts, cpu, pid, comm, comm_end = -1, -1, -1, start, start
    at = start
    while at < end:
        bar = find_byte(text, _BAR, at, end)
        last = skip_blanks_back(text, bar - 1, at)
        paren = find_byte(text, RPAREN, at, bar)
        if paren < bar and paren > at and is_digit(load1(text, paren - 1)):
            found, before = number_back(text, paren - 1, at)
            if before < skip_blanks(text, at, paren) and found < MAX_CPUS:
                cpu = found
                at = paren + 1
        if last >= at and is_digit(load1(text, last)):
            stamp, before, fraction = time_back(text, last, at)
            if fraction and before < skip_blanks(text, at, bar):
                ts = stamp
            elif not fraction:
                found, before = number_back(text, last, at)
                if before > at and load1(text, before) == DASH and last - before <= 10:
                    pid, comm, comm_end = found, skip_blanks(text, at, before), before
        at = bar + 1
    return ts, cpu, pid, comm, comm_end


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
        event = comment_at(text, at, line_end)
        if load1(text, at) == HASH or is_frame(text, at):
            what = NOTE_COMMENT if load1(text, at) == HASH else NOTE_DAMAGED
            take_note(notes, counts, what, at, line_end)
        elif event >= line_end:
            _pass_over(scan, text, at, line_end)
        elif load1(text, event) == LESS:
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
            _, cpu, _, _, _ = prologue(text, at, event)
            cpu = max(cpu, 0)
            if load8(text, event) == _STACK:
                if waiting[cpu, 0] >= 0:
                    rows[waiting[cpu, 0]].stack = intern(stacks, named, STACKS, text, line_end + 1, stop)
                    waiting[cpu, 0] = OTHER_EVENT
                elif waiting[cpu, 0] != OTHER_EVENT:
                    counts[ORPHANS] += 1
            line_end = stop - 1
        else:
            _read_event(scan, text, at, event, line_end)
        at = line_end + 1
    return at


@compiled
def _read_event(scan: Scan, text: int, at: int, event: int, line_end: int) -> None:
    rows, _, _, _, _, waiting, counts, notes = scan
    end = line_end
    if load1(text, end - 1) == SLASH and load1(text, end - 2) == _STAR:
        end = skip_blanks_back(text, end - 3, event) + 1
    ts, cpu, pid, comm, comm_end = prologue(text, at, event)
    kind, fields = event_kind(text, event, end)
    if kind in (NO_KIND, KIND_BATCHED):
        counts[OTHER if kind == NO_KIND else BATCHED] += 1
        waiting[max(cpu, 0), 0] = OTHER_EVENT
    else:
        found = read_fields(text, kind, fields, end)
        if found[0] == NO_KIND:
            take_note(notes, counts, NOTE_DAMAGED, at, line_end)
        else:
            waiting[max(cpu, 0), 0] = counts[ROWS]
            add_row(
                scan,
                text,
                counts[ENTRIES] * 1000 if ts < 0 else ts,
                max(cpu, 0),
                max(pid, 0),
                comm,
                comm_end,
                found,
                -1,
            )
            counts[NO_TIME] += ts < 0
            counts[NO_CPU] += cpu < 0
            if pid < 0:
                counts[NO_TASK] += 1
                rows[counts[ROWS] - 1].comm = -1
    count_entry(counts, counts[ENTRIES] * 1000 if ts < 0 else ts, True)


@compiled
def _pass_over(scan: Scan, text: int, at: int, end: int) -> None:
    """A line without a comment: a function, a change of task (``cpu) a-1 => b-2`` between dashes), or no trace line."""
    first = skip_blanks(text, at, end)
    if first >= end or find_byte(text, _BAR, at, end) < end:
        return
    arrow = find_byte(text, EQUALS, at, end)
    if load1(text, first) != DASH and not (arrow < end and load1(text, arrow + 1) == 62):
        take_note(scan.notes, scan.counts, NOTE_STRAY, at, end)
