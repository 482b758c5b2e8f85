"""The lab's kernel with pools: its module has the strategies that the replay has, its tables name things that are there,
and the runs in data/pools are whole. The kernel itself is built by hand (data/lab/pools/README.md)."""

import csv
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from replay.contract.registry import find
from replay.contract.strategy import Strategy
from replay.kernel.geometry import X86_64

DATA = Path(__file__).parents[1] / "data"
POOLS = DATA / "lab" / "pools"
MODULE = sorted((POOLS / "module").glob("*.[ch]"))
RUNS = sorted(path.parent for path in (DATA / "pools").glob("*/run.json"))
NEED_THE_ALLOCATOR = {"oracle", "migrate-unmapped", "freetype", "generic", "generic-separate"}
"""Bounds, and strategies that change the page allocator itself."""


def table(name):
    with (POOLS / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(None not in row and None not in row.values() for row in rows)
    return rows


def strategies():
    """Of the module: name and default parameters, as text."""
    source = "".join(path.read_text(encoding="utf-8") for path in MODULE)
    found = re.findall(r'\.name = "([\w-]+)",\s*\.parameters = "([^"]*)"', source)
    return {name: dict(pair.split("=") for pair in text.split()) for name, text in found}


def text_of(value):
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(int(value))


def test_the_module_has_every_strategy_that_a_kernel_can_carry():
    assert set(strategies()) == {entry.name for entry in find(["all"])} - NEED_THE_ALLOCATOR


@pytest.mark.parametrize("name", sorted(strategies()))
def test_a_strategy_has_its_twins_parameters(name):
    common = {field.name for field in dataclasses.fields(Strategy)}
    common |= {"seeks", "toggles", "pte_writes", "page_by_page", "secrets"}  # the module has one variant of these
    twin = find([name])[0].factory().on(X86_64)
    if hasattr(twin, "mutex"):  # the module's default is without; every run says which it was
        twin = dataclasses.replace(twin, mutex=False)
    assert strategies()[name] == {
        field.name: text_of(getattr(twin, field.name)) for field in dataclasses.fields(twin) if field.name not in common
    }


SOURCES = [
    *(*MODULE, POOLS / "module" / "Kbuild", POOLS / "hooks.patch", POOLS / "config"),
    *sorted((POOLS / "guest").glob("*.c")),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_source_names_its_licence_and_needs_no_map(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    licence = "Apache-2.0" if path.parent.name == "guest" else "GPL-2.0"
    assert lines[0].strip("/*# ") == f"SPDX-License-Identifier: {licence}"
    assert len(lines) <= 450


def test_pool_functions_that_allocate_or_free_can_be_told_from_others():
    """`bundle.py` leaves out what these did; a call elsewhere would count as the kernel's demand."""
    for path in MODULE:
        if path.suffix == ".h" or path.name == "fragment.c":  # which runs before the trace does
            continue
        function = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.match(r"^[a-z].*\(.*\)$", line):
                function = line
            if re.search(r"\b(alloc_pages|__free_pages?)\(", line):
                assert re.search(r"\bnoinline\b.*\bptpools_\w+\(", function), f"{path.name}: {function}"


def test_workloads_and_fragmentations_can_be_read():
    known = set(re.findall(r'\{ "(\w+)", \d+ \}', (POOLS / "guest" / "work.c").read_text(encoding="utf-8")))
    for row in table("workloads.csv"):
        assert row["threads"] in ("single", "multi")
        assert all(int(row[name]) > 0 for name in ("memory_mib", "cpus", "buffer_kib"))
        assert {pair.partition("=")[0] for pair in row["arguments"].split("+")} <= known - {"seed"}
    source = (POOLS / "guest" / "wear.c").read_text(encoding="utf-8")
    arguments = set(re.findall(r'strncmp\(argv\[i\], "(\w+)=", ', source))
    kinds = set(re.findall(r'"(\w+)"', re.search(r"kinds\[\] = \{(.*?)\}", source)[1]))
    for row in table("fragmentations.csv"):
        pairs = dict(pair.split("=", 1) for pair in row["wear"].split("+") if pair)
        assert set(pairs) <= arguments - {"seed"}
        assert {kind.partition(":")[0] for kind in pairs.get("kinds", "").split(";") if kind} <= kinds


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("path", [*sorted(POOLS.glob("*.sh")), POOLS / "guest" / "init"], ids=lambda path: path.name)
def test_scripts_parse_and_can_be_run(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False).stderr == ""
    assert os.access(path, os.X_OK)


def script(name):
    spec = importlib.util.spec_from_file_location(name, POOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pools_own_events_are_left_out(tmp_path):
    bundle = script("bundle")
    alloc = "work-7 [00{cpu}] ..... 1.{at}: mm_page_alloc: page=00 pfn={pfn} order={order} migratetype=0 gfp_flags=GFP_KERNEL\n"
    stack = "work-7 [00{cpu}] ..... 1.{at}: <stack trace>\n"
    refill = (
        " => trace_event_raw_event_mm_page_alloc\n => __alloc_pages_noprof\n => ptpools_first_free\n => pool_alloc\n"
    )
    table = " => ptp_alloc\n => __pte_alloc\n => ptpools_first_free\n"  # below a caller that is the kernel's
    extfrag = "work-7 [001] ..... 1.1: mm_page_alloc_extfrag: page=00 pfn=0x40 alloc_order=2\n"
    trace = tmp_path / "trace.txt"
    trace.write_text(
        "# tracer: nop\n"
        + alloc.format(cpu=0, at=0, pfn="0x10", order=0) + extfrag
        + alloc.format(cpu=1, at=1, pfn="0x40", order=2) + stack.format(cpu=0, at=0) + table
        + stack.format(cpu=1, at=1) + refill
    )  # fmt: skip
    done = bundle.without_pool(trace, "2")
    assert (done.events, dict(done.left_out)) == (1, {"ptpools_first_free mm_page_alloc order 2": 1})
    lines = trace.read_text().splitlines()
    assert lines[2].endswith("2/2   #P:2") and "pfn=0x10" in lines[4] and "extfrag" not in trace.read_text()


def test_a_table_stands_where_it_was_asked_for(tmp_path):
    bundle = script("bundle")
    event = "work-{pid} [00{cpu}] ..... 1.00{at}0: mm_page_alloc: page=00 pfn={pfn} order=0\n"
    stack = "work-{pid} [00{cpu}] ..... 1.00{at}1: <stack trace>\n => trace_event_raw_event_mm_page_alloc\n"
    asks, table = " => ptp_asked\n => ptpools_asks\n => pool_alloc\n", " => ptp_alloc\n => __pte_alloc\n"
    other = " => __alloc_pages_noprof\n => shmem_alloc_folio\n"
    told = ((7, 0, 1, "0x0", asks), (8, 0, 2, "0x0", asks), (9, 1, 3, "0x30", table), (7, 1, 4, "0x40", other),
            (7, 1, 5, "0x50", table), (7, 1, 6, "0x60", table))  # fmt: skip
    trace = tmp_path / "trace.txt"
    trace.write_text("".join((event + stack + frames).format(pid=p, cpu=c, at=t, pfn=f) for p, c, t, f, frames in told))
    done = bundle.without_pool(trace, "2")
    assert (done.events, done.left_out.total(), done.waits) == (4, 0, [(1001000, 1005000)])
    lines = trace.read_text().splitlines()
    assert lines[4] == "work-7 [000] ..... 1.0010: mm_page_alloc: page=00 pfn=0x50 order=0"
    assert lines[5] == "work-7 [000] ..... 1.0011: <stack trace>" and lines[7] == " => ptp_alloc"
    assert [line.split("pfn=")[1].split()[0] for line in lines if "pfn=" in line] == ["0x50", "0x30", "0x40", "0x60"]


def test_a_refill_takes_what_it_takes_alone():
    price = script("bundle").refill_ns
    assert price([]) is None
    assert price([(0, 10), (5, 12)]) == 7000
    assert price([(0, 10), (5, 12), (20, 28), (30, 39), (40, 99)]) == 9000


FILES = ("run.json", "README.txt", "trace.txt.zst", "ring_stats", "uname", "version", "cmdline", "iomem", "cpuinfo")
SNAPSHOT = (
    "kpageflags.u64le.zst",
    "free_lists.zst",
    "free_lists.json",
    "buddyinfo",
    "pagetypeinfo",
    "zoneinfo",
    "vmstat",
)


@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.name)
def test_a_run_is_whole_and_says_what_it_is(run):
    said = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert said["strategy"] in strategies()
    assert {*said["parameters"]} == {*strategies()[said["strategy"]], "kernel_tables"}
    assert said["workload"] in {row["workload"] for row in table("workloads.csv")}
    assert said["fragmentation"] in {row["fragmentation"] for row in table("fragmentations.csv")}
    assert said["events"] > 0 and said["cpus"] > 0 and said["memory_mib"] > 0 and said["kernel"].startswith("6.12")
    wanted = [*FILES, *(f"{moment}/{name}" for moment in ("before", "after") for name in SNAPSHOT)]
    wanted += [f"{moment}/{name}" for moment in ("active", "after") for name in ("pool_stats", "vmstat")]
    assert not [name for name in wanted if not (run / name).is_file() or not (run / name).stat().st_size]
    assert re.search(rf"^strategy {said['strategy']}$", (run / "after" / "pool_stats").read_text(), re.MULTILINE)


def test_the_runs_are_small_and_name_no_machine():
    files = [path for path in (DATA / "pools").rglob("*") if path.is_file()]
    assert RUNS and sum(path.stat().st_size for path in files) < 40 << 20
    for path in files:
        if path.suffix != ".zst":
            assert not re.search(r"/(tmp|work|home|root)/|https?://", path.read_text(encoding="utf-8")), path


def test_what_the_kernels_did_is_that_of_the_runs():
    """data/pools/kernel.csv is made of them by data/lab/pools/numbers.py."""
    with (DATA / "pools" / "kernel.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = script("numbers")
    made = [(run.name, *item) for run in RUNS for item in numbers.of_run(run).items()]
    assert [(row["run"], row["quantity"], int(row["value"])) for row in rows] == made


def test_the_spread_is_of_five_runs_each():
    with (DATA / "pools" / "spread.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = {}
    for row in rows:
        cell, _, run = row["run"].rpartition("-")
        cells.setdefault(cell, set()).add(run)
    assert len(cells) >= 3 and all(runs == set("12345") for runs in cells.values())
    allocs = [int(row["value"]) for row in rows if row["quantity"] == "allocs"]
    assert len(allocs) == 5 * len(cells) and min(allocs) > 1000


def test_what_holds_was_tried_with_what_breaks():
    with (DATA / "pools" / "tries.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        starved = int(row["starved_own"]) + int(row["starved_outside"])
        assert (starved > 0) == (row["strategy"] == "reserve-block")
    assert {row["strategy"] for row in rows} == {"buddy-reserve", "full-reserve", "reserve-block"}
