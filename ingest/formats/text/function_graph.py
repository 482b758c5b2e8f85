"""ftrace text of the function_graph tracer, where events are comments: ``/* mm_page_alloc: page=… */``.

The text before a comment depends on the tracer's options (kernel/trace/trace_functions_graph.c:
print_graph_prologue): ``seconds |`` with funcgraph-abstime, ``cpu)`` with funcgraph-cpu, ``comm-pid |`` with
funcgraph-proc. Without the first, an event's time is its place in the file, one microsecond per entry; such events,
and events of an unknown task, are counted.
"""

from collections.abc import Sequence
from pathlib import Path

from ingest.formats.text import scan
from ingest.formats.text.ftrace import frames_end, is_frame
from ingest.formats.text.reader import TextTrace
from ingest.spans import find_byte, intern, load1, load8
from ingest.trace import KIND_BATCHED, MAX_CPUS, OTHER_EVENT, Context
from ptpool.compiled import compiled

_BAR, _STAR = b"|*"
_STACK = scan.word("<stack trace>")


def open_trace(paths: Sequence[Path], context: Context) -> TextTrace:
    """Open the parts of one trace."""
    return TextTrace(paths, scan_block, context)


@compiled
def comment_at(text: int, at: int, end: int) -> int:
    """Where a comment's text begins; `end`: there is none."""
    while at < end:
        at = find_byte(text, scan.SLASH, at, end)
        if at + 3 < end and load1(text, at + 1) == _STAR and load1(text, at + 2) == scan.SPACE:
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
        last = scan.skip_blanks_back(text, bar - 1, at)
        paren = find_byte(text, scan.RPAREN, at, bar)
        if paren < bar and paren > at and scan.is_digit(load1(text, paren - 1)):
            found, before = scan.number_back(text, paren - 1, at)
            if before < scan.skip_blanks(text, at, paren) and found < MAX_CPUS:
                cpu = found
                at = paren + 1
        if last >= at and scan.is_digit(load1(text, last)):
            stamp, before, fraction = scan.time_back(text, last, at)
            if fraction and before < scan.skip_blanks(text, at, bar):
                ts = stamp
            elif not fraction:
                found, before = scan.number_back(text, last, at)
                if before > at and load1(text, before) == scan.DASH and last - before <= 10:
                    pid, comm, comm_end = found, scan.skip_blanks(text, at, before), before
        at = bar + 1
    return ts, cpu, pid, comm, comm_end


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
        event = comment_at(text, at, line_end)
        if load1(text, at) == scan.HASH or is_frame(text, at):
            what = scan.NOTE_COMMENT if load1(text, at) == scan.HASH else scan.NOTE_DAMAGED
            scan.take_note(notes, counts, what, at, line_end)
        elif event >= line_end:
            _pass_over(tables, text, at, line_end)
        elif load1(text, event) == scan.LESS:
            stop, frames = frames_end(text, line_end + 1, end, final)
            if stop < 0:
                counts[scan.LINES] -= 1
                break
            counts[scan.LINES] += frames
            _, cpu, _, _, _ = prologue(text, at, event)
            cpu = max(cpu, 0)
            if load8(text, event) == _STACK:
                if waiting[cpu, 0] >= 0:
                    rows[waiting[cpu, 0]].stack = intern(stacks, named, scan.STACKS, text, line_end + 1, stop)
                    waiting[cpu, 0] = OTHER_EVENT
                elif waiting[cpu, 0] != OTHER_EVENT:
                    counts[scan.ORPHANS] += 1
            line_end = stop - 1
        else:
            _read_event(tables, text, at, event, line_end)
        at = line_end + 1
    return at


@compiled
def _read_event(tables: scan.Scan, text: int, at: int, event: int, line_end: int) -> None:
    rows, _, _, _, _, waiting, counts, notes = tables
    end = line_end
    if load1(text, end - 1) == scan.SLASH and load1(text, end - 2) == _STAR:
        end = scan.skip_blanks_back(text, end - 3, event) + 1
    ts, cpu, pid, comm, comm_end = prologue(text, at, event)
    time = counts[scan.ENTRIES] * 1000 if ts < 0 else ts
    kind, fields = scan.event_kind(text, event, end)
    other = kind == scan.NO_KIND
    counts[scan.AFTER_OTHER] = other
    if (other and not hides_an_event(text, event, end)) or kind == KIND_BATCHED:
        counts[scan.OTHER if kind == scan.NO_KIND else scan.BATCHED] += 1
        waiting[max(cpu, 0), 0] = OTHER_EVENT
    else:
        found = scan.read_fields(text, kind, fields, end)
        if other or found[0] == scan.NO_KIND:
            scan.take_note(notes, counts, scan.NOTE_DAMAGED, at, line_end)
        else:
            waiting[max(cpu, 0), 0] = counts[scan.ROWS]
            scan.add_row(tables, text, time, max(cpu, 0), max(pid, 0), comm, comm_end, found, -1)
            counts[scan.NO_TIME] += ts < 0
            counts[scan.NO_CPU] += cpu < 0
            if pid < 0:
                counts[scan.NO_TASK] += 1
                rows[counts[scan.ROWS] - 1].comm = -1
    scan.count_entry(counts, time, True)


@compiled
def hides_an_event(text: int, at: int, end: int) -> bool:
    """Whether the comment of a page event follows within the line of another event."""
    event = comment_at(text, at, end)
    return bool(event < end and scan.event_kind(text, event, end)[0] != scan.NO_KIND)


@compiled
def _pass_over(tables: scan.Scan, text: int, at: int, end: int) -> None:
    """A line without a comment: a function, a change of task (``cpu) a-1 => b-2`` between dashes), or no trace line."""
    first = scan.skip_blanks(text, at, end)
    if first >= end or find_byte(text, _BAR, at, end) < end:
        return
    arrow = find_byte(text, scan.EQUALS, at, end)
    if load1(text, first) != scan.DASH and not (arrow < end and load1(text, arrow + 1) == 62):
        scan.take_stray(tables.notes, tables.counts, at, end)
