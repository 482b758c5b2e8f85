"""Traces: the readers of every format, each with files it reads well."""

import gzip
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import perf_data_writer as w
import pyarrow as pa
from ring_buffer_writer import Entry, File, Machine
from target import CORPUS, INPUTS, KALLSYMS, ROOT, Files, Target, write

from ingest.bundle import find_bundle
from ingest.formats import FORMATS, known
from ingest.formats.perf_data import trace as perf_trace
from ingest.formats.text import reader as text_reader
from ingest.formats.unknown import why_not
from ingest.source import decompressed
from ingest.trace import MAX_CPUS, MAX_ORDER, Context, Trace


def small_blocks(put: Callable[[object, str, int], None] = setattr) -> None:
    """Let readers take small blocks: records lie across their ends, and little memory is made for each input.

    None of these sizes is in compiled code.
    """
    put(text_reader, "BATCH", 1 << 10)
    put(text_reader, "BLOCK", 1 << 13)
    put(perf_trace, "BATCH", 1 << 8)
    put(perf_trace, "BLOCK", 1 << 14)
    put(perf_trace, "STRETCH", 1 << 11)


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
    with closing(
        next(each for each in FORMATS if each.name == form).open_trace(paths, Context(best_effort, symbols))
    ) as trace:
        return check_rows(trace)


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
    with closing(bundle.format.open_trace(bundle.traces, Context(best_effort, bundle.kallsyms))) as trace:
        check_rows(trace)


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


TRACES: dict[str, Target] = {
    "perf-data": Target(perf_files, partial(read_trace, "perf-data")),
    "perf-folder": Target(perf_folders, read_bundle),
    "trace-dat": Target(trace_dats, partial(read_trace, "trace-dat")),
    "trace-pipe-raw": Target(raw_folders, read_bundle),
    "ftrace": Target(ftrace_texts, partial(read_text, "ftrace")),
    "perf-script": Target(partial(texts, "perf-script/*", "base/perf*"), partial(read_text, "perf-script")),
    "function-graph": Target(partial(texts, "function-*", "35*/trace.txt"), partial(read_text, "function-graph")),
    "sniff": Target(heads, sniff),
    "compressed": Target(packed_texts, decompress),
}
