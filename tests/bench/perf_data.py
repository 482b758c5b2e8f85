"""perf.data against perf itself: a recording of this machine made on the spot (root only), repeated with shifted time."""

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import BARE, Row, bare_loop, median_s, ptpool_ingest, tell

from ingest.formats.perf_data import open_trace
from ingest.trace import Context

EVENTS = 5_000_000
LOAD = "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done"
SAMPLE, FORK, FIRST_OF_PERF = 9, 7, 64
FIELDS = "comm,tid,cpu,time,event,trace,ip,sym"
TITLE = f"perf.data against perf script -F {FIELDS} and perf kmem"
COLUMNS = ["file", "program", "seconds", "MB/s", "times ptpool"]


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


def perf(text: Path, *arguments: str | Path) -> Callable[[], None]:
    """Something that perf does, what it prints in a file."""

    def work() -> None:
        with text.open("wb") as stream:
            subprocess.run(["perf", *map(str, arguments)], stdout=stream, stderr=subprocess.DEVNULL, check=True)

    return work


def bench(folder: Path) -> list[Row]:
    """The binary file: both perf tools, ptpool into the warehouse, its reader alone; and the text of perf script."""
    once, path, text, printed = (folder / name for name in ("once.data", "perf.data", "perf.script.txt", "printed.txt"))
    if not record(once):
        tell("perf is not there, or may not record here: left out")
        return []
    shutil.copy("/proc/kallsyms", folder / "kallsyms")
    events = repeat(once, path)
    what, size = f"perf.data, {events:,} events", path.stat().st_size / 1e6
    ours = median_s(ptpool_ingest(path), warm=True)
    spent = [
        ("ptpool, into the warehouse", ours),
        ("ptpool, to Arrow batches only", median_s(read_only(path), warm=True)),
        (BARE, median_s(bare_loop(path), warm=True)),
        ("perf script, to text only", median_s(perf(printed, "script", "-F", FIELDS, "-i", path), 1)),
    ]
    try:
        spent.append(("perf kmem --page stat", median_s(perf(printed, "kmem", "-i", path, "--page", "stat"), 1)))
    except subprocess.CalledProcessError as error:
        tell(f"perf kmem cannot read the file (exit status {error.returncode}): left out")
    rows: list[Row] = [(what, title, seconds, size / seconds, seconds / ours) for title, seconds in spent]
    script = median_s(perf(text, "script", "-i", once))
    what, size = "text of perf script", text.stat().st_size / 1e6
    ours = median_s(ptpool_ingest(text), warm=True)
    rows.append((what, "ptpool, into the warehouse", ours, size / ours, 1.0))
    return [*rows, (what, "perf script, writing it", script, size / script, script / ours)]
