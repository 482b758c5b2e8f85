"""Snapshots and files of settings: the reader of each, with files it reads well."""

import gzip
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from target import CAPTURES, INPUTS, KALLSYMS, ROOT, Files, Target, dump, warehouse, write

from ingest.snapshots import free_lists, kallsyms, machine, proc
from ingest.snapshots.architecture import in_uname
from ingest.snapshots.page_tables import page_tables
from ingest.snapshots.permission_changes import read_changes
from ptpool.errors import UsageError


def fits(value: object) -> None:
    """Check that every number fits a signed column of 64 bits, and that every text is one."""
    if isinstance(value, bool | float) or value is None:
        return
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise AssertionError(f"a number of {value.bit_length()} bits")
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, np.ndarray):
        return
    elif isinstance(value, dict):
        fits(list(value.items()))
    else:
        for each in value:  # type: ignore[attr-defined]
            fits(each)


def snapshots(name: str) -> list[Files]:
    """One snapshot file of every capture, and those of inputs/."""
    found = [
        *sorted(CAPTURES.glob(f"*/*/{name}")),
        *sorted(CAPTURES.glob(f"*/{name}")),
        *sorted(INPUTS.glob(f"*/*/{name}")),
        *sorted(INPUTS.glob(f"*/{name}")),
    ]
    return [{"file": path.read_bytes()} for path in found if path.is_file()]


def lines_of(parse: Callable[[proc.Lines], object]) -> Callable[[Files, Path, bool], None]:
    """A reader of lines, in memory."""

    def read(files: Files, folder: Path, best_effort: bool) -> None:
        try:
            fits(parse(proc.Lines(files["file"].decode("utf-8", "replace").splitlines())))
        except proc.MalformedError as error:  # proc.parse() makes the same of it
            raise UsageError(str(error)) from error

    return read


def of_file(parse: Callable[[Path], Any]) -> Callable[[Files, Path, bool], None]:
    """A reader of a file."""

    def read(files: Files, folder: Path, best_effort: bool) -> None:
        write(files, folder)
        fits(proc.parse(folder / "file", parse))

    return read


def page_flags() -> list[Files]:
    words = np.frombuffer(dump("kpageflags"), "<u8")[:512]
    found = [words.tobytes(), words.astype(">u8").tobytes(), pa.compress(words.tobytes(), codec="zstd", asbytes=True)]
    return [{"file": data} for data in found]


def lists() -> list[Files]:
    rows = np.frombuffer(dump("free_lists"), free_lists.ROW)
    zones = [
        {"index": n, "node": 0, "name": name, "start": n << 12, "spanned": 1 << 20}
        for n, name in enumerate(("DMA", "DMA32", "Normal"))
    ]
    types = {"MIGRATE_UNMOVABLE": 0, "MIGRATE_MOVABLE": 1, "MIGRATE_RECLAIMABLE": 2, "MIGRATE_HIGHATOMIC": 3}
    notes = {"types": types, "zones": zones, "nr_free_differs": 0, "pcp_count_differs": 1}
    return [
        {"file": rows[start : start + 40].tobytes(), "free_lists.json": json.dumps(notes).encode(), "zoneinfo": dump("zoneinfo")}
        for start in (0, 2000, len(rows) - 40)
    ]  # fmt: skip


def read_lists(files: Files, folder: Path, best_effort: bool) -> None:
    write(files, folder)
    rows = proc.parse(folder / "file", free_lists.read_rows)
    notes = proc.parse(folder / "free_lists.json", free_lists.read_notes)
    zones, sets = proc.parse(folder / "zoneinfo", lambda path: proc.zoneinfo(proc.Lines(proc.read_text(path))))
    cpus = max((row[2] + 1 for row in sets), default=None)
    flags = proc.runs_of([np.frombuffer(dump("kpageflags"), "<u8")[: 1 << 15].astype(np.uint64)])
    for of_pages in (None, flags):
        found = free_lists.check(rows, notes, free_lists.Machine(free_lists.zones_of(zones), {}, cpus, [], of_pages))
        if found.table().num_rows + found.pageblock_table().num_rows > len(rows):
            raise AssertionError("more rows than there were")


def machine_files() -> list[Files]:
    names = ("uname", "cpuinfo", "virtualization", "trace_clock")
    found = [{name: (folder / name).read_bytes() for name in names if (folder / name).is_file()} for folder in sorted([*CAPTURES.iterdir(), *INPUTS.iterdir()])]  # fmt: skip
    arm = b"processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n"
    more = {
        "uname": b"Linux (none) 6.1.99 #1 SMP aarch64 Toybox",
        "cpuinfo": arm,
        "virtualization": b"clocksource: kvm-clock\ndmi: QEMU\n",
    }
    numbers = b"MemTotal: 16384000 kB\nHugepagesize: 2048 kB\n# nrcpus online : 4\n# total memory : 100 kB\n#P:4\n# arch : x86_64\n"
    return [files | {"numbers": numbers} for files in [*found, more] if files]


def describe(files: Files, folder: Path, best_effort: bool) -> None:
    text = {name: data.decode("utf-8", "replace") for name, data in files.items()}
    comments = text.pop("numbers").splitlines()
    pairs = (line.partition(": ") for line in comments[:2])
    values = {("meminfo", name): int(n.split()[0]) for name, _, n in pairs if re.match(r"-?\d{1,18} ", n)}
    values |= {("zoneinfo", "Node 0, zone DMA, managed"): 4096000}
    fits(list(vars(machine.describe(text, values, None, comments, functions={"do_syscall_64"})).values()))
    fits(machine.midr(text.get("cpuinfo", "")))
    fits(list(in_uname(text.get("uname", ""))))


