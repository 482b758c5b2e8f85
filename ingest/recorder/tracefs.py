"""Recording with an own tracefs instance: nothing outside it is changed, and removing it restores everything.

An instance has the name ptpool-PID. If its process is gone, a crash left it; the next capture removes it.
"""

import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ingest.recorder.drain import Drain
from ingest.recorder.redact import Pseudonyms
from ingest.recorder.status import ROOM, Status
from ingest.snapshots.machine import RING_LOSSES
from ptpool.errors import UsageError

EVENTS = ("kmem/mm_page_alloc", "kmem/mm_page_free")
RARE_EVENTS = ("kmem/mm_page_alloc_extfrag",)  # where it exists: few events, which show when the allocator fell back
_FORMATS = ("header_page", "header_event", "ftrace/kernel_stack/format")

_MOUNTS = ("sys/kernel/tracing", "sys/kernel/debug/tracing")
_OURS = re.compile(r"ptpool-(\d+)(-changes)?")
_ENTRIES_PER_EVENT = 2  # each is followed by its stack
_WAKE_AT_PERCENT = 10  # of a CPU's buffer: when its reader is woken


class Tracefs:
    """The tracefs of a machine whose file system begins at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = next((path for name in _MOUNTS if (path := root / name).is_dir()), root / _MOUNTS[0])

    def create(self, name: str) -> Path:
        """Make an instance.

        Raises:
            OSError: the kernel refuses.
        """
        instance = self.path / "instances" / name
        instance.mkdir()
        return instance

    def remove(self, name: str) -> None:
        """Remove an instance, its buffers and its settings.

        Raises:
            OSError: it is gone, or still in use.
        """
        (self.path / "instances" / name).rmdir()

    def sweep(self) -> list[str]:
        """Remove instances that crashed captures left behind; returns their names."""
        removed = []
        for name in self._stale():
            with suppress(OSError):
                self.remove(name)
                removed.append(name)
        return removed

    def _stale(self) -> Iterable[str]:
        try:
            names = sorted(path.name for path in (self.path / "instances").iterdir())
        except OSError:
            return
        for name in names:
            if (ours := _OURS.fullmatch(name)) and self.is_gone(ours[1]):
                yield name

    def is_gone(self, pid: str) -> bool:
        """Whether an instance or probe with this process number was left behind by a crash."""
        return pid == str(os.getpid()) or not (self._root / "proc" / pid).exists()

    def missing(self) -> tuple[str, str] | None:
        """What prevents recording here, and the remedy; None: nothing."""
        lockdown = _text(self._root / "sys/kernel/security/lockdown")
        if "[confidentiality]" in lockdown:
            return "the kernel is locked down (confidentiality)", "boot with lockdown=integrity or none"
        try:
            mounted = any(self.path.iterdir())
        except PermissionError:
            return f"only root may read {self.path}", "run it as root (sudo)"
        except OSError:
            mounted = False
        if not mounted:
            return f"no tracefs on {self.path}", f"mount -t tracefs tracefs {self.path} (as root)"
        try:
            present = {event: (self.path / "events" / event / "format").is_file() for event in EVENTS}
            instances = (self.path / "instances").is_dir()
        except PermissionError:
            return f"only root may read {self.path}", "run it as root (sudo)"
        for event, there in present.items():
            if not there:
                return f"this kernel has no event {event}", "use a kernel with CONFIG_EVENT_TRACING"
        if not instances or not os.access(self.path / "instances", os.W_OK):
            return f"only root may write {self.path}/instances", "run it as root (sudo)"
        if not any(line[:16].strip("0 ") for line in _head(self._root / "proc/kallsyms")):
            return "addresses in /proc/kallsyms are hidden", "sysctl kernel.kptr_restrict=1 (as root)"
        return None


class TracefsRecorder:
    """Records raw ring-buffer pages, laid out in the bundle as tracefs has them; `buffer` is bytes per CPU."""

    def __init__(self, tracefs: Tracefs, folder: Path, buffer: int) -> None:
        self._tracefs, self._folder, self._buffer = tracefs, folder, buffer
        self._name = f"ptpool-{os.getpid()}"
        self._comms: dict[int, str] = {}

    def __enter__(self) -> "TracefsRecorder":
        """Make the instance and set it up, with tracing off.

        Raises:
            UsageError: the kernel refuses a setting.
        """
        try:
            self._instance = self._tracefs.create(self._name)
        except OSError as error:
            raise UsageError(
                f"tracefs: no instance can be made in {self._tracefs.path}/instances: {error.strerror}",
                "run it as root (sudo)",
            ) from error
        try:
            self._set_up()
        except BaseException:
            self._tracefs.remove(self._name)
            raise
        return self

    def _set_up(self) -> None:
        self._set("tracing_on", "0")
        self._set("buffer_size_kb", str(self._buffer >> 10))
        self._set("options/stacktrace", "1")
        for option, value in (("trace_clock", "mono"), ("buffer_percent", str(_WAKE_AT_PERCENT))):
            with suppress(UsageError):  # old kernels lack them: their defaults will do
                self._set(option, value)
        self._events = list(EVENTS)
        self._events += [event for event in RARE_EVENTS if (self._instance / "events" / event / "enable").exists()]
        for event in self._events:
            self._set(f"events/{event}/enable", "1")
        self._cpus = sorted((self._instance / "per_cpu").glob("cpu*"), key=lambda path: int(path.name[3:]))
        page = re.search(r"char data;\s*offset:(\d+);\s*size:(\d+);", self._get("events/header_page"))
        if page is None:
            raise UsageError("tracefs: events/header_page has no page size", "record with --backend perf")
        self._describe()
        self._drain = Drain(self._cpus, self._folder / "per_cpu", int(page[1]) + int(page[2]))

    def _describe(self) -> None:
        """Write what is needed to read the pages: first, so that whatever is written of them can be read."""
        for name in (*_FORMATS, *(f"{path}/format" for path in self._events)):
            target = self._folder / "events" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((self._tracefs.path / "events" / name).read_text())
        for name in ("trace_clock", "trace_options"):
            (self._folder / name).write_text(self._get(name))

    def _set(self, name: str, value: str) -> None:
        try:
            write_setting(self._instance / name, value)
        except OSError as error:
            remedy = "ask for a smaller --buffer" if error.errno == errno.ENOMEM else "record with --backend perf"
            raise UsageError(f"tracefs: {name} cannot be set to {value}: {error.strerror}", remedy) from error

    def _get(self, name: str) -> str:
        return (self._instance / name).read_text(errors="replace")

    def start(self) -> None:
        """Begin to record."""
        self._drain.start()
        self._set("tracing_on", "1")

    def stop(self) -> None:
        """Stop recording; the buffers keep their contents, and nothing is written until finish()."""
        self._set("tracing_on", "0")
        self._drain.pause()
        self._note_comms()

    def status(self) -> Status:
        """Counts so far; names of tasks are noted as well."""
        self._note_comms()
        return self._counted(self._stats())

    def _counted(self, stats: Iterable[tuple[int, str]]) -> Status:
        failure = self._drain.failure
        fault = (failure.strerror or str(failure)) if failure is not None else ""
        status = Status(bytes=self._drain.written(), fault=fault)
        for cpu, text in stats:
            found = {name: int(value) for name, value in re.findall(r"^([\w ]+): +(\d+)$", text, re.MULTILINE)}
            status.events += (found.get("entries", 0) + found.get("read events", 0)) // _ENTRIES_PER_EVENT
            status.add_lost(cpu, sum(found.get(name, 0) for name in RING_LOSSES))
        return status

    def _stats(self) -> Iterable[tuple[int, str]]:
        for cpu in self._cpus:
            yield int(cpu.name[3:]), (cpu / "stats").read_text()

    def _final_stats(self) -> Iterable[tuple[int, str]]:
        """The same when nothing more is written: what the buffers still hold after a failure is lost."""
        for cpu, text in self._stats():
            held = re.search(r"^entries: +(\d+)$", text, re.MULTILINE) if self._drain.failure is not None else None
            yield cpu, text.replace(held[0], f"entries: 0\n{RING_LOSSES[-1]}: {held[1]}", 1) if held else text

    def _note_comms(self) -> None:
        """Read the names of tasks; the kernel keeps a few thousand (old kernels 128). The latest name counts."""
        for line in _text(self._tracefs.path / "saved_cmdlines").splitlines():
            pid, _, comm = line.strip().partition(" ")
            if pid.isdigit() and comm != "<...>":
                self._comms[int(pid)] = comm

    def finish(self, pseudonyms: Pseudonyms | None) -> Status:
        """Write the rest of the buffers, what was lost, and saved_cmdlines, which alone has names of tasks.

        Raises:
            OSError: the two files cannot be written.
        """
        self._drain.finish()
        (self._folder / ROOM).unlink(missing_ok=True)
        stats = list(self._final_stats())
        (self._folder / "ring_stats").write_text("".join(f"== cpu{cpu}\n{text}" for cpu, text in stats))
        names = {pid: pseudonyms.of(pid, comm) if pseudonyms else comm for pid, comm in sorted(self._comms.items())}
        (self._folder / "saved_cmdlines").write_text("".join(f"{pid} {comm}\n" for pid, comm in names.items()))
        return self._counted(stats)

    def __exit__(self, *_: object) -> None:
        self._drain.close()
        self._tracefs.remove(self._name)


def write_setting(path: Path, value: str, how: int = os.O_TRUNC) -> None:
    """Write an existing file of tracefs.

    Raises:
        OSError: it does not exist, or the kernel refuses the value.
    """
    file = os.open(path, os.O_WRONLY | how)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _head(path: Path, lines: int = 100) -> list[str]:
    try:
        with path.open() as file:
            return [line for line, _ in zip(file, range(lines), strict=False)]
    except OSError:
        return []
