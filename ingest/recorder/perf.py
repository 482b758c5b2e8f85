"""Recording with perf: into perf.data, started and stopped through perf's control pipe (perf 5.10, 2020, or newer)."""

import os
import select
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

from ingest.recorder.redact import Pseudonyms, redact_perf_script
from ingest.recorder.status import ROOM, Status
from ingest.recorder.tracefs import EVENTS, RARE_EVENTS, Tracefs
from ptpool.errors import UsageError

_READY_S = 60.0  # perf first looks at every process of the machine
_DATA_OFFSET = 40  # of struct perf_file_header (tools/perf/util/header.h): where data.offset stands
_LOST, _SAMPLE, _LOST_SAMPLES = 2, 9, 13  # enum perf_event_type (include/uapi/linux/perf_event.h)


def missing(tracefs: Tracefs) -> tuple[str, str] | None:
    """What prevents perf from recording here, and the remedy; None: nothing."""
    perf = shutil.which("perf")
    if perf is None:
        return "perf is not installed", "install it (Debian: linux-perf, Fedora: perf)"
    try:
        answer = subprocess.run([perf, "record", "-h"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{perf} does not run ({error})", "install the perf of this kernel"
    if "--control" not in answer.stdout + answer.stderr:
        said = (answer.stderr.strip() or "no --control").splitlines()[0]
        return f"{perf} does not work here ({said})", "install perf 5.10 or newer"
    if (reason := tracefs.missing()) is not None:
        return reason
    if os.geteuid() != 0:  # raw tracepoints of all CPUs: kernel.perf_event_paranoid=-1, or root
        return "only root may record the whole machine", "run it as root (sudo)"
    return None


class PerfRecorder:
    """Records with `perf record -a -g`; `buffer` is bytes per CPU, a power of two."""

    def __init__(self, tracefs: Tracefs, folder: Path, buffer: int) -> None:
        self._folder, self._data = folder, folder / "perf.data"
        events = [*EVENTS, *(event for event in RARE_EVENTS if (tracefs.path / "events" / event).is_dir())]
        self._arguments = ["perf", "record", "-a", "-g", "--kernel-callchains", "-B", "-N"]
        self._arguments += [f"--event={event.replace('/', ':')}" for event in events]
        self._arguments += [f"--mmap-pages={buffer >> 10}K", f"--output={self._data}", "--delay=-1"]
        self._progress = _Progress(self._data)
        self._fault, self._ending = "", False

    def __enter__(self) -> "PerfRecorder":
        """Start perf, not yet recording.

        Raises:
            UsageError: it does not start.
        """
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        with (self._folder / "perf_record.log").open("wb") as log:
            self._perf = subprocess.Popen(
                [*self._arguments, f"--control=fd:{commands},{answers}", "--", "cat"],
                stdin=subprocess.PIPE,  # cat, and perf with it, ends when this is closed, even by a kill of ptpool
                stdout=log,
                stderr=log,
                pass_fds=(commands, answers),
                start_new_session=True,  # Ctrl-C is for ptpool only
            )
        os.close(commands)
        os.close(answers)
        try:
            self._send("disable")  # it is disabled already: the answer shows that perf is ready
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _send(self, command: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._commands, command.encode() + b"\n")
        ready, _, _ = select.select([self._answers], [], [], _READY_S)
        if not ready or b"ack" not in os.read(self._answers, 64):
            raise self._broken(f"does not answer to {command}")

    def _broken(self, what: str) -> UsageError:
        said = (self._folder / "perf_record.log").read_text(errors="replace").split("\n")
        words = next((line.strip() for line in said if line.strip()), "it printed nothing")
        return UsageError(f"perf record {what}: {words[:200]}", "record with --backend tracefs, or a smaller --buffer")

    def start(self) -> None:
        """Begin to record."""
        self._send("enable")

    def stop(self) -> None:
        """Stop recording."""
        if self._perf.poll() is None:
            self._send("disable")

    def status(self) -> Status:
        """Counts so far."""
        status = self._progress.status()
        if not self._ending and self._perf.poll() is not None:
            self._fault = self._broken(f"ended by itself with status {self._perf.returncode}").what
        status.fault = self._fault
        return status

    def finish(self, pseudonyms: Pseudonyms | None) -> Status:
        """Let perf write the rest; perf.data has names in many places, so a redacted recording is perf script's text.

        Raises:
            UsageError: perf script fails.
        """
        status = self.status()
        self._end()
        (self._folder / ROOM).unlink(missing_ok=True)
        status = self.status()
        if pseudonyms is not None:
            self._to_redacted_text(pseudonyms)
        return status

    def _end(self) -> None:
        assert self._perf.stdin is not None
        self._ending = True
        self._perf.stdin.close()
        self._perf.wait()

    def _to_redacted_text(self, pseudonyms: Pseudonyms) -> None:
        fields = "comm,tid,cpu,time,event,trace,ip,sym"
        arguments = ["perf", "script", f"--input={self._data}", "--ns", f"--fields={fields}"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as script:
            assert script.stdout is not None
            redact_perf_script(script.stdout, self._folder / "perf.script.txt.zst", pseudonyms)
        if script.returncode:
            raise UsageError(f"perf script ended with status {script.returncode}", "record with --backend tracefs")
        self._data.unlink()
        (self._folder / "perf_record.log").unlink()

    def __exit__(self, *_: object) -> None:
        self._end()
        os.close(self._commands)
        os.close(self._answers)


class _Progress:
    """Counts samples and losses in a perf.data file that is being written."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._status = Status()
        self._lost = {_LOST: 0, _LOST_SAMPLES: 0}  # the same losses: as they happen, and by perf's own count

    def status(self) -> Status:
        """Counts of what is in the file so far."""
        with self._path.open("rb") as file:
            if not self._at:
                file.seek(_DATA_OFFSET)
                start = file.read(8)
                self._at = struct.unpack("=Q", start)[0] if len(start) == 8 else 0
            if self._at:
                file.seek(self._at)
                self._walk(file.read())
            self._status.bytes = file.seek(0, os.SEEK_END)
        if lost := max(self._lost.values()):
            self._status.lost_by_cpu = {None: lost}
        return self._status

    def _walk(self, data: bytes) -> None:
        at = 0
        while at + 8 <= len(data):
            kind, _, size = struct.unpack_from("=IHH", data, at)
            if size < 8 or at + size > len(data):
                break
            if kind == _SAMPLE:
                self._status.events += 1
            elif kind in (_LOST, _LOST_SAMPLES):
                (lost,) = struct.unpack_from("=Q", data, at + (16 if kind == _LOST else 8))
                self._lost[kind] += lost
            at += size
        self._at += at
