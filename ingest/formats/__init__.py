"""The trace formats: what they are, and how to recognise which one a file is in.

A format is a module with ``open_trace(paths, context)``, which gives a ``Trace`` (ingest/trace.py). A
text format is a compiled ``scan_block`` that formats/text/reader.py drives; formats/text/scan.py says what it fills.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ingest.formats.plain import plainer
from ingest.formats.unknown import why_not
from ingest.trace import Context, Trace
from ptpool.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One trace format."""

    name: str  # what --format calls it
    about: str  # what writes it
    module: str  # where its open_trace is
    line: re.Pattern[bytes] | None = None  # what one of its lines looks like (text formats)
    magic: tuple[bytes, ...] = ()  # what such a file begins with (binary formats)
    files: str = ""  # names of its files within a bundle, where their contents do not show the format

    def open_trace(self, paths: Sequence[Path], context: Context) -> Trace:
        """Open the parts of one trace.

        Raises:
            UsageError: a file cannot be read.
        """
        trace: Trace = import_module(self.module).open_trace(paths, context)
        return trace


_TIME = rb"\d+(\.\d+|us.)?: "
_PERF_TASK = rb"\S *[ \t]-?\d+(/-?\d+)? +(\[\d+\] +|\d+ +)?"
_PERF_FLAGS = rb"([A-Za-z]{1,8} +)?(\d{4}-\d\d-\d\d [\d:.]+ +)?"  # -F misc, tod

FORMATS = (
    Format(
        "ftrace",
        "text of tracefs trace or trace_pipe, and of trace-cmd report",
        module="ingest.formats.text.ftrace",
        line=re.compile(rb"^.*-\d+ *((\([ \d-]+\) +)?\[\d+\] +(\S+ +)?|\d+[^\s\d]\S{2,5} +)" + _TIME, re.MULTILINE),
    ),
    Format(
        "function-graph",
        "ftrace text of the function_graph tracer, with events as comments",
        module="ingest.formats.text.function_graph",
        line=re.compile(
            rb"^# tracer: function_graph|\|.* /\* mm_page_\w+: |^ *\d+\) [ +!#*@$]*(\d+\.\d+ us)? +\|  ", re.MULTILINE
        ),
    ),
    Format(
        "perf-script",
        "text of perf script, with or without call chains, any -F that has comm, tid, time, event and trace",
        module="ingest.formats.text.perf_script",
        line=re.compile(rb"^.*" + _PERF_TASK + _PERF_FLAGS + rb"\d+\.\d+: +(\d+ +)?(\S+:|PERF_RECORD_)", re.MULTILINE),
    ),
    Format(
        "perf-data",
        "perf.data of perf record, also piped (-o -), compressed (-z) or a folder (--threads, --kcore)",
        module="ingest.formats.perf_data",
        magic=(b"PERFILE2", b"2ELIFREP"),
    ),
    Format(
        "trace-dat",
        "trace.dat of trace-cmd, versions 6 and 7",
        module="ingest.formats.trace_dat",
        magic=(b"\x17\x08\x44tracing",),
    ),
    Format(
        "trace-pipe-raw",
        "folder with per_cpu/cpuN/trace_pipe_raw and events/ of tracefs, as ptpool ingest capture makes it",
        module="ingest.formats.ring_buffer.folder",
        files="per_cpu/cpu*/trace_pipe_raw*",
    ),
)

NAMES = tuple(form.name for form in FORMATS)


def called(path: Path) -> Format | None:
    """The format of a file by its place in a bundle; None: the place does not say it."""
    return next((form for form in FORMATS if form.files and path.absolute().match(form.files)), None)


def known(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes; None: an unknown one."""
    for form in FORMATS:
        if head.startswith(form.magic):
            return form
    _, text = plainer(head)
    found = [(match.start(), form) for form in FORMATS if form.line and (match := form.line.search(text))]
    if found:
        return min(found, key=lambda place: place[0])[1]
    return FORMATS[0] if text.startswith(b"# tracer:") else None


def sniff(head: bytes, where: str) -> Format:
    """The format of a file that begins with these bytes.

    Raises:
        UsageError: it is of none.
    """
    form = known(head)
    if form is not None:
        return form
    if not head:
        raise UsageError(f"{where}: the file is empty", "record mm_page_alloc and mm_page_free again")
    what, remedy = why_not(head)
    raise UsageError(f"{where}: not a trace ({what})", remedy)
