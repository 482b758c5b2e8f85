"""The files of a capture: its trace, the snapshots before and after, and those that describe the machine."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.formats import FORMATS, Format, called, known, sniff
from ingest.formats.perf_data import folder as perf_folder
from ingest.source import read_head
from ptpool.errors import UsageError

MOMENTS = ("before", "after")
SNAPSHOTS = ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "meminfo")
_NAMED_LIKE = {
    "kpageflags": "kpageflags*",
    "page_tables": "*page_tables",
    "free_lists": "free_list*[!n]",  # not .json
    "free_lists.json": "free_lists.json",
}
MACHINE_FILES = (
    *("uname", "cpuinfo", "iomem", "trace_clock", "saved_cmdlines", "ring_stats", "permission_changes"),
    "virtualization",
)

_TEXT_NAMES = re.compile(r"(trace|perf\.script|report|perf)[\w.-]*\.(txt|text|log|trace|out)(\.(gz|xz|zst))?$")
_BINARY_NAMES = re.compile(r"(trace|perf)[\w.-]*\.(dat|data)(\.(gz|xz|zst))?$")
_LOG_NAMES = re.compile(r"(dmesg|kern|console|journal|syslog|messages)[\w.-]*(\.(gz|xz|zst))?$")
_LONGEST_NAME = 200  # bytes; a file system takes 255
_ENDINGS = (".zst", ".xz", ".gz", ".txt", ".text", ".log", ".trace", ".out", ".script")


@dataclass
class Bundle:
    """The files of one capture."""

    name: str
    traces: list[Path]
    format: Format
    snapshots: dict[tuple[str, str], Path] = field(default_factory=dict)  # (moment, buddyinfo or ...)
    machine: dict[str, Path] = field(default_factory=dict)
    described: list[Path] = field(default_factory=list)  # formats of events, where they are not in the trace
    kallsyms: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Every file that is read, in a fixed order."""
        rest = [self.snapshots[key] for key in sorted(self.snapshots)]
        symbols = [self.kallsyms] if self.kallsyms else []
        return [*self.traces, *self.described, *rest, *(self.machine[key] for key in sorted(self.machine)), *symbols]


def find_bundle(paths: Sequence[Path], name: str | None, snapshots: Path | None, wanted: str = "auto") -> Bundle:
    """Find the files of a capture.

    Args:
        paths: trace files that are parts of one capture, or one folder.
        name: what to call it; None: after the folder or the first file.
        snapshots: where before/ and after/ are; None: next to the trace.
        wanted: the format, or auto.

    Raises:
        UsageError: a file is missing, or is not a trace that can be read.
    """
    _check_arguments(paths, name, snapshots)
    forced = next((form for form in FORMATS if form.name == wanted), None)
    if paths[0].is_dir():
        folder, traces = paths[0], perf_folder.parts_in(paths[0])
        if traces:  # a perf.data, which happens to be a folder
            folder = paths[0].absolute().parent
        traces = traces or _traces_in(folder, forced)
    else:
        folder, traces = paths[0].absolute().parents[2 if called(paths[0]) else 0], list(paths)
        if len(traces) == 1 and paths[0].name == perf_folder.MAIN:
            traces = perf_folder.parts_in(paths[0].parent) or traces
    heads = {path: read_head(path) for path in traces}
    traces = [path for path in traces if heads[path]] or traces[:1]  # a CPU on which nothing happened
    found = [
        (forced if heads[path] else None) or called(path) or sniff(heads[path], str(path))
        for path in traces
        if not perf_folder.is_part(path)
    ]
    if len(set(found)) > 1:
        formats = ", ".join(dict.fromkeys(form.name for form in found))
        raise UsageError(f"{paths[0]}: parts in different formats ({formats})", "import them one by one")
    bundle = Bundle(name or _name_of(paths[0]), traces, found[0])
    _add_neighbours(bundle, folder, snapshots or folder)
    return bundle