def tables_texts() -> list[Files]:
    x86 = b"---[ Low Kernel Mapping ]---\n0xffff978000000000-0xffff978000098000         608K     RW                 GLB NX pte\n0xffff978000200000-0xffff978040000000        1022M     RW         PSE     GLB NX pmd\n0xffff9780c0000000-0xffff978100000000           1G                               pud\n---[ vmalloc() Area ]---\n0xffffb20000000000-0xffffb20000001000           4K     RW                 GLB NX pte\n"
    arm = b"---[ Linear Mapping start ]---\n0xffff000000000000-0xffff000000200000           2M PMD   TBL     RW x NXTbl UXNTbl    MEM/NORMAL\n0xffff000000000000-0xffff000000200000           2M PTE       RW NX SHD AF    CON     UXN    MEM/NORMAL-TAGGED\n0xffff000040000000-0xffff000080000000           1G PUD       RW NX SHD AF        BLK UXN    MEM/NORMAL-TAGGED\n---[ Linear Mapping end ]---\n"
    walk = b"> map\nPAGE_OFFSET ffff888000000000 max_pfn 200000\n  pfn 0..97 608 KiB L1 PW-G 8000000000000163\n  pfn 200..3fff 63488 KiB L2 PW-G 80000000000001e3\n  pfn 4000..3ffff 983040 KiB L0 -rX 0\ntot KiB none 983040 4K 2048 2M 63488 1G 1048576\n"
    return [{"file": text} for text in (x86, arm, walk)]


def leaves(path: Path) -> proc.Rows:
    rows = page_tables(proc.read_text(path), 4096, 0x40000)
    if not all(first <= last for first, last, _ in rows):
        raise AssertionError("pages backwards")
    return rows


def change_texts() -> list[Files]:
    entry = b"          insmod-139     [00%d] .....     4.10%d791: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffff888000%d18000 set=0x0 clear=0x42 pages=1 flags=0x0 page_offset_base=0xffff888000000000\n          insmod-139     [00%d] .....     4.10%d896: <stack trace>\n => __change_page_attr_set_clr\n => set_memory_ro\n"
    head = b"# tracer: nop\n#\n# entries-in-buffer/entries-written: 14/17   #P:2\n#\n"
    return [{"file": head + b"".join(entry % (n % 2, n, n, n % 2, n) for n in range(8))}]


def read_permission_changes(files: Files, folder: Path, best_effort: bool) -> None:
    found = read_changes(files["file"].decode("utf-8", "replace"), 1 << 22)
    for change in found.changes:
        bits = {change.set_bits, change.clear_bits}
        fits([value for value in vars(change).values() if value not in bits])
    fits(found.lost)


def costs_files() -> list[Files]:
    from replay import profiles

    return [{"costs.toml": (Path(profiles.__file__).parent / "costs.toml").read_bytes()}, {"costs.toml": b"[x86_64]\nchange_ns = 900\nipis = false\n[x86_64.split_ns]\nlow = 1\ntypical = 2.5\nhigh = 3\n[provenance]\nby = 'me'\n"}]  # fmt: skip


def read_costs(files: Files, folder: Path, best_effort: bool) -> None:
    from replay.profiles.costs import cost_profile

    write(files, folder)
    profile = cost_profile(str(folder / "costs.toml"))
    for arch in ("x86_64", "aarch64", "riscv64"):
        fits(list(vars(profile.of(arch)).values()))


def sweep_files() -> list[Files]:
    return [{"sweep.toml": path.read_bytes()} for path in sorted((ROOT / "replay/sweep/specs").glob("*.toml"))]


def read_sweep(files: Files, folder: Path, best_effort: bool) -> None:
    from replay.sweep.spec import read_spec, strategies_of, wanted_runs

    write(files, folder)
    spec = read_spec(str(folder / "sweep.toml"))
    strategies_of(spec)
    wanted_runs(warehouse()[0], spec)


def of_lines(name: str, parse: Callable[[proc.Lines], object]) -> Target:
    return Target(partial(snapshots, name), lines_of(parse))


SNAPSHOTS: dict[str, Target] = {
    "buddyinfo": of_lines("buddyinfo", proc.buddyinfo),
    "pagetypeinfo": of_lines("pagetypeinfo", proc.pagetypeinfo),
    "zoneinfo": of_lines("zoneinfo", proc.zoneinfo),
    "vmstat": of_lines("vmstat", proc.vmstat),
    "meminfo": of_lines("meminfo", lambda lines: proc.meminfo(lines, 32)),
    "iomem": of_lines("iomem", lambda lines: proc.iomem(lines, 4096)),
    "ring_stats": of_lines("ring_stats", machine.ring_losses),
    "kpageflags": Target(page_flags, of_file(proc.page_flag_runs)),
    "free_lists": Target(lists, read_lists),
    "machine": Target(machine_files, describe),
    "kallsyms": Target(lambda: [{"file": KALLSYMS * 3}, {"file": gzip.compress(KALLSYMS)}], of_file(lambda path: kallsyms.read_symbols(path).names)),
    "page_tables": Target(tables_texts, of_file(leaves)),
    "permission_changes": Target(change_texts, read_permission_changes),
    "costs": Target(costs_files, read_costs),
    "sweep": Target(sweep_files, read_sweep),
}  # fmt: skip
