"""Folders of per_cpu/cpuN/trace_pipe_raw, as tracefs calls its files."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ring_buffer_writer import Entry, Machine

from ingest.bundle import find_bundle
from ingest.trace import Context
from ptpool.errors import UsageError
from ptpool.vocabulary import KINDS

FRAMES = (0xFFFFFFFF81001000, 0xFFFFFFFF81002000)


def folder(where: Path, machine: Machine) -> Path:
    """A bundle with two CPUs."""
    cpus = {
        0: [Entry(1000, "alloc", pfn=7, gfp=0xCC0), Entry(1010, "stack", frames=FRAMES), Entry(3000, "free", pfn=7)],
        10: [Entry(1500, "other", pid=2), Entry(2000, "alloc", pid=2, pfn=9, order=1)],
        2: [],
    }
    files = {f"per_cpu/cpu{cpu}/trace_pipe_raw": machine.pages(entries) for cpu, entries in cpus.items()}
    for name in machine.ids:
        system = "kmem" if name.startswith("mm_") else "ftrace" if name == "kernel_stack" else "sched"
        files[f"events/{system}/{name}/format"] = machine.format(name).encode()
    files["events/header_page"] = machine.header_page().encode()
    files["saved_cmdlines"] = b"2 two words\n"
    files["trace_clock"] = b"local global [mono]\n"
    files["kallsyms.gz"] = gzip.compress(b"ffffffff81001000 T __alloc_pages\nffffffff81002000 T __pte_alloc\n")
    for name, data in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_bytes(data)
    return where


def read(where: Path) -> tuple[list[tuple[Any, ...]], Any]:
    bundle = find_bundle([where], None, None)
    assert bundle.format.name == "trace-pipe-raw"
    trace = bundle.format.open_trace(bundle.traces, Context(kallsyms=bundle.kallsyms))
    try:
        return [
            (ts, cpu, trace.comms[comm], KINDS[kind], pfn, trace.stacks[stack] if stack >= 0 else None)
            for batch in trace.batches()
            for ts, pfn, _, comm, _, stack, cpu, kind, *_ in batch.tolist()
        ], trace.found
    finally:
        trace.close()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("long", [4, 8])
def test_read(big: bool, long: int, tmp_path: Path) -> None:
    rows, found = read(folder(tmp_path, Machine(big=big, long=long, page=16384)))
    stack = ("__alloc_pages", "__pte_alloc") if long == 8 else ("0x81001000", "0x81002000")
    assert rows == [
        (1000, 0, "<...>", "alloc", 7, stack),
        (2000, 10, "two words", "alloc", 9, None),
        (3000, 0, "<...>", "free", 7, None),
    ]
    assert (found.first_ns, found.counts["other_events"]) == (1000, 1)


def test_import(tmp_path: Path, ingest: Callable[..., int], query: Callable[..., list[tuple[Any, ...]]]) -> None:
    bundle = folder(tmp_path / "mine", Machine())
    (bundle / "ring_stats").write_text("== cpu10\noverrun: 3\n")
    assert ingest(bundle) == 0
    assert query("SELECT name, format, clock, cpus, events, lost_events FROM capture") == [
        ("mine", "trace-pipe-raw", "mono", 11, 3, 3)
    ]
    assert query("SELECT level::VARCHAR FROM page_event WHERE kind = 'alloc' ORDER BY seq") == [("pte",), (None,)]
    (bundle / "saved_cmdlines").write_text("2 renamed\n")
    assert ingest(bundle) == 2  # another capture, for the names are part of it


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("events/header_page", None, "No such file"),
        ("events/header_page", "damaged", "header_page does not say"),
        ("events/kmem/mm_page_alloc/format", "damaged", "no event format"),
        ("trace_clock", "[counter] local", "counts of the clock counter"),
        ("per_cpu/cpu0/trace_pipe_raw", "short", "last page is cut off"),
    ],
)
def test_damage_is_named(name: str, text: str | None, says: str, tmp_path: Path) -> None:
    bundle = folder(tmp_path, Machine())
    (bundle / name).unlink()
    if text is not None:
        (bundle / name).write_text(text)
    with pytest.raises(UsageError, match=says):
        read(bundle)
