"""What is fuzzed: every reader of a file that users give, each with files it reads well."""

import gzip
import json
import lzma
import re
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import perf_data_writer as w  # noqa: E402
from mutations import TEXT, Mutation  # noqa: E402
from ring_buffer_writer import Entry, File, Machine  # noqa: E402

from ingest.bundle import find_bundle  # noqa: E402
from ingest.formats import FORMATS, known  # noqa: E402
from ingest.formats.perf_data import trace as perf_trace  # noqa: E402
from ingest.formats.text import reader as text_reader  # noqa: E402
from ingest.formats.unknown import why_not  # noqa: E402
from ingest.snapshots import free_lists, kallsyms, machine, proc  # noqa: E402
from ingest.snapshots.architecture import in_uname  # noqa: E402
from ingest.snapshots.page_tables import page_tables  # noqa: E402
from ingest.snapshots.permission_changes import read_changes  # noqa: E402
from ingest.source import decompressed  # noqa: E402
from ingest.trace import MAX_CPUS, MAX_ORDER, Context, Trace  # noqa: E402
from ptpool.errors import UsageError  # noqa: E402

# Small blocks: records lie across their ends, and little memory is made for each input. None is in compiled code.
text_reader.BATCH, text_reader.BLOCK = 1 << 10, 1 << 13
perf_trace.BATCH, perf_trace.BLOCK, perf_trace.STRETCH = 1 << 8, 1 << 14, 1 << 11

Files = dict[str, bytes]
CORPUS, INPUTS, CAPTURES = ROOT / "tests/ingest/corpus", ROOT / "tests/ingest/inputs", ROOT / "data/captures"


@dataclass(frozen=True)
class Target:
    """A reader: what it reads well, and how it reads the files of a folder. It raises UsageError, or finds them good."""

    seeds: Callable[[], list[Files]]
    read: Callable[[Files, Path, bool], object]  # files, folder to write them to, best effort
    changed: Callable[[str], bool] = lambda name: True  # which files are mutated
    text: tuple[Mutation, ...] = TEXT  # how those of text are


