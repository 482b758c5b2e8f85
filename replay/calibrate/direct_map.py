"""The real thing: the same kernel-heavy work with the direct map in large pages and all in 4K ones, in turn.

It takes root and the module ``data/lab/module/direct_map.c``, which changes the map of a running machine.
"""

import mmap
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptpool.errors import UsageError
from replay.calibrate.estimate import Estimate, estimate

SWITCH = Path("/sys/kernel/debug/ptpool/pages")
LARGE, SMALL = "large", "4K"
REPETITIONS = 15

_REMEDY = "as root: build and insmod data/lab/module/direct_map.c (docs/calibration.md), mount debugfs"


@dataclass(frozen=True)
class Workload:
    """One workload on either map.

    Attributes:
        name: what was run.
        large_ns: one repetition with the map in large pages, ns.
        small_ns: one with the map all in 4K pages.
        slower_pct: how much longer the second takes, per cent.
    """

    name: str
    large_ns: Estimate
    small_ns: Estimate
    slower_pct: Estimate


def check(switch: Path = SWITCH) -> None:
    """Whether the module is there and may be used.

    Raises:
        UsageError: it is not.
    """
    try:
        with switch.open("r+", encoding="utf-8") as file:
            known = file.read().strip() in (LARGE, SMALL)
    except PermissionError as error:
        raise UsageError(f"{switch}: only root may change the direct map", _REMEDY) from error
    except OSError as error:
        raise UsageError(f"{switch}: the module direct_map is not loaded", _REMEDY) from error
    if not known:
        raise UsageError(f"{switch}: not the switch of the module direct_map", _REMEDY)


def measure(memory: int, step: Callable[[float], None], switch: Path = SWITCH) -> list[Workload]:
    """Run every workload on either map in turn; the map is as it was when this is over.

    Args:
        memory: bytes of page cache to read from.
        step: told the share that is done.
        switch: the module's file.
    """
    with _reads(memory) as reads:
        return compare({"random reads of page cache": reads, "programs started": _programs}, step, switch)


def compare(workloads: Mapping[str, Callable[[], None]], step: Callable[[float], None], switch: Path) -> list[Workload]:
    """Time workloads on either map, which map first changing from one repetition to the next."""
    before = switch.read_text(encoding="utf-8").strip()
    taken: dict[tuple[str, str], list[float]] = {(name, pages): [] for name in workloads for pages in (LARGE, SMALL)}
    try:
        for repetition in range(REPETITIONS):
            for pages in (LARGE, SMALL) if repetition % 2 else (SMALL, LARGE):
                switch.write_text(pages, encoding="utf-8")
                for name, run in workloads.items():
                    run()  # once for the caches, which the other map has left cold
                    begun = time.perf_counter_ns()
                    run()
                    taken[name, pages].append(time.perf_counter_ns() - begun)
            step((repetition + 1) / REPETITIONS)
    finally:
        switch.write_text(before, encoding="utf-8")
    found = []
    for name in workloads:
        large, small = taken[name, LARGE], taken[name, SMALL]
        slower = [100 * (small_ns / large_ns - 1) for small_ns, large_ns in zip(small, large, strict=True)]
        found.append(Workload(name, estimate(large), estimate(small), estimate(slower)))
    return found


@contextmanager
def _reads(memory: int) -> Iterator[Callable[[], None]]:
    """20,000 reads of 64 bytes from places drawn at random: the kernel copies each through the direct map."""
    file = os.memfd_create("ptpool")
    try:
        os.ftruncate(file, memory)
        page = bytes(mmap.PAGESIZE)
        for offset in range(0, memory, mmap.PAGESIZE):
            os.pwrite(file, page, offset)
        draw = random.Random(1)
        places = [draw.randrange(memory // 64) * 64 for _ in range(20_000)]

        def run() -> None:
            for place in places:
                os.pread(file, 64, place)

        yield run
    finally:
        os.close(file)


def _programs() -> None:
    """Twenty programs that do nothing: their page tables, stacks and files are the kernel's work."""
    for _ in range(20):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
