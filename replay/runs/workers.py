"""Many small pieces of work through one `concurrent.futures.Executor`: processes of this machine by default.

What a group of units reads (a capture's demand, the machine before its first event) is written once to a file that
every worker maps: nothing large is copied from process to process. What a worker writes to it, only that worker sees.

    with local_workers(jobs) as workers:
        there = workers.share((demand, machine))
        for unit, result in workers.run(function, there, units):   # in the order in which they end
            ...                                                    # `function((demand, machine), unit)`, or Failure
"""

import ctypes
import gc
import mmap
import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import lru_cache, partial
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from ptpool.errors import UsageError

S = TypeVar("S")
U = TypeVar("U")
R = TypeVar("R")

_ALIGNED = 64
_TICK_S = 1.0
_RESTARTS = 2  # times in a row that workers may die without ending a single unit
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


class Failure(NamedTuple):
    """Why a unit has no result."""

    reason: str
    refused: bool = False
    """Its input cannot be used; nothing broke."""


class Shared(NamedTuple, Generic[S]):
    """A value of type `S` for many units: in a file, or as it is if the only worker is this process."""

    path: Path | None
    value: S | None = None


class Workers:
    """Runs units of work; see `local_workers`.

    Args:
        start: makes an executor; called again when its workers have died.
        folder: for what is shared; None: the executor's workers are threads of this process.
        at_a_time: units that run at the same time.
    """

    def __init__(self, start: Callable[[], Executor], folder: Path | None, at_a_time: int) -> None:
        self._start, self._folder, self._names = start, folder, count()
        self.at_a_time = at_a_time
        self.while_waiting: Callable[[], None] = lambda: None  # called about once a second
        self._executor = start()

    @property
    def alone(self) -> bool:
        """Whether units are run by this process."""
        return self._folder is None

    def share(self, value: S) -> Shared[S]:
        """Write what many units read and none changes, once: any value that can be pickled. Arrays are mapped.

        Raises:
            UsageError: there is no room for it.
        """
        if self._folder is None:
            return Shared(None, value)
        path = self._folder / f"{next(self._names)}.pickle"
        try:
            _write(value, path)
        except OSError as error:
            raise UsageError(
                f"{self._folder.parent}: cannot write the file that the workers share ({error.strerror})",
                "free some space, or set TMPDIR to another folder",
            ) from error
        return Shared(path)

    def forget(self, shared: Shared[S]) -> None:
        """No unit will read this any more."""
        if shared.path is not None:
            shared.path.unlink()

    def run(
        self, function: Callable[[S, U], R], shared: Shared[S], units: Iterable[U]
    ) -> Iterator[tuple[U, R | Failure]]:
        """Run ``function(value, unit)`` for every unit, and yield each with its result as soon as it has ended.

        Args:
            function: of a module, so that other processes find it.
            shared: from `share`.
            units: small values that can be pickled.

        Yields:
            Unit and result, or the reason why the unit failed. When workers die (killed, or out of memory), new ones
            take over; units fail for it only when no unit ends any more.
        """
        yield from self.run_groups(function, [(shared, units)])

    def run_groups(
        self, function: Callable[[S, U], R], groups: Iterable[tuple[Shared[S], Iterable[U]]]
    ) -> Iterator[tuple[U, R | Failure]]:
        """The same for units of several shared values; the next value is taken while workers still have work.

        If the only worker is this process, it is taken when the last is finished: one is in memory at a time.
        """
        source = iter(groups)
        ended: SimpleQueue[Future[R | Failure]] = SimpleQueue()
        pending: dict[Future[R | Failure], tuple[Shared[S], U]] = {}

        def submit(shared: Shared[S], unit: U) -> None:
            try:
                future = self._executor.submit(_call, function, shared, unit)
            except BrokenExecutor as error:
                future = Future()
                future.set_exception(error)
            pending[future] = shared, unit
            future.add_done_callback(ended.put)

        def submit_next() -> bool:
            """Submit the next group, if there is one, and keep no hold of what it shares."""
            if (group := next(source, None)) is None:
                return False
            for unit in group[1]:
                submit(group[0], unit)
            return True

        deaths, ahead = 0, 0 if self.alone else self.at_a_time  # deaths of workers since a unit last ended
        try:
            while True:
                while len(pending) <= ahead and submit_next():
                    pass
                if not pending:
                    return
                future = self._next(ended)
                if not isinstance(_error(future), BrokenExecutor):
                    deaths = 0
                    yield pending.pop(future)[1], _result(future)
                    continue
                self.close()
                self._executor, ended, deaths = self._start(), SimpleQueue(), deaths + 1
                lost = []
                for future, (shared, unit) in pending.items():
                    if isinstance(_error(future), BrokenExecutor | CancelledError):
                        lost.append((shared, unit))
                    else:
                        yield unit, _result(future)
                pending.clear()
                if deaths > _RESTARTS:
                    yield from ((unit, Failure("its worker died: killed, or out of memory?")) for _, unit in lost)
                    return
                for shared, unit in lost[self.at_a_time :] + lost[: self.at_a_time]:  # what ran then may be the cause
                    submit(shared, unit)
        finally:
            for future in pending:
                future.cancel()

    def _next(self, ended: "SimpleQueue[Future[R | Failure]]") -> "Future[R | Failure]":
        """Wait for a unit that has ended."""
        while True:
            try:
                return ended.get(timeout=_TICK_S)
            except Empty:
                self.while_waiting()

    def close(self) -> None:
        """End the workers; what has not begun is left out."""
        self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def local_workers(jobs: int) -> Iterator[Workers]:
    """`jobs` processes of this machine that have the loop compiled; a single job runs in this process."""
    if jobs == 1:
        _settle()
        try:
            with closing(Workers(partial(ThreadPoolExecutor, 1), None, 1)) as workers:
                yield workers
        finally:
            gc.unfreeze()
        return
    multiprocessing.set_forkserver_preload(["replay.runs.preload"])
    forkserver.ensure_running()  # it gets ready while this process sets the first scene
    with (
        tempfile.TemporaryDirectory(prefix="ptpool-") as folder,
        closing(Workers(partial(_processes, jobs, folder), Path(folder), jobs)) as workers,
    ):
        try:
            yield workers
        except BaseException:  # nobody waits for what they are doing
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _processes(jobs: int, folder: str) -> ProcessPoolExecutor:
    """Processes forked from a server that has the modules loaded: unlike this process, it has no threads."""
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(folder,))


