"""The trace formats: what they are, and how to tell which one a file is.

A format that can be read is a module with one compiled ``scan_block``; see ``ingest/scan.py`` for what it fills.
"""

import re
from dataclasses import dataclass

from ptpool.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One trace format.

    Args:
        name: what ``--format`` calls it.
        readable: whether it can be imported.
        about: what writes it, and for an unreadable one what to do instead.
        line: what one of its lines looks like (text formats).
        magic: what such a file begins with (binary formats).
    """

    name: str
    readable: bool
    about: str
    line: re.Pattern[bytes] | None = None
    magic: bytes = b""


_TIME = rb"\d+(\.\d+)?: "

FORMATS = (
    Format(
        "ftrace",
        True,
        "text of tracefs trace or trace_pipe, and of trace-cmd report",
        line=re.compile(rb"^.*-\d+ *(\([ \d-]+\) +)?\[\d+\] +(\S+ +)?" + _TIME, re.MULTILINE),
    ),
    Format(
        "perf-script",
        True,
        "text of perf script, with or without call chains, any -F that has comm, tid, time, event and trace",
        line=re.compile(rb"^.*\s-?\d+(/-?\d+)? +(\[\d+\] +)?\d+\.\d+: +(\d+ +)?[\w-]+:[\w:]+", re.MULTILINE),
    ),
    Format("perf-data", False, "perf.data; convert it first: perf script -i perf.data > trace.txt", magic=b"PERFILE2"),
    Format(
        "trace-dat",
        False,
        "trace.dat; convert it first: trace-cmd report -i trace.dat > trace.txt",
        magic=b"\x17\x08\x44tracing",
    ),
)

NAMES = tuple(form.name for form in FORMATS)


def sniff(head: bytes, where: str) -> Format:
    """The format of a file that begins with these bytes.

    Raises:
        UsageError: it is in none, or in one that cannot be read yet.
    """
    if not head:
        raise UsageError(
            f"{where}: the file is empty", "record again; a trace of mm_page_alloc and mm_page_free is needed"
        )
    for form in FORMATS:
        if form.magic and head.startswith(form.magic):
            raise refusal(form, where)
    found = [(match.start(), form) for form in FORMATS if form.line and (match := form.line.search(head))]
    if found:
        return min(found, key=lambda place: place[0])[1]
    if b"/* mm_page_" in head:
        raise UsageError(f"{where}: function_graph output is not read yet", "record with current_tracer set to nop")
    if head.startswith(b"# tracer:"):
        return FORMATS[0]
    kind = "binary data" if b"\0" in head else "text without a trace line"
    raise UsageError(f"{where}: not a trace ({kind})", "formats that are known: ptpool ingest formats")


def refusal(form: Format, where: str) -> UsageError:
    """Why a format that is known cannot be imported."""
    written_by, remedy = form.about.split("; ", 1)
    return UsageError(f"{where}: {written_by} is not read yet", remedy)
