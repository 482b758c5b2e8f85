"""``make bench``: how fast ptpool reads and replays, beside what a user would otherwise run, as ratios in one run.

Each figure is the median of a few runs in this process, after one that compiles. Programs that are not installed are
left out and named. Files are read uncompressed from a temporary folder, so that all read the same bytes.
"""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import perf_data
import polars as pl
import pyarrow as pa
from repeat_trace_dat import repeat

from ingest.bundle import find_bundle
from ingest.importer import import_capture
from ptpool.options import aligned
from ptpool.warehouse import capture_names, capture_row, open_warehouse
from replay import stretch
from replay.demand import Demand, load_demand
from replay.initial.state import recorded_machine
from replay.one_run import replay_one
from replay.registry import strategies

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
EXCERPT = Path(__file__).parents[1] / "ingest" / "trace_dat" / "build-2g-excerpt.dat"
REPEATS = 3
REPLAY_EVENTS = 5_000_000
TEXT_BYTES = 300_000_000  # so that opening the warehouse does not count

FTRACE = re.compile(
    rb"^\s*(?P<comm>.+)-(?P<pid>\d+)\s+(?:\([\s\d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:\S+\s+)?(?P<ts>\d+\.\d+): (?P<event>mm_page_\w+): "
    rb"page=\S+ pfn=(?P<pfn>\S+) order=(?P<order>\d+)(?: migratetype=(?P<mt>\d+))?(?: gfp_flags=(?P<gfp>\S+))?"
)
PERF = re.compile(
    rb"^(?P<comm>.+?)\s+(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<ts>\d+\.\d+): kmem:(?P<event>mm_page_\w+): "
    rb"page=\S+ pfn=(?P<pfn>\S+) order=(?P<order>\d+)(?: migratetype=(?P<mt>\d+))?(?: gfp_flags=(?P<gfp>\S+))?"
)


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