def _check_arguments(paths: Sequence[Path], name: str | None, snapshots: Path | None) -> None:
    if name is not None and not is_name(name):
        raise UsageError(
            f"--name {name!r}: not a name for a capture",
            f"use letters and digits, after the first also . _ + - (at most {_LONGEST_NAME} bytes, and not all)",
        )
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder", "name a trace file, or a folder that holds one")
        if not path.is_file() and not path.is_dir():
            raise UsageError(f"{path}: a pipe or device", "write it to a file first: a trace is read more than once")
    if snapshots is not None and not snapshots.is_dir():
        raise UsageError(f"{snapshots}: no such folder", "--snapshots names the folder that holds before/ and after/")
    folder = next((path for path in paths if path.is_dir()), None)
    if folder is not None and len(paths) > 1:
        raise UsageError(
            f"{folder}: a folder among several paths",
            "import a bundle on its own; several paths are parts of one trace",
        )
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("the same file is named twice", "name each part of a trace once")


def _add_neighbours(bundle: Bundle, folder: Path, snapshots: Path) -> None:
    """Add the snapshots, and the files of both folders that describe the machine."""
    for moment in MOMENTS:
        for source in SNAPSHOTS:
            if (path := snapshots / moment / source).is_file():
                bundle.snapshots[moment, source] = path
        for source, pattern in _NAMED_LIKE.items():
            if found := sorted((snapshots / moment).glob(pattern)):
                bundle.snapshots[moment, source] = found[0]
    for place in (snapshots, folder):  # where both have a file, the one next to the trace counts
        bundle.machine |= {name: place / name for name in MACHINE_FILES if (place / name).is_file()}
        if symbols := [path for path in sorted(place.glob("kallsyms*")) if path.is_file()]:
            bundle.kallsyms = symbols[0]
    recorded = bundle.traces[0].parent / perf_folder.KALLSYMS
    if bundle.kallsyms is None and recorded.is_file():
        bundle.kallsyms = recorded
    if bundle.format.files:
        bundle.described = [path for path in sorted(folder.glob("events/**/*")) if path.is_file()]


def _traces_in(folder: Path, forced: Format | None) -> list[Path]:
    """The trace of a bundle: a binary one, which holds more, before a text one, and that before a log."""
    for place in (form for form in FORMATS if form.files and forced in (None, form)):
        if found := sorted(folder.glob(place.files)):
            return found
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for named in (_BINARY_NAMES, _TEXT_NAMES, _LOG_NAMES):
        for path in (path for path in files if named.match(path.name)):
            if (form := known(read_head(path))) is not None and forced in (None, form):
                return _of_all_cpus(path)
        for path in sorted(path for path in folder.iterdir() if path.is_dir() and named.match(path.name)):
            if found := perf_folder.parts_in(path):
                return found
    for path in (path for path in files if forced is None and _TEXT_NAMES.match(path.name)):
        sniff(read_head(path), str(path))  # says what it is
    raise UsageError(
        f"{folder}: no trace in this folder",
        "a bundle holds trace.dat, perf.data, trace.txt, report.txt or perf.script.txt (or .gz, .xz, .zst)",
    )


def _of_all_cpus(path: Path) -> list[Path]:
    """A trace and, where its name has a CPU (``trace.cpu0.txt``), those of the other CPUs in its folder."""
    named = re.fullmatch(r"(.*cpu)\d+(.*)", path.name)
    if named is None:
        return [path]
    same = re.compile(rf"{re.escape(named[1])}\d+{re.escape(named[2])}")
    return sorted(other for other in path.parent.iterdir() if other.is_file() and same.fullmatch(other.name))


def is_name(name: str) -> bool:
    """Whether a capture can have this name: reports name folders after it, and commands take names joined by commas."""
    return (
        all(map(_may_be_in_name, name)) and name[:1].isalnum() and name != "all" and len(name.encode()) <= _LONGEST_NAME
    )


def _may_be_in_name(character: str) -> bool:
    return character in "._+-" or unicodedata.category(character)[0] in "LMN"  # letters, their marks, digits


def _name_of(path: Path) -> str:
    """The name of a capture, after its folder or first file."""
    name = path.name if path.name not in ("", "..") else path.resolve().name
    if not path.is_dir():
        while name.endswith(_ENDINGS):
            name = name.rsplit(".", 1)[0]
        name = name or path.name
    name = "".join(character if _may_be_in_name(character) else "-" for character in name)
    name = re.sub(r"^[\W_]+", "", name)
    return name if is_name(name) else "capture"
