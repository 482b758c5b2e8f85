"""What every part of ``make bench`` measures with."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ingest.bundle import find_bundle
from ingest.importer import import_capture
from ingest.source import BLOCK
from ptpool.compiled import compiled
from ptpool.warehouse import open_warehouse

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
REPEATS = 3
BARE = "bare loop over the bytes"

Row = tuple[Any, ...]


def median_s(work: Callable[[], Any], repeats: int = REPEATS, *, warm: bool = False) -> float:
    """Median wall-clock seconds of some work; `warm` runs it once before."""
    if warm:
        work()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def ptpool_ingest(path: Path) -> Callable[[], None]:
    """Import into a new warehouse, committed and closed."""

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            import_into(Path(folder) / "bench.duckdb", path)

    return work


def import_into(db: Path, path: Path) -> None:
    """Import a trace into a warehouse."""
    with open_warehouse(db, write=True) as connection:
        import_capture(connection, find_bundle([path], None, None), quiet=True)


def bare_loop(path: Path) -> Callable[[], None]:
    """Read a file and count its lines: what any program that looks at every byte needs at least."""

    def work() -> None:
        block = np.empty(BLOCK, np.uint8)
        with path.open("rb", buffering=0) as stream:
            while got := stream.readinto(block):
                _lines(block[:got])

    return work


@compiled
def _lines(block: Any) -> Any:
    lines = 0
    for place in range(block.shape[0]):
        lines += block[place] == 10
    return lines


def tell(line: str) -> None:
    """Something that is known already, while the rest is measured."""
    print(line, file=sys.stderr, flush=True)
