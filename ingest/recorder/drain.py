"""Empties the ring buffers of all CPUs into files while the kernel fills them: one reading thread per CPU."""

import os
import re
import select
import threading
from pathlib import Path

_IDLE_S = 0.05  # rest of a reader after poll() returned without a full page: on kernels without buffer_percent
_POLL_MS = 200


class Drain:
    """Copies per_cpu/cpuN/trace_pipe_raw of a tracefs instance.

    While the kernel records, only full pages are copied: the page being filled would be copied half empty.

    Args:
        cpus: folders cpuN of the instance.
        folder: where to make cpuN/trace_pipe_raw.
        page: bytes of a page of the ring buffer (a sub-buffer).
    """

    def __init__(self, cpus: list[Path], folder: Path, page: int) -> None:
        self._pausing = threading.Event()
        self.failure: OSError | None = None
        """Why a reader stopped."""
        self._readers: list[_Reader] = []
        self._threads: list[threading.Thread] = []
        try:
            for cpu in cpus:
                self._readers.append(_Reader(cpu, folder / cpu.name / "trace_pipe_raw", page))
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start reading."""
        self._threads = [threading.Thread(target=self._run, args=[reader]) for reader in self._readers]
        for thread in self._threads:
            thread.start()

    def _run(self, reader: "_Reader") -> None:
        try:
            while not self._pausing.is_set():
                ready = reader.wait()
                if not reader.take_full_pages() and ready:
                    self._pausing.wait(_IDLE_S)
        except OSError as error:
            self.failure = self.failure or error

    def pause(self) -> None:
        """Stop reading."""
        self._pausing.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def written(self) -> int:
        """Bytes written so far."""
        return sum(reader.written for reader in self._readers)

    def finish(self) -> None:
        """Write the rest, after recording has stopped; nothing more after a failure."""
        try:
            for reader in self._readers if self.failure is None else ():
                reader.take_all()
        except OSError as error:
            self.failure = error

    def close(self) -> None:
        """Stop reading and close all files."""
        self.pause()
        for reader in self._readers:
            reader.close()


class _Reader:
    def __init__(self, cpu: Path, target: Path, page: int) -> None:
        self._stats = cpu / "stats"
        self._buffer = memoryview(bytearray(page))
        self.written = 0
        target.parent.mkdir(parents=True)
        self._target = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._source = os.open(cpu / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._source, select.POLLIN)

    def wait(self) -> bool:
        """Wait briefly until the kernel reports enough data; False: it did not."""
        return bool(self._poll.poll(_POLL_MS))

    def take_full_pages(self) -> bool:
        """Copy the pages that are full by the kernel's count of bytes; False: there was none."""
        held = re.search(r"^bytes: (\d+)", self._stats.read_text(), re.MULTILINE)
        full = int(held[1]) // len(self._buffer) if held else 0
        for _ in range(full):
            if not self._take_page():
                return False
        return full > 0

    def take_all(self) -> None:
        while self._take_page():
            pass

    def _take_page(self) -> bool:
        try:
            got = os.readv(self._source, [self._buffer])
        except BlockingIOError:
            return False
        done = 0
        try:
            while done < got:
                done += os.write(self._target, self._buffer[done:got])
        except OSError:
            os.ftruncate(self._target, self.written)  # whole pages only
            raise
        self.written += got
        return got > 0

    def close(self) -> None:
        os.close(self._source)
        os.close(self._target)
