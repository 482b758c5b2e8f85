"""One recording from start to finish: the bundle is written under another name and renamed when it is complete."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from ingest.recorder.free_lists.snapshot import FreeLists
from ingest.recorder.perf import PerfRecorder
from ingest.recorder.permission_changes import PermissionChangeRecorder, sweep
from ingest.recorder.plan import Plan, buffer_size, choose
from ingest.recorder.proc_files import Moment, available_memory, kernel_threads, write_machine
from ingest.recorder.redact import Pseudonyms
from ingest.recorder.status import ROOM
from ingest.recorder.tracefs import Tracefs, TracefsRecorder
from ptpool import __version__
from ptpool.errors import UsageError
from ptpool.options import note
from ptpool.progress import Meter, progress
from ptpool.text import size

Recorder = TracefsRecorder | PerfRecorder

_BACKENDS: dict[str, type[Recorder]] = {"tracefs": TracefsRecorder, "perf": PerfRecorder}
_CLOCKS = {"tracefs": "mono", "perf": "perf"}  # as tracefs names them
_TICK_S = 0.25
_ROOM_BYTES = 16 << 20  # for the snapshot after: kpageflags of 256 GiB is about 10 MB
_PATIENCE_S = 5.0  # time that COMMAND has to end after SIGTERM
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class RecordingSummary:
    """What was recorded: the bundle's recording.json."""

    backend: str
    buffer_bytes_per_cpu: int
    redacted: bool
    ptpool: str = __version__
    began: str = ""
    seconds: float = 0.0
    ended_by: str = ""  # command, seconds, interrupt or fault
    fault: str = ""  # what ended it before its time: no space left on device
    command: list[str] = field(default_factory=list)
    exit_status: int | None = None  # of the command; -15: ended by signal 15
    bytes: int = 0
    events: int = 0
    lost_events: int = 0  # by the kernel's count: in tracefs, a stack is an event of its own
    lost_by_cpu: dict[str, int] = field(default_factory=dict)
    permission_changes: bool = False  # of the direct map: whether a kprobe records them
    missing: list[str] = field(default_factory=list)  # files that could not be read


def record(plan: Plan, *, root: Path = Path("/"), quiet: bool = False, output: int | None = None) -> RecordingSummary:
    """Record a bundle.

    Args:
        plan: what, and where to.
        root: root directory of the machine.
        quiet: no progress.
        output: file descriptor for what COMMAND prints; None: ours.

    Raises:
        UsageError: the machine cannot be recorded: no bundle is left behind. Or the disk is full, or the backend ended
            by itself: what was recorded until then is kept.
    """
    partial = plan.out.with_name(plan.out.name + ".partial")
    if plan.out.exists():
        raise UsageError(f"{plan.out}: it exists already", "name another folder with --out")
    if partial.exists():
        raise UsageError(f"{partial}: it was left by a capture that did not finish", _remedy(partial))
    if plan.command and shutil.which(plan.command[0]) is None:
        raise UsageError(f"{plan.command[0]}: no such command", "name a program after --, with its arguments")
    tracefs = Tracefs(root)
    for name in [*tracefs.sweep(), *sweep(tracefs)]:
        note(f"removed {name} from tracefs, left by a capture that crashed", quiet=quiet)
    for left in _left_behind(plan.out.parent):
        note(f"{left}: left by a capture that was killed; {_remedy(left)}", quiet=quiet)
    backend = choose(plan.backend, tracefs)
    buffer = buffer_size(plan.buffer, available_memory(root), os.cpu_count() or 1)
    with _Interrupts() as interrupts:
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"{partial}: {error.strerror}", "name another folder with --out") from error
        done = RecordingSummary(backend, buffer, plan.redact, command=[] if plan.redact else list(plan.command))
        session = _Session(plan, partial, root, interrupts, done)
        note(f"recording with {backend}, {size(buffer)} of buffer per CPU; Ctrl-C ends it and keeps it", quiet=quiet)
        with _kept_or_removed(session, partial):
            _keep_room(partial / ROOM)
            recorder = _BACKENDS[backend](tracefs, partial, buffer)
            changes = PermissionChangeRecorder(tracefs, _CLOCKS[backend])
            session.run(recorder, changes, quiet, output)
            partial.rename(plan.out)
    if done.fault:
        raise UsageError(
            f"{plan.out}: {done.fault} after {done.seconds:.0f} s; what was recorded until then is kept "
            f"({done.events:,} events, {done.lost_events:,} lost)",
            f"import it: ptpool ingest trace {plan.out}; or make room and record again",
        )
    return done


@contextmanager
def _kept_or_removed(session: "_Session", partial: Path) -> Iterator[None]:
    """Lock a bundle while it is written; what is in it stays after an error, but not after a second interrupt.

    Raises:
        UsageError: for an OSError of the block, with the path.
    """
    lock = os.open(partial, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    except KeyboardInterrupt:
        shutil.rmtree(partial)
        raise
    except BaseException as error:
        if not session.recorded:
            shutil.rmtree(partial)
        (partial / ROOM).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        remedy = _remedy(partial) if session.recorded else "make room, or name another folder with --out"
        raise UsageError(f"{partial}: it cannot be written ({error.strerror})", remedy) from error
    finally:
        os.close(lock)


def _keep_room(path: Path) -> None:
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, _ROOM_BYTES)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise


