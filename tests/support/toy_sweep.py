"""A tiny capture, a sweep over it that takes a second, and what a warehouse holds of it afterwards."""

import os
import signal
import subprocess
import sys
import time

from ptpool.cli import run
from ptpool.warehouse import open_warehouse

SPEC = """
[[grid]]
strategy = ["unprotected", "pba", "pte-mapped", "full-reserve"]
machine = "64M"
seed = [0, 1, 2, 3]

[[grid]]
strategy = "pba"
machine = "64M"
inject = 0
seed = [0, 1, 2, 3]
set.reserve = [1, 4, 16, 64]
"""
RUNS = 4 * 4 + 4 * 3
_RESULTS = {
    "run": "* EXCLUDE (is_default, metrics_only)",
    "run_metric": "*",
    "run_order": "*",
    "sweep": "*",
}


def trace_line(nth, event):
    return f"   bash-{70 + nth % 3}    [000] .....     1.{nth:06}: {event}"


def tiny_trace(first_pfn=0x100):
    """Page tables (by stack) and other pages, some of them freed."""
    lines = []
    for nth in range(400):
        page = f"page=00000000b13f5c46 pfn={first_pfn + nth % 150:#x} order=0"
        if nth % 300 < 150:
            lines.append(
                trace_line(nth, f"mm_page_alloc: {page} migratetype=0 gfp_flags=GFP_KERNEL_ACCOUNT|__GFP_ZERO")
            )
            if nth % 2:
                lines += [trace_line(nth, "<stack trace>"), " => alloc_pages", " => pte_alloc_one", " => __pte_alloc"]
        else:
            lines.append(trace_line(nth, f"mm_page_free: {page}"))
    return "\n".join(lines) + "\n"


def import_tiny(folder):
    """A warehouse with that capture, with the specification next to it."""
    (folder / "tiny.txt").write_text(tiny_trace())
    (folder / "grid.toml").write_text(SPEC)
    path = folder / "captures.duckdb"
    assert run(["ingest", "trace", str(folder / "tiny.txt"), "--quiet", "--db", str(path)]) == 0
    return path


def sweep_of(captures, path, *options, jobs=1):
    spec = str(captures.with_name("grid.toml"))
    return ["replay", "sweep", spec, "--jobs", str(jobs), "--quiet", "--db", str(path), *options]


def rows(path, query, *folders):
    with open_warehouse(path, folders=folders) as connection:
        return connection.execute(query).fetchall()


def results(path):
    return {table: rows(path, f"SELECT {columns} FROM {table} ORDER BY ALL") for table, columns in _RESULTS.items()}


def shards_in(folder):
    """Finished runs, and when each was written."""
    return {shard: shard.stat().st_mtime_ns for shard in folder.glob("*/*.parquet")}


def start(command, **environment):
    """A process with a group of its own, which all that it starts belong to."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_shards(folder, many, running=lambda: True):
    """Wait until so many runs have finished, as long as something is running, and two minutes at most."""
    until = time.monotonic() + 120
    while len(shards_in(folder)) < many and running():
        assert time.monotonic() < until, f"no {many} runs finished"
        time.sleep(0.002)


def kill(process):
    """End it as the kernel would, out of memory."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def goes_on(swept, command, path, out):
    """The same command makes the rest, leaves alone what was there, and ends with the same tables."""
    before = shards_in(out)
    assert run(command) == 0
    after = shards_in(out)
    assert {shard: after[shard] for shard in before} == before
    assert len(after) == RUNS
    assert sorted(item.name for item in out.iterdir() if item.is_file()) == [".lock", "manifest.json"]
    assert results(path) == results(swept)
