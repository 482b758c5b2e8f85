"""perf.data against ``perf script``: a recording made on the spot, repeated with shifted time."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.formats.perf_data import open_trace
from ingest.trace import Context

EVENTS = 5_000_000
LOAD = "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done"
SAMPLE, FORK, FIRST_OF_PERF = 9, 7, 64
FIELDS = "comm,tid,cpu,time,event,trace,ip,sym"


def record(path: Path) -> bool:
    """Record this machine (root only); whether that could be done."""
    command = ["perf", "record", "-q", "-a", "-g", "-m", "4096", "-e", "kmem:mm_page_alloc", "-e", "kmem:mm_page_free"]
    return (
        shutil.which("perf") is not None
        and subprocess.run(
            [*command, "-o", str(path), "--", "sh", "-c", LOAD], capture_output=True, check=False
        ).returncode
        == 0
    )


def repeat(source: Path, target: Path, events: int = EVENTS) -> int:
    """Write a recording again and again, each time later; how many events there are.

    For what `record` makes: samples begin with identifier, ip, tid and time; all else ends with tid, time, cpu and id.
    """
    data = np.fromfile(source, np.uint8)
    start, size = struct.unpack_from("<QQ", data, 40)
    places, samples, at = [], 0, start
    while at < start + size:
        kind, _, length = struct.unpack_from("<IHH", data, at)
        if kind == SAMPLE:
            places.append(at + 32)
            samples += 1
        elif kind < FIRST_OF_PERF:
            places += [at + length - 24] + [at + 24] * (kind == FORK)
        at += length
    words = data[start : start + size].view("<u8")
    where = (np.array(places) - start) // 8
    where = where[(words[where] > 0) & (words[where] < 1 << 62)]
    span = words[where].max() - words[where].min() + 1
    rounds = -(-events // samples)
    more = (rounds - 1) * size
    header = data[:start].copy()
    header[48:56].view("<u8")[:] = rounds * size
    features = data[start + size :].copy()
    count = sum(int(word).bit_count() for word in header[72:104].view("<u8"))
    features[: 16 * count].view("<u8")[::2] += np.uint64(more)
    with target.open("wb") as file:
        file.write(header.tobytes())
        for _ in range(rounds):
            file.write(words.tobytes())
            words[where] += span
        file.write(features.tobytes())
    return rounds * samples


def read_only(path: Path) -> Callable[[], None]:
    """Read a perf.data into Arrow tables, and no further; stacks stay numbers beside their list."""

    def work() -> None:
        trace = open_trace([path], Context(kallsyms=path.parent / "kallsyms"))
        for batch in trace.batches():
            columns = {name: np.ascontiguousarray(batch[name]) for name in batch.dtype.names}
            pa.table(
                {**columns, **{name: _texts(columns[name], getattr(trace, f"{name}s")) for name in ("comm", "gfp")}}
            )
        trace.close()

    return work


def _texts(numbers: np.ndarray, words: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers, mask=numbers < 0), pa.array(words, pa.string()))


def bench(
    folder: Path, median_s: Callable[..., float], ingest: Callable[[Path], Callable[[], None]]
) -> list[tuple[Any, ...]]:
    """Rows of a table: perf script with the fields that ptpool stores, ptpool into the warehouse, its reader alone."""
    folder.mkdir()
    once, path, text = folder / "once.data", folder / "perf.data", folder / "perf.script.txt"
    if not record(once):
        print("perf is not there, or may not record here: left out", file=sys.stderr)
        return []
    shutil.copy("/proc/kallsyms", folder / "kallsyms")
    events = repeat(once, path)

    def script() -> None:
        with text.open("wb") as stream:
            command = ["perf", "script", "-F", FIELDS, "-i", str(path)]
            subprocess.run(command, stdout=stream, stderr=subprocess.DEVNULL, check=True)

    perf = median_s(script, 1)
    size = path.stat().st_size / 1e6
    return [
        (f"perf.data, {events:,} events", title, spent, size / spent, perf / spent)
        for title, spent in (
            ("perf script, to text only", perf),
            ("ptpool, into the warehouse", median_s(ingest(path), warm=True)),
            ("ptpool, to Arrow batches only", median_s(read_only(path), warm=True)),
        )
    ]