def _left_behind(folder: Path) -> Iterator[Path]:
    """Bundles in a folder whose recorder was killed: nobody has them locked."""
    for path in sorted(folder.glob("*.partial")):
        if (path / "per_cpu").is_dir() or (path / "perf.data").is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path
            except OSError:
                pass
            finally:
                os.close(file)


def _remedy(partial: Path) -> str:
    return f"import what it holds (ptpool ingest trace {partial}), or remove it (rm -r {partial})"


class _Interrupts:
    """The first Ctrl-C (or SIGTERM, SIGHUP) ends the recording and keeps it, the second one discards it."""

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> "_Interrupts":
        self._wakeup = signal.set_wakeup_fd(-1)  # else the handler of ptpool's command line would end the process
        self._handlers = {number: signal.signal(number, self._note) for number in _ENDING_SIGNALS}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)


class _Session:
    def __init__(self, plan: Plan, folder: Path, root: Path, interrupts: _Interrupts, done: RecordingSummary) -> None:
        self._plan, self._folder, self._root, self._interrupts, self._done = plan, folder, root, interrupts, done
        self._said_lost = 0
        self.recorded = False  # whether there is anything to keep

    def run(self, recorder: Recorder, changes: PermissionChangeRecorder, quiet: bool, output: int | None) -> None:
        """Record; docs/recording.md explains the order of the steps."""
        plan, done = self._plan, self._done
        done.missing = write_machine(self._root, self._folder, redact=plan.redact)
        threads = kernel_threads(self._root)
        with recorder, changes:
            done.permission_changes = changes.recorded
            free_lists = FreeLists(self._root)
            if free_lists.cost:
                note(free_lists.cost, quiet=quiet)
            before, after = Moment(self._root, free_lists), Moment(self._root, free_lists)
            done.began = datetime.now(UTC).isoformat(timespec="seconds")
            before.take(flags_first=True)
            began = time.monotonic()
            changes.switch(on=True)
            recorder.start()
            child = _started(plan.command, output)
            self.recorded = True
            try:
                self._write("before", before)  # now: it is there if this process is killed
                with progress("recording", plan.seconds or 0, quiet=quiet, unit="s") as meter:
                    done.ended_by = self._wait(recorder, child, began, meter, quiet)
                recorder.stop()
                changes.switch(on=False)
                done.seconds = round(time.monotonic() - began, 3)
                after.take(flags_first=False)
            finally:
                done.exit_status = _end(child)
            threads |= kernel_threads(self._root)
            pseudonyms = Pseudonyms(threads) if plan.redact else None
            status = recorder.finish(pseudonyms)
            changes.write(self._folder, pseudonyms)
        self._write("after", after)
        done.bytes, done.events, done.lost_events = status.bytes, status.events, status.lost
        done.fault = status.fault or done.fault
        done.lost_by_cpu = {str(cpu): lost for cpu, lost in sorted(status.lost_by_cpu.items(), key=str)}
        done.missing += sorted({*before.missing, *after.missing})
        (self._folder / "tool_version").write_text(f"ptpool {__version__}\n")
        (self._folder / "recording.json").write_text(json.dumps(asdict(done), indent=2) + "\n")

    def _write(self, name: str, moment: Moment) -> None:
        try:
            moment.write(self._folder / name)
        except OSError as error:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            self._done.missing.append(name)
            self._done.fault = f"{name}/ cannot be written ({error.strerror or error})"

    def _wait(
        self, recorder: Recorder, child: "subprocess.Popen[bytes] | None", began: float, meter: Meter, quiet: bool
    ) -> str:
        """Wait for the end of the recording; returns its reason."""
        seconds = self._plan.seconds
        while True:
            status = recorder.status()
            elapsed = time.monotonic() - began
            lost = f", {status.lost:,} lost" if status.lost else ""
            meter(elapsed, f"{elapsed:.0f} s, {status.events:,} events{lost}, {status.bytes / 1e6:,.0f} MB")
            if status.lost > 2 * self._said_lost:  # at the first loss, and whenever the number has doubled
                self._said_lost = status.lost
                note(f"{status.lost:,} events lost so far: use a larger --buffer or a faster disk", quiet=quiet)
            if status.fault:
                return "fault"
            if child is not None and child.poll() is not None:
                return "command"
            if seconds is not None and elapsed >= seconds:
                return "seconds"
            if self._interrupts.seen:
                return "interrupt"
            rest = _TICK_S if seconds is None else min(_TICK_S, max(seconds - elapsed, 0))
            if child is None:
                time.sleep(rest)
            else:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(rest)


def _started(command: Sequence[str], output: int | None) -> "subprocess.Popen[bytes] | None":
    try:
        return subprocess.Popen(command, stdout=output) if command else None
    except OSError as error:
        raise UsageError(f"{command[0]}: it cannot be started ({error.strerror})", "name a program after --") from error


def _end(child: "subprocess.Popen[bytes] | None") -> int | None:
    """Exit status of COMMAND, which is terminated if it still runs."""
    if child is None:
        return None
    try:
        if child.poll() is None:
            child.terminate()
        return child.wait(_PATIENCE_S)
    except BaseException as error:
        child.kill()
        status = child.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return status
