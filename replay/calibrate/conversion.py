"""What a permission change costs: page faults that take their page out of the direct map, compared with others.

A fault of ``memfd_secret`` memory does what one of ``memfd`` memory does, then makes its page invalid in the direct map
and flushes it from the TLBs (mm/secretmem.c:secretmem_fault, 6.18). The difference is one permission change with its
flush, and with a split where the page is still mapped by a large leaf.
"""

import ctypes
import errno
import mmap
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from replay.calibrate.estimate import Measured, Value, value

REPETITIONS = 21
PAGES = 256
_MEMFD_SECRET = 447  # the same number on every architecture since 5.14 (include/uapi/asm-generic/unistd.h)
_SPIN = """import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass"""


def measure(step: Callable[[float], None]) -> Measured:
    """Measure with none to all of the other CPUs busy.

    Args:
        step: called with the share that is done.
    """
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    pages = PAGES if limit == resource.RLIM_INFINITY else min(PAGES, limit // mmap.PAGESIZE)
    if pages < 16:
        return Measured([], [f"only {limit >> 10} KiB may be locked, as secret memory is: raise ulimit -l; {_NOT}"])
    try:
        os.close(secret_memory())
    except OSError as error:
        why = "this kernel has no memfd_secret, or it is off (secretmem.enable=1 at boot switches it on)"
        said = why if error.errno == errno.ENOSYS else f"memfd_secret: {error.strerror}"
        return Measured([], [f"{said}; {_NOT}"])
    cpus = sorted(os.sched_getaffinity(0))
    splits = _splits()
    with _pinned(cpus[0]), _spinners(cpus[1:]) as keep_busy:

        def take(busy: int, secret: bool) -> float:
            keep_busy(busy)
            return fault_ns(secret_memory() if secret else os.memfd_create("ptpool"), pages)

        try:
            busy = counts(len(cpus) - 1)
            found = price(busy, take, step)
        except OSError as error:
            return Measured([], [f"faults of secret memory: {error.strerror}; {_NOT}"])
    after = _splits()
    if splits is None or after is None:
        return Measured(found, [])
    faults = REPETITIONS * len(busy) * pages
    return Measured(found, [f"{after - splits:,} splits of the direct map in {faults:,} faults of secret memory"])


_NOT = "the price of a permission change was not measured"


def counts(others: int) -> list[int]:
    """Numbers of CPUs to keep busy: none, then powers of two, then all others."""
    return sorted({0, others, *(1 << n for n in range(others.bit_length()))})


def price(busy: Sequence[int], take: Callable[[int, bool], float], step: Callable[[float], None]) -> list[Value]:
    """Measure all numbers of busy CPUs in turn, again and again; secret and plain memory take turns to come first.

    Args:
        busy: numbers of busy CPUs.
        take: measures a fault, ns, with so many CPUs busy, of secret or of plain memory.
        step: called with the share that is done.

    Returns:
        By number of busy CPUs, a fault of memory that leaves the direct map, one of memory that stays in it, and the
        difference, which is one permission change.
    """
    taken: dict[tuple[int, bool], list[float]] = {(n, secret): [] for n in busy for secret in (False, True)}
    for repetition in range(REPETITIONS):
        for n in busy:
            for secret in (False, True) if repetition % 2 else (True, False):
                taken[n, secret].append(take(n, secret))
        step((repetition + 1) / REPETITIONS)
    found = []
    for n in busy:
        left, stayed = taken[n, True], taken[n, False]
        longer = [secret_ns - plain_ns for secret_ns, plain_ns in zip(left, stayed, strict=True)]
        for quantity, draws in (("secret_fault", left), ("plain_fault", stayed), ("permission_change", longer)):
            found.append(value(quantity, "ns", draws, busy=n))
    return found


def secret_memory() -> int:
    """A file of secret memory.

    Raises:
        OSError: the kernel gives none (ENOSYS: it does not have the call, or it is off).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    file = int(libc.syscall(_MEMFD_SECRET, 0))
    if file < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return file


def fault_ns(file: int, pages: int) -> float:
    """Touch `pages` new pages of a file and close it.

    Returns:
        The median time of a first touch, ns, less that of a second one.
    """
    try:
        os.ftruncate(file, pages * mmap.PAGESIZE)
        with mmap.mmap(file, pages * mmap.PAGESIZE) as area:
            first, again = _touched(area, pages), _touched(area, pages)
    finally:
        os.close(file)
    return float(np.median(first) - np.median(again))


def _touched(area: mmap.mmap, pages: int) -> list[int]:
    taken = []
    clock = time.perf_counter_ns
    for offset in range(0, pages * mmap.PAGESIZE, mmap.PAGESIZE):
        begun = clock()
        area[offset] = 1
        taken.append(clock() - begun)
    return taken


@contextmanager
def _pinned(cpu: int) -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def _spinners(cpus: Sequence[int]) -> Iterator[Callable[[int], None]]:
    """Start a stopped process for each CPU; yields a function that lets a given number of them run."""
    spinners: list[subprocess.Popen[bytes]] = []
    running = 0

    def keep_busy(wanted: int) -> None:
        nonlocal running
        for spinner in spinners[wanted:running]:
            spinner.send_signal(signal.SIGSTOP)
        for spinner in spinners[running:wanted]:
            spinner.send_signal(signal.SIGCONT)
        if wanted != running:
            time.sleep(0.002)
        running = wanted

    try:
        for cpu in cpus:
            command = [sys.executable, "-I", "-S", "-c", _SPIN, str(cpu)]
            spinner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            spinners.append(spinner)
            if spinner.stdout:
                spinner.stdout.readline()
            spinner.send_signal(signal.SIGSTOP)
        yield keep_busy
    finally:
        for spinner in spinners:
            with spinner:
                spinner.kill()


def _splits() -> int | None:
    """Splits of the direct map since boot; None if the kernel does not count them."""
    lines = Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()
    counted = [int(line.split()[1]) for line in lines if line.startswith("direct_map_level") and "splits" in line]
    return sum(counted) if counted else None