def _begin(folder: str) -> None:
    """A worker leaves interrupts from the keyboard to its parent; if that is killed, the worker tidies up and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _settle()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _settle() -> None:
    """Make ready for many units: keep memory that one frees for the next, and look for cycles among new objects only.

    Returning memory and faulting it in again took 10 of 65 ms; looking through all modules took 70 ms every few units.
    """
    gc.freeze()
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        mallopt(_M_TRIM_THRESHOLD, 512 << 20)


def where(error: BaseException) -> str:
    """An exception in a line, with the place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = [*getattr(error, "__notes__", ()), *(f"{Path(f.filename).name}, line {f.lineno}" for f in frames[-1:])]
    return f"{type(error).__name__}: {error} ({'; '.join(place)})"


def _error(future: Future[Any]) -> BaseException | None:
    """What a future that has ended raised."""
    return CancelledError() if future.cancelled() else future.exception()


def _result(future: Future[R | Failure]) -> R | Failure:
    error = _error(future)
    return future.result() if error is None else Failure(where(error))


def _call(function: Callable[[Any, U], R], shared: Shared[Any], unit: U) -> R | Failure:
    """What a worker does."""
    try:
        return function(shared.value if shared.path is None else _read(shared.path), unit)
    except UsageError as error:
        return Failure(error.what, refused=True)
    except Exception as error:
        return Failure(where(error))


def _write(value: Any, path: Path) -> None:
    """Pickle a value into a file: a head, and behind it the arrays' bytes as they are (PEP 574)."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    head = pickle.dumps((data, [part.nbytes for part in parts]))
    with path.open("wb") as stream:
        stream.write(struct.pack("<q", len(head)) + head)
        for part in parts:
            stream.seek(_up(stream.tell()))
            stream.write(part)
        stream.truncate(max(stream.tell(), 1))


@lru_cache(maxsize=2)
def _read(path: Path) -> Any:
    """The value in a file, its arrays mapped: processes that read the file share memory that none has written to."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<q", stream.read(8))
        data, sizes = pickle.loads(stream.read(length))
        at, parts = 8 + length, []
        with memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)) as whole:
            for size in sizes:
                at = _up(at)
                parts.append(whole[at : at + size])
                at += size
        return pickle.loads(data, buffers=parts)


def _up(at: int) -> int:
    return -(-at // _ALIGNED) * _ALIGNED