def unpack(source: Path, target: Path, *, stacks: bool) -> None:
    """Decompress a trace to `TEXT_BYTES` of text, repeating it; without stacks, only its event lines."""
    with pa.input_stream(str(source), compression="zstd") as stream:
        text = stream.read()
    if not stacks:
        kept = [line for line in text.splitlines(keepends=True) if b" mm_page_" in line or b":mm_page_" in line]
        text = b"".join(kept)
    with target.open("wb") as stream:
        for _ in range(-(-TEXT_BYTES // len(text))):
            stream.write(text)


def ptpool_ingest(path: Path) -> Callable[[], None]:
    """Import into a new warehouse, committed and closed."""

    def work() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_warehouse(Path(folder) / "bench.duckdb", write=True) as connection,
        ):
            import_capture(connection, find_bundle([path], None, None), quiet=True)

    return work


def python_re(path: Path, pattern: re.Pattern[bytes], *, stacks: bool) -> Callable[[], None]:
    """The script that everybody writes: one regular expression a line, frames appended to the last event."""

    def work() -> None:
        rows: list[tuple[Any, ...]] = []
        frames: list[list[bytes]] = []
        with path.open("rb") as stream:
            for line in stream:
                if match := pattern.match(line):
                    rows.append(match.groups())
                    frames.append([])
                elif stacks and frames and line.startswith((b"\t", b" =>")):
                    frames[-1].append(line.split()[1])

    return work


def polars_regex(path: Path, pattern: re.Pattern[bytes], *, stacks: bool) -> Callable[[], None]:
    """The columnar way: extract_groups on every line; frames joined to the event above them."""
    text = pattern.pattern.decode()

    def work() -> None:
        lines = pl.read_csv(
            path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"], encoding="utf8-lossy"
        )
        if stacks:
            is_event = pl.col("line").str.contains("mm_page_", literal=True)
            lines = lines.with_columns(nth=is_event.cum_sum(), is_event=is_event)
            events = lines.filter("is_event")
            frames = (
                lines.filter(~pl.col("is_event") & pl.col("line").str.contains(r"^(\t| =>)"))
                .with_columns(frame=pl.col("line").str.extract(r"^\s*\S+\s+(\S+)"))
                .group_by("nth", maintain_order=True)
                .agg("frame")
            )
            events = events.with_columns(pl.col("line").str.extract_groups(text).alias("fields")).unnest("fields")
            events.join(frames, on="nth", how="left")
        else:
            lines.select(pl.col("line").str.extract_groups(text).alias("fields")).unnest("fields")

    return work


def bench_ingest(folder: Path) -> list[tuple[Any, ...]]:
    """Text ingest of two captures, with and without their stacks, against the ways people do it today."""
    rows = []
    for name, file, pattern in (
        ("sharedmem-frag-1g", "trace.txt.zst", FTRACE),
        ("server-16g", "perf.script.txt.zst", PERF),
    ):
        for stacks in (True, False):
            path = folder / f"{name}-{'stacks' if stacks else 'events'}.txt"
            unpack(CAPTURES / name / file, path, stacks=stacks)
            size = path.stat().st_size / 1e6
            ours = median_s(ptpool_ingest(path), 5, warm=True)
            what = f"{name}, {'with' if stacks else 'without'} stacks"
            rows.append((what, "ptpool, into the warehouse", ours, size / ours, 1.0))
            for title, other in (
                ("polars extract_groups", polars_regex(path, pattern, stacks=stacks)),
                ("Python re", python_re(path, pattern, stacks=stacks)),
            ):
                spent = median_s(other)
                rows.append((what, title, spent, size / spent, spent / ours))
                print(f"{what}: {title} {spent / ours:.1f}x", file=sys.stderr)
    return rows + bench_trace_dat(folder) + bench_perf(folder)


def bench_trace_dat(folder: Path) -> list[tuple[Any, ...]]:
    """trace.dat of five million page events, as trace-cmd compresses it, against ``trace-cmd report`` to a file."""
    data, text = folder / "trace.dat", folder / "report.txt"
    repeat(EXCERPT, data, 30_200)
    ours = median_s(ptpool_ingest(data), warm=True)
    what, size = "trace.dat, 5.0 M page events", data.stat().st_size / 1e6
    rows = [(what, "ptpool, into the warehouse", ours, size / ours, 1.0)]
    if shutil.which("trace-cmd") is None:
        print("trace-cmd is not there: left out", file=sys.stderr)
        return rows

    def report() -> None:
        with text.open("wb") as stream:
            subprocess.run(
                ["trace-cmd", "report", "-i", str(data)], stdout=stream, stderr=subprocess.DEVNULL, check=True
            )

    spent = median_s(report, 1)
    return [*rows, (what, "trace-cmd report, to text only", spent, size / spent, spent / ours)]


def bench_perf(folder: Path) -> list[tuple[Any, ...]]:
    """``perf script`` against ptpool reading its text, on a recording of this machine made now (root only, kept nowhere)."""
    data, text = folder / "perf.data", folder / "perf.script.txt"
    record = [
        "perf",
        "record",
        "-q",
        "-a",
        "-g",
        "-e",
        "kmem:mm_page_alloc",
        "-e",
        "kmem:mm_page_free",
        "-o",
        str(data),
    ]
    load = ["--", "sh", "-c", "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done"]
    if shutil.which("perf") is None or subprocess.run([*record, *load], capture_output=True, check=False).returncode:
        print("perf is not there, or may not record here: left out", file=sys.stderr)
        return []

    def script() -> None:
        with text.open("wb") as stream:
            subprocess.run(["perf", "script", "-i", str(data)], stdout=stream, stderr=subprocess.DEVNULL, check=True)

    spent = median_s(script, 1)
    ours = median_s(ptpool_ingest(text), warm=True)
    what, size = "this machine, perf record -g", text.stat().st_size / 1e6
    return [
        (what, "ptpool, into the warehouse", ours, size / ours, 1.0),
        (what, "perf script, to text only", spent, size / spent, spent / ours),
    ]


def repeated(demand: Demand, events: int) -> Demand:
    """The demand again and again, one after the other; what is alive at the end of a round is freed first."""
    program = demand.program
    stays = program.op != stretch.MOVE  # a move gives a page a name that only one round can have
    program = stretch.Program(*(column[stays] for column in program))
    alive = np.zeros(demand.pages, np.bool_)
    for op, pfn, order in zip(program.op, program.pfn, program.order, strict=True):
        if op != stretch.OUTSIDE_CHANGE:
            alive[pfn : pfn + (1 << int(order))] = op == stretch.ALLOC
    pages = np.flatnonzero(alive)
    closing = stretch.Program(
        op=np.full(len(pages), stretch.FREE_EVENT, np.uint8),
        ts=np.full(len(pages), demand.last_ns, np.int64),
        pfn=pages,
        order=np.zeros(len(pages), np.int8),
        migratetype=np.zeros(len(pages), np.uint8),
        context=np.zeros(len(pages), np.uint16),
        consumer=np.zeros(len(pages), np.uint8),
        cpu=np.zeros(len(pages), np.int16),
        task=np.zeros(len(pages), np.int32),
    )
    rounds = -(-events // (len(program.op) + len(pages)))
    span = demand.last_ns - demand.first_ns + 1
    columns = {}
    for field in stretch.Program._fields:
        one = np.concatenate([getattr(program, field), getattr(closing, field)])
        columns[field] = np.tile(one, rounds)
        if field == "ts":
            columns[field] += np.repeat(np.arange(rounds) * span, len(one))
    last = demand.first_ns + rounds * span
    return replace(demand, program=stretch.Program(**columns), last_ns=last)


def bench_replay(folder: Path) -> list[tuple[Any, ...]]:
    """Every strategy on every capture, repeated to five million events, all metrics on."""
    rows = []
    with open_warehouse(folder / "replay.duckdb", write=True) as connection:
        for name in ("sharedmem-8g", "sharedmem-frag-1g", "server-16g"):
            import_capture(connection, find_bundle([CAPTURES / name], None, None), quiet=True)
        for name in capture_names(connection):
            once = load_demand(connection, capture_row(connection, name))
            machine = recorded_machine(connection, capture_row(connection, name), once)
            demand = repeated(once, REPLAY_EVENTS)
            for entry in strategies().values():
                replay_one(machine, once, entry.factory())
                spent = median_s(partial(replay_one, machine, demand, entry.factory()))
                events = len(demand.program.op)
                rows.append((name, entry.name, events, spent, events / spent / 1e6))
                print(f"{name}, {entry.name}: {events / spent / 1e6:.1f} M events/s", file=sys.stderr)
    return rows


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        replay = bench_replay(folder)
        ingest = bench_ingest(folder)
        binary = perf_data.bench(folder / "perf-data", median_s, ptpool_ingest)
    print("Replay (set-up, warm-up, replay and results; median of 3)\n")
    columns = ["capture", "strategy", "events", "seconds", "M events/s"]
    print(aligned(columns, [(*row[:3], round(row[3], 2), round(row[4], 2)) for row in replay]))
    print("\nText ingest (ptpool: read, classified and committed to DuckDB; the others: parsed only)\n")
    columns = ["file", "program", "seconds", "MB/s", "times ptpool"]
    print(
        aligned(columns, [(*row[:2], round(row[2], 3), row[3] and round(row[3]), round(row[4], 1)) for row in ingest])
    )

    print(f"\nperf.data against perf script -F {perf_data.FIELDS} (which writes text to a file)\n")
    columns = ["file", "program", "seconds", "MB/s", "times perf script"]
    print(aligned(columns, [(*row[:2], round(row[2], 3), round(row[3]), round(row[4], 1)) for row in binary]))


if __name__ == "__main__":
    main()