def write(files: Files, folder: Path) -> None:
    """Write the files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# ------------------------------------------------------------------------------------------------------------ traces

_EVENT = re.compile(
    rb"[ \t:]mm_page_(?:alloc|free|free_batched|free_direct): +page=(?:0x)?[0-9a-f]+ pfn=(?:0x)?[0-9a-f]+ "
)


def check_rows(trace: Trace) -> Counter[str]:
    """Read a trace to its end, check that its rows are possible, and count them and what is left out."""
    read = 0
    for rows in trace.batches():
        read += len(rows)
        for name, least, most in (
            ("cpu", 0, MAX_CPUS), ("order", 0, MAX_ORDER + 1), ("comm", -1, len(trace.comms)), ("gfp", -1, len(trace.gfps)),
            ("stack", -1, len(trace.stacks)), ("ts", 0, 1 << 63), ("pfn", -1, 1 << 52), ("migratetype", -1, 128),
        ):  # fmt: skip
            if len(rows) and not (least <= int(rows[name].min()) and int(rows[name].max()) < most):
                raise AssertionError(f"{name} from {rows[name].min()} to {rows[name].max()}")
    pa.array(
        [*trace.comms, *trace.gfps, *(frame for frames in trace.stacks for frame in frames), *trace.found.comments]
    )
    if any(not 0 <= n < 1 << 63 for n in [*trace.found.lost.values(), *trace.found.counts.values()]):
        raise AssertionError(f"counts: {trace.found}")
    return trace.found.counts + Counter(events=read)


def read_trace(form: str, files: Files, folder: Path, best_effort: bool) -> Counter[str]:
    """Read a trace in one format."""
    write(files, folder)
    paths = sorted(folder / name for name in files if not name.startswith("kallsyms"))
    symbols = next((folder / name for name in files if name.startswith("kallsyms")), None)
    trace = next(each for each in FORMATS if each.name == form).open_trace(paths, Context(best_effort, symbols))
    try:
        return check_rows(trace)
    finally:
        trace.close()


def read_text(form: str, files: Files, folder: Path, best_effort: bool) -> None:
    """Read a trace of text. Without an error, no line that is an event is missing from the counts."""
    counts = read_trace(form, files, folder, best_effort)
    (data,) = files.values()
    if best_effort or not data.isascii() or b"=\n" in data or b">" in data or b"\r" in data or b"\0" in data:
        return
    told = sum(counts[name] for name in ("events", "batched_frees_skipped", "other_events"))
    if (there := len(_EVENT.findall(data))) > told:
        raise AssertionError(f"events lost: {there} are there, {told} are told")


def read_bundle(files: Files, folder: Path, best_effort: bool) -> None:
    """Find a bundle in a folder and read its trace."""
    write(files, folder)
    bundle = find_bundle([folder], None, None)
    trace = bundle.format.open_trace(bundle.traces, Context(best_effort, bundle.kallsyms))
    try:
        check_rows(trace)
    finally:
        trace.close()


def sniff(files: Files, folder: Path, best_effort: bool) -> None:
    """Say which format a file has, or what else it is."""
    (data,) = files.values()
    if known(data) is None and data:
        why_not(data)


def decompress(files: Files, folder: Path, best_effort: bool) -> None:
    """Decompress a file, as far as it goes."""
    write(files, folder)
    file, _ = decompressed(folder / "file")
    file.close()


def whole_lines(text: bytes) -> bytes:
    """Text up to its last blank line, or else its last line."""
    start, blank, _ = text.rpartition(b"\n\n")
    return start + blank if blank else text[: text.rfind(b"\n") + 1]


def texts(*names: str) -> list[Files]:
    """Files of the corpus and of inputs/, each alone."""
    found = [path for name in names for path in sorted([*CORPUS.glob(name), *INPUTS.glob(name)])]
    return [{"trace.txt": whole_lines(path.read_bytes()[: 48 << 10])} for path in found]


def ftrace_texts() -> list[Files]:
    seeds = texts(
        "trace*.txt", "report-*.txt", "02*/trace.txt", "5*/trace.txt", "ftrace/trace.txt", "11*/*", "39*/trace.txt"
    )
    return [*seeds, {"trace.txt": (CORPUS / "trace.txt").read_text().encode("utf-16")}]


PADDED = {  # as structs end on 8 bytes: by their sizes events are told where they are not described
    **w.USUAL_FIELDS,
    w.ALLOC: w.USUAL_FIELDS[w.ALLOC] | {"end": w.Field("int", 36, 4)},
    w.FREE: w.USUAL_FIELDS[w.FREE] | {"end": w.Field("int", 20, 4)},
}


def perf_machine(order: str, **changes: Any) -> w.Writer:
    """A writer with a recording of some dozen events in it."""
    attributes = [w.Attribute(ids=(7,), config=w.ALLOC, **changes), w.Attribute(ids=(8,), config=w.FREE, **changes)]
    writer = w.Writer(order, attributes, PADDED)
    writer.comm(7, "worker", time=1)
    writer.fork(9, 7, time=2)
    writer.kernel_map("_text", 0xFFFFFFFF81000000)
    for place in range(24):
        kind, id_, attribute = (w.ALLOC, 7, attributes[0]) if place % 2 else (w.FREE, 8, attributes[1])
        values = {"pfn": 100 + place, "order": place % 3, "gfp_flags": 0x1C0, "migratetype": 1}
        raw = writer.raw(kind, **{name: n for name, n in values.items() if name in writer.fields[kind]})
        frames = (w.CONTEXT_KERNEL, 0xFFFFFFFF81000500, 0xFFFFFFFF81000800 + place, w.CONTEXT_USER, 0x400000)
        writer.sample(w.Sample(10 + place, place % 2, 7 + place % 2, raw, frames=frames, id=id_), attribute)
        if place % 8 == 7:
            writer.round()
    writer.lost(3, id_=7, time=40)
    writer.lost_samples(2, time=41)
    return writer


KALLSYMS = b"ffffffff81000000 T _text\nffffffff81000400 T __alloc_pages_noprof\nffffffff81000a00 t caller [mod]\nffffffff81009000 T _etext\n"


def perf_files() -> list[Files]:
    more = (*w.USUAL, "ADDR", "READ", "BRANCH_STACK", "REGS_USER", "STACK_USER", "PHYS_ADDR")
    writers = [
        perf_machine(order, **changes) for order in "<>" for changes in ({}, {"sample_type": more, "read_format": 31})
    ]
    found = [writer.file() for writer in writers] + [writer.pipe() for writer in writers]
    found += [perf_machine(order).file(finished=False) for order in "<>"]
    for kind in (w.COMPRESSED, w.COMPRESSED2):
        writer = perf_machine("<")
        writer.compress([100, 900], kind)
        found += [writer.file(), writer.pipe()]
    return [{"perf.data": data, "kallsyms": KALLSYMS} for data in found]


def perf_folders() -> list[Files]:
    parts, packed = perf_machine("<"), perf_machine("<")
    main = w.Writer("<", parts.attributes, PADDED)
    main.comm(9, "perf")
    packed.compress([300, 700])
    records = b"".join(parts.records)
    return [
        {"perf.data/data": main.file(), "perf.data/data.0": records, "perf.data/data.1": other, "perf.data/kcore_dir/kallsyms": KALLSYMS}
        for other in (records, b"".join(packed.records))
    ]  # fmt: skip


_FRAMES = (0xFFFFFFFF81000500, 0xFFFFFFFF81000A10)


def ring_entries() -> list[Entry]:
    """Thirty allocations with their stacks, frees, other events and losses."""
    some = []
    for n in range(30):
        at = 100 * n + (1 << 30) * (n > 9)
        some += [
            Entry(at, "alloc", pid=1 + n % 2, pfn=n, gfp=0xCC0), Entry(at + 1, "stack", pid=1 + n % 2, frames=_FRAMES),
            Entry(at + 2, "free", pfn=n), Entry(at + 3, "other"),
        ]  # fmt: skip
        if n % 7 == 6:
            some.append(Entry(0, "lost", count=n % 2 or None))
    return some


def ring_machines() -> list[Machine]:
    return [
        Machine(),
        Machine(big=True, long=4),
        Machine(page=512, vendor=True, absolute=True),
        Machine(page=16384, big=True),
    ]


def trace_dats() -> list[Files]:
    files = [
        File(
            m, {0: m.pages(ring_entries()), 2: m.pages(ring_entries()[:20])}, kallsyms=KALLSYMS.decode(), instance=name
        ).write(variant)
        for m in ring_machines()
        for variant, name in (("6", ""), ("7", "sub"), ("7-zlib", ""), ("7-zstd", ""), ("6", "sub"))
    ]
    return [
        {"trace.dat": data} for data in [*files, (ROOT / "tests/ingest/trace_dat/build-2g-excerpt.dat").read_bytes()]
    ]


def raw_folders() -> list[Files]:
    found = []
    for m in ring_machines():
        files = {
            "per_cpu/cpu0/trace_pipe_raw": m.pages(ring_entries()),
            "per_cpu/cpu10/trace_pipe_raw": m.pages(ring_entries()[:20]),
        }
        for name in m.ids:
            system = "kmem" if name.startswith("mm_") else "ftrace" if name == "kernel_stack" else "sched"
            files[f"events/{system}/{name}/format"] = m.format(name).encode()
        files |= {"events/header_page": m.header_page().encode(), "saved_cmdlines": b"1 init\n2 two words\n"}
        found.append(files | {"trace_clock": b"local global [mono]\n", "kallsyms": KALLSYMS})
    return found


def packed_texts() -> list[Files]:
    text = (CORPUS / "trace.txt").read_bytes()
    packed = (
        gzip.compress(text),
        lzma.compress(text),
        pa.compress(text, codec="zstd", asbytes=True),
        zlib.compress(text),
    )
    return [{"file": data} for data in packed]


def heads() -> list[Files]:
    some = [*texts("*.txt", "*/trace.txt"), *perf_files()[:2], *trace_dats()[:2], *packed_texts()]
    others = [
        b"\x7fELF\2\1\1" + bytes(60),
        b"PK\3\4" + bytes(40),
        b"<html><body>x</body>",
        b'{"traceEvents": []}',
        b"H4sIAAAA" * 20,
    ]
    return [{"file": next(iter(files.values()))} for files in some] + [{"file": data} for data in others]


# --------------------------------------------------------------------------------------------------------- snapshots


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


@cache
def dump(name: str) -> bytes:
    return bytes(
        pa.CompressedInputStream(pa.OSFile(str(ROOT / f"tests/data/free_lists/running/{name}.zst")), "zstd").read()
    )


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


@cache
def warehouse() -> tuple[Any, Any]:
    """A warehouse with one capture, and what keeps it open."""
    from ptpool.warehouse import open_warehouse

    opened = open_warehouse(Path(tempfile.mkdtemp()) / "it.duckdb", write=True)
    connection = opened.__enter__()
    connection.execute(
        "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'n' AS name, 's' AS source, 'h' AS sha256, 'ftrace' AS format,"
        "4096 AS page_size, 1 AS cpus, 'unknown' AS timing, 0 AS first_ns, 0 AS last_ns, 0 AS events, 0 AS lost_events,"
        "false AS has_stacks, 'v' AS code_version"
    )
    return connection, opened


def read_sweep(files: Files, folder: Path, best_effort: bool) -> None:
    from replay.sweep.spec import read_spec, strategies_of, wanted_runs

    write(files, folder)
    spec = read_spec(str(folder / "sweep.toml"))
    strategies_of(spec)
    wanted_runs(warehouse()[0], spec)


def of_lines(name: str, parse: Callable[[proc.Lines], object]) -> Target:
    return Target(partial(snapshots, name), lines_of(parse))


TARGETS: dict[str, Target] = {
    "perf-data": Target(perf_files, partial(read_trace, "perf-data")),
    "perf-folder": Target(perf_folders, read_bundle),
    "trace-dat": Target(trace_dats, partial(read_trace, "trace-dat")),
    "trace-pipe-raw": Target(raw_folders, read_bundle),
    "ftrace": Target(ftrace_texts, partial(read_text, "ftrace")),
    "perf-script": Target(partial(texts, "perf-script/*", "base/perf*"), partial(read_text, "perf-script")),
    "function-graph": Target(partial(texts, "function-*", "35*/trace.txt"), partial(read_text, "function-graph")),
    "sniff": Target(heads, sniff),
    "compressed": Target(packed_texts, decompress),
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
"""By name; ``machines`` (machines.py) comes besides."""
