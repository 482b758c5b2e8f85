"""Replay on mutated machines: snapshots that were changed are imported, a machine is built from them, a strategy runs on it."""

import re
from functools import cache
from pathlib import Path

import pyarrow as pa
from mutations import NUMERIC
from target import CAPTURES, ROOT, Files, Target, dump, warehouse, write

from ingest.bundle import find_bundle
from ingest.importer import import_capture
from ptpool.warehouse import capture_row
from replay.contract.registry import find
from replay.demand.demand import load_demand
from replay.runs.one_run import replay_one
from replay.start.recorded_machine import drawn, read_machine

STRATEGIES = ("unprotected", "pba", "self-split", "small-reserve", "buddy-reserve")
_EVENTS = 250


def first_events(path: Path) -> bytes:
    """The first events of a trace of text, with their stacks, and without the line that says how many there are."""
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        text = bytes(stream.read(1 << 20))
    entries = re.sub(rb"# entries-in-buffer.*\n", b"", text).split(b": mm_page_")
    return b": mm_page_".join(entries[: _EVENTS + 1]).rpartition(b"\n")[0] + b"\n"


@cache
def bundles() -> list[Files]:
    """Small machines: two captures, and one whose free lists were read."""
    found = []
    for folder in (ROOT / "tests/data/oom-256m", CAPTURES / "sharedmem-frag-1g"):
        files = {f"before/{path.name}": path.read_bytes() for path in sorted((folder / "before").iterdir())}
        packed = files.pop("before/kpageflags.u64le.zst")
        files["before/kpageflags"] = pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read()
        files |= {name: (folder / name).read_bytes() for name in ("uname", "iomem", "ring_stats", "cpuinfo")}
        found.append(files | {"trace.txt": first_events(folder / "trace.txt.zst")})
    lists = {f"before/{name}": dump(name) for name in ("free_lists", "kpageflags", "vmstat", "zoneinfo")}
    found.append(lists | {"trace.txt": found[0]["trace.txt"], "uname": found[0]["uname"], "iomem": found[1]["iomem"]})
    return found


def changed(name: str) -> bool:
    """Everything but the trace, which has its own targets."""
    return name != "trace.txt"


def replay(files: Files, folder: Path, best_effort: bool) -> None:
    """Import the bundle, build its machine and replay its trace."""
    write(files, folder)
    connection, _ = warehouse()
    found = import_capture(
        connection, find_bundle([folder], "it", None), best_effort=best_effort, replace=True, quiet=True
    )
    capture = capture_row(connection, "it")
    demand = load_demand(connection, capture)
    machine = drawn(read_machine(connection, capture, demand), demand, 0)
    for entry in find([STRATEGIES[int(found.capture_id, 16) % len(STRATEGIES)]]):
        replay_one(machine, demand, entry.factory())


MACHINES = {"machines": Target(bundles, replay, changed, NUMERIC)}
