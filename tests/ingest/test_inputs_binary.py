"""Inputs that people have: binary recordings, symbols and flags of other kernels. Each folder's README says what is odd."""

import gzip
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import perf_data_writer as w
import pytest
from ring_buffer_writer import Entry, File, Machine

from ingest.formats.perf_data import open_trace as open_perf
from ingest.formats.perf_data import trace as perf_trace
from ingest.formats.perf_data.folder import parts_in
from ingest.formats.trace_dat import open_trace as open_trace_dat
from ingest.gfp import flags_of
from ingest.trace import ROW, Context
from ptpool.errors import UsageError
from ptpool.vocabulary import GFP_BITS, GFP_COMPOUNDS

INPUTS = Path(__file__).parent / "inputs"
SERVER = Path(__file__).parents[2] / "data" / "captures" / "server-16g"
EXCERPT = Path(__file__).parent / "trace_dat" / "build-2g-excerpt.dat"

Query = Callable[[str], Sequence[tuple[Any, ...]]]
Ingest = Callable[..., int]

FOUND = "SELECT name, severity, cpu, value FROM import_stat WHERE severity <> 'info' AND name NOT IN ('frees_unknown', 'no_frees', 'no_snapshots', 'frees_twice') ORDER BY name"
TABLES = "SELECT count(*), count(*) FILTER (consumer = 'pgtable_user' AND kind = 'alloc') FROM page_event"


@pytest.mark.parametrize(
    ("case", "events", "tables", "found"),
    [
        ("02-trace-cmd-events-dropped", 60, 48, [("uncounted_losses", "data_loss", 3, 1)]),
        (
            "38-trace-cmd-R-gfp-4.14",
            1200,
            186,
            [("classified_by_flags", "notice", None, 186), ("no_stacks", "notice", None, 975)],
        ),
        (
            "41-perf-script-unknown-kernel-symbols",
            1200,
            186,
            [("classified_by_flags", "notice", None, 186), ("stacks_without_names", "error", None, 975)],
        ),
        (
            "47-no-stacks-before-6.6",
            1200,
            186,
            [("classified_by_flags", "notice", None, 186), ("no_stacks", "notice", None, 975)],
        ),
    ],
)
def test_cases(case: str, events: int, tables: int, found: list[Any], ingest: Ingest, query: Query) -> None:
    assert ingest(INPUTS / case) == 0
    assert query(TABLES) == [(events, tables)]
    assert query(FOUND) == found


def test_38_bits_are_those_of_the_release(ingest: Ingest, query: Query) -> None:
    assert ingest(INPUTS / "38-trace-cmd-R-gfp-4.14") == 0
    bits = dict(
        query("SELECT DISTINCT gfp_text, gfp_flags FROM page_event WHERE gfp_text IN ('0x14000c0', '0x150c0c0')")
    )
    table = GFP_COMPOUNDS["GFP_KERNEL_ACCOUNT"] | GFP_BITS["__GFP_ZERO"] | GFP_BITS["__GFP_COMP"]
    assert bits == {"0x14000c0": GFP_COMPOUNDS["GFP_KERNEL"], "0x150c0c0": table}


@pytest.mark.parametrize("path", ["", "perf.data", "perf.data/data"])
def test_40_a_folder_is_read_and_named(path: str, ingest: Ingest, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(INPUTS / "40-perf-data-directory" / path) == 2
    assert "perf.data/data: it has no page-allocation events (7 other events)" in capsys.readouterr().err
    assert not db.exists()


HIDDEN = "0000000000000000 T _text\n0000000000000000 T __alloc_pages_noprof\n0000000000000000 T _etext\n"


@pytest.mark.slow
@pytest.mark.parametrize("kallsyms", [None, HIDDEN, HIDDEN.replace("0000000000000000", "00000000")])
def test_42_hidden_symbols(kallsyms: str | None, tmp_path: Path, ingest: Ingest, query: Query) -> None:
    (tmp_path / "perf.data.zst").symlink_to(SERVER / "perf.data.zst")
    if kallsyms:
        (tmp_path / "kallsyms").write_text(kallsyms)
    assert ingest(tmp_path, "--name", "it") == 0
    assert query(TABLES) == [(119_469, 14_226)]
    hidden = [("kallsyms_hidden", "error", None, 1)] if kallsyms else []
    assert query(FOUND) == [
        ("classified_by_flags", "notice", None, 14_226),
        *hidden,
        ("stacks_without_names", "error", None, 51_664),
    ]


# ----------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("release", "kernel", "table"),
    [  # GFP_KERNEL, and what user page tables have besides, as kernels print them in reports of failed allocations
        ("2.6.32-754.el6", 0xD0, 0x8400),
        ("3.10.0-1160.el7.x86_64", 0xD0, 0x8400),
        ("4.4.302", 0x24000C0, 0x8400),
        ("4.9.56", 0x24000C0, 0x108000),
        ("4.14.336", 0x14000C0, 0x108000),
        ("4.15.0-108-generic", 0x14000C0, 0x108000),
        ("4.18.0-372.el8_6.x86_64", 0x6000C0, 0x108000),
        ("4.19.91", 0x6000C0, 0x108000),
        ("5.4.17", 0xCC0, 0x400100),
        ("5.15.8", 0xCC0, 0x400100),
        ("6.1.0-21-amd64", 0xCC0, 0x400100),
        ("6.6.1", 0xCC0, 0x440100),
        ("6.12.95", 0xCC0, 0x440100),
        ("7.3.0", 0xCC0, 0x440100),
    ],
)
def test_numbers_by_release(release: str, kernel: int, table: int) -> None:
    flags = flags_of(release, "x86_64")
    assert flags.decode(hex(kernel)) == (GFP_COMPOUNDS["GFP_KERNEL"], [])
    assert flags.decode(str(kernel)) == (GFP_COMPOUNDS["GFP_KERNEL"], [])
    bits, unknown = flags.decode(hex(kernel | table))
    assert flags.is_table(bits)
    assert not unknown
    assert not flags.is_table(GFP_COMPOUNDS["GFP_KERNEL"])
    assert not flags.is_table(bits | GFP_BITS["__GFP_HARDWALL"])


def test_numbers_that_are_not_known() -> None:
    assert flags_of("5.0.21", "x86_64").decode("GFP_KERNEL|0x8000") == (GFP_COMPOUNDS["GFP_KERNEL"], ["0x8000"])
    assert flags_of("4.14.1", "x86_64").decode("0x400000c0") == (
        GFP_BITS["__GFP_IO"] | GFP_BITS["__GFP_FS"],
        ["0x40000000"],
    )
    assert flags_of(None, None).decode("0x80000cc0") == (0x80000CC0, [])
    assert not flags_of("4.19.1", "aarch64").table
    assert flags_of("5.4.1", "aarch64").table == flags_of("4.19.1", "x86_64").table


def test_names_of_older_kernels() -> None:
    flags = flags_of("3.10.0", "x86_64")
    expected = GFP_COMPOUNDS["GFP_KERNEL"] | GFP_BITS["__GFP_ZERO"] | GFP_BITS["__GFP_RETRY_MAYFAIL"]
    assert flags.decode("GFP_KERNEL|GFP_REPEAT|GFP_ZERO|GFP_NOTRACK") == (expected, [])
    assert flags.decode("GFP_WAIT|__GFP_COLD") == (GFP_COMPOUNDS["__GFP_RECLAIM"], [])
    assert flags.decode("__GFP_VENDOR") == (0, ["__GFP_VENDOR"])


TRACE = "bash-1 [000] 1.00000{n}: mm_page_alloc: page=0x10 pfn=0x1{n} order=0 migratetype=0 gfp_flags={flags}\n"


@pytest.mark.parametrize(
    ("uname", "flags", "name", "severity"),
    [
        ("", "0x400dc0", "gfp_numbers_assumed", "notice"),
        ("Linux host 5.0.21 #1 SMP x86_64 GNU/Linux", "0x8080c0", "gfp_numbers_unknown", "error"),
        ("Linux host 4.19.1 #1 SMP x aarch64 GNU/Linux", "GFP_KERNEL|__GFP_ZERO", "page_tables_unmarked", "error"),
    ],
)
def test_doubts_are_said(
    uname: str, flags: str, name: str, severity: str, tmp_path: Path, ingest: Ingest, query: Query
) -> None:
    (tmp_path / "trace.txt").write_text(TRACE.format(n=1, flags=flags))
    (tmp_path / "uname").write_text(uname)
    assert ingest(tmp_path, "--name", "it") == 0
    assert query(f"SELECT severity, value FROM import_stat WHERE name = '{name}'") == [(severity, 1)]


def test_an_impossible_loss(tmp_path: Path, ingest: Ingest, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace.txt").write_text(TRACE.format(n=1, flags="GFP_KERNEL"))
    (tmp_path / "ring_stats").write_text("== cpu0\nentries: 4\noverrun: 99999999999999999999\n")
    assert ingest(tmp_path, "--name", "it") == 2
    assert "ring_stats snapshot, line 3: overrun: 9999" in capsys.readouterr().err
    assert not db.exists()


# ----------------------------------------------------------------------------------------------------------- symbols

FRAMES = tuple(0xFFFFFFFF81001000 + 0x100 * place for place in range(20))
ALLOC, OUTER = 0xFFFFFFFF81000800, 0xFFFFFFFF81000C00
OURS = "ffffffff81000000 T _text\nffffffff81000400 T __alloc_pages_noprof\nffffffff81000a00 T caller\nffffffff81009000 T _etext\n"
OTHERS = "ffffffff81000000 T _text\nffffffff81000400 T ext4_get_block\nffffffff81000a00 T caller\nffffffff81009000 T _etext\n"
ARM = OURS.replace("ffffffff81", "ffff800010")


def recorded_with(tmp_path: Path, kallsyms: str, start: int = 0) -> Any:
    """What is found in a perf.data with twenty different stacks, and the frames of the first."""
    writer = w.Writer()
    attribute = writer.attributes[0]
    if start:
        body = writer.pack("IIQQQ", 0xFFFFFFFF, 0, 0, 1 << 30, start) + b"[kernel.kallsyms]_text\0\0"
        writer.record(w.MMAP, body, misc=1)
    for place, frame in enumerate(FRAMES):
        raw = writer.raw(w.ALLOC, pfn=place, order=0, gfp_flags=0x1C0, migratetype=0)
        chain = (w.CONTEXT_KERNEL, ALLOC, OUTER, frame)
        writer.sample(w.Sample(100 + place, 0, 7, raw, frames=chain, id=7), attribute)
    (tmp_path / "perf.data").write_bytes(writer.file())
    (tmp_path / "kallsyms").write_text(kallsyms)
    trace = open_perf([tmp_path / "perf.data"], Context(kallsyms=tmp_path / "kallsyms"))
    for _ in trace.batches():
        pass
    trace.close()
    return {name for name in trace.found.counts if name.startswith("kallsyms")}, trace.stacks[0][:2]


def test_symbols_of_the_recorded_boot(tmp_path: Path) -> None:
    assert recorded_with(tmp_path, OURS) == (set(), ("__alloc_pages_noprof", "caller"))


@pytest.mark.parametrize("kallsyms", [OTHERS, ARM], ids=["kernel", "architecture"])
def test_symbols_of_another_kernel_are_not_used(kallsyms: str, tmp_path: Path) -> None:
    assert recorded_with(tmp_path, kallsyms) == ({"kallsyms_elsewhere"}, (hex(ALLOC), hex(OUTER)))


def test_symbols_of_another_boot_are_moved_where_the_recording_says_where_it_was(tmp_path: Path) -> None:
    elsewhere = OURS.replace("ffffffff81", "ffffffff9a")
    expected = {"kallsyms_moved"}, ("__alloc_pages_noprof", "caller")
    assert recorded_with(tmp_path, elsewhere, start=0xFFFFFFFF81000000) == expected
    assert recorded_with(tmp_path, elsewhere)[0] == {"kallsyms_elsewhere"}


def test_41_with_the_symbols_of_another_kernel(tmp_path: Path, ingest: Ingest, query: Query) -> None:
    shutil.copytree(INPUTS / "41-perf-script-unknown-kernel-symbols", tmp_path / "it")
    (tmp_path / "it" / "kallsyms").write_text(OURS.replace("__alloc_pages_noprof", "ext4_get_block"))
    assert ingest(tmp_path / "it") == 0
    assert query(TABLES) == [(1200, 186)]
    assert [name for name, *_ in query(FOUND)] == ["classified_by_flags", "kallsyms_elsewhere", "stacks_without_names"]


def test_hidden_symbols_in_a_trace_dat(tmp_path: Path) -> None:
    machine = Machine()
    pages = machine.pages([Entry(1, "alloc", pfn=1), Entry(2, "stack", frames=(ALLOC, OUTER))])
    (tmp_path / "trace.dat").write_bytes(File(machine, {0: pages}, kallsyms=HIDDEN).write("7-zstd"))
    trace = open_trace_dat([tmp_path / "trace.dat"], Context())
    assert drained(trace).counts["kallsyms_hidden"] == 1
    assert trace.stacks == [(hex(ALLOC), hex(OUTER))]
    (tmp_path / "kallsyms").write_text(OURS)
    trace = open_trace_dat([tmp_path / "trace.dat"], Context(kallsyms=tmp_path / "kallsyms"))
    assert not drained(trace).counts["kallsyms_hidden"]
    assert trace.stacks == [("__alloc_pages_noprof", "caller")]


# ----------------------------------------------------------------------------------------------------------- folders


def perf_folder(folder: Path, files: int, events: int, *, compressed: bool = False) -> list[int]:
    """Write what perf record --threads writes; the times of all events."""
    folder.mkdir()
    times = []
    for number in range(files):
        writer = w.Writer()
        for place in range(events):
            time = 1000 + 10 * place + number
            if place == 0 and number == 1:
                writer.side(w.COMM, writer.pack("Ii", 1000, 7) + b"worker\0\0", tid=7, time=time - 500)
            raw = writer.raw(w.ALLOC, pfn=100 * number + place, order=0, gfp_flags=0x1C0, migratetype=0)
            writer.sample(w.Sample(time, number, 7, raw, frames=(w.CONTEXT_KERNEL, ALLOC), id=7), writer.attributes[0])
            times.append(time)
        if compressed:
            writer.compress([33, 200])
        (folder / f"data.{number}").write_bytes(b"".join(writer.records))
    main = w.Writer()
    main.side(w.COMM, main.pack("Ii", 1000, 9) + b"perf\0\0\0\0", tid=9)
    (folder / "data").write_bytes(main.file())
    return sorted(times)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_folder_of_threads_is_merged_by_time(
    compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = perf_folder(tmp_path / "perf.data", 12, 40, compressed=compressed)
    paths = parts_in(tmp_path / "perf.data")
    assert [path.name for path in paths] == ["data", *(f"data.{number}" for number in range(12))]
    monkeypatch.setattr(perf_trace, "STRETCH", 12 << 9)
    monkeypatch.setattr(perf_trace, "BATCH", 64)
    trace = open_perf(paths, Context())
    rows = np.concatenate([batch.copy() for batch in trace.batches()]).view(ROW)
    trace.close()
    assert rows["ts"].tolist() == times
    assert {trace.comms[number] for number in rows["comm"].tolist()} == {"worker"}
    assert sorted(set(rows["cpu"].tolist())) == list(range(12))
    assert trace.consumed() == sum(path.stat().st_size for path in paths)


def test_a_record_longer_than_a_stretch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = perf_folder(tmp_path / "perf.data", 2, 40, compressed=True)
    monkeypatch.setattr(perf_trace, "STRETCH", 64)
    trace = open_perf(parts_in(tmp_path / "perf.data"), Context())
    assert [row["ts"] for batch in trace.batches() for row in batch] == times
    trace.close()


def test_a_cut_file_of_a_folder(tmp_path: Path, ingest: Ingest, query: Query) -> None:
    perf_folder(tmp_path / "perf.data", 3, 10)
    cut = tmp_path / "perf.data" / "data.1"
    cut.write_bytes(cut.read_bytes()[:-5])
    assert ingest(tmp_path, "--name", "it") == 2
    assert ingest(tmp_path, "--name", "it", "--best-effort") == 0
    assert query("SELECT count(*) FROM page_event") == [(29,)]
    assert query("SELECT value, severity FROM import_stat WHERE name = 'cut_off'") == [(1, "data_loss")]


# ----------------------------------------------------------------------------------------------- cut recordings


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("since", ["4.1", "5.19"])
def test_a_recording_that_perf_did_not_finish_needs_no_formats(order: str, since: str, tmp_path: Path) -> None:
    writer = recorded_events(order, since, w.FREE)
    (tmp_path / "perf.data").write_bytes(writer.file(finished=False))
    trace = open_perf([tmp_path / "perf.data"], Context())
    rows = [tuple(row) for batch in trace.batches() for row in batch[["ts", "pfn", "order", "migratetype"]].copy()]
    trace.close()
    assert rows == [(place, place, place % 3, 1 if place % 2 else -1) for place in range(40)]
    assert trace.gfps == ["0x1c0"]
    assert trace.found.counts["unfinished"] == 1


def test_events_that_look_alike_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "perf.data").write_bytes(recorded_events("<", "5.19", w.BATCHED).file(finished=False))
    with pytest.raises(UsageError, match="its events are not described"):
        drained(open_perf([tmp_path / "perf.data"], Context()))


def recorded_events(order: str, since: str, other: int) -> w.Writer:
    """Forty events, every second one an allocation."""
    moved = {"gfp_flags": w.Field("gfp_t", 20, 4), "migratetype": w.Field("int", 24, 4), "end": w.Field("int", 28, 4)}
    usual = {"end": w.Field("int", 36, 4)}  # structs end on 8 bytes
    fields = dict(w.USUAL_FIELDS)
    fields[w.ALLOC] = fields[w.ALLOC] | (moved if since == "4.1" else usual)
    fields[w.FREE] = fields[w.FREE] | {"end": w.Field("int", 20, 4)}
    attributes = [w.Attribute(ids=(7,), config=w.ALLOC), w.Attribute(ids=(8,), config=other)]
    writer = w.Writer(order, attributes, fields)
    for place in range(40):
        kind, id_, attribute = (w.ALLOC, 7, attributes[0]) if place % 2 else (other, 8, attributes[1])
        values = {"pfn": place, "order": place % 3, "gfp_flags": 0x1C0, "migratetype": 1}
        values = {name: value for name, value in values.items() if name in fields[kind]}
        writer.sample(w.Sample(place, 0, 7, writer.raw(kind, **values), id=id_), attribute)
    return writer


# ------------------------------------------------------------------------------------------------- headers that lie


def test_the_page_size_comes_with_the_recording(tmp_path: Path) -> None:
    machine = Machine(page=16384, big=True, long=4)
    (tmp_path / "trace.dat").write_bytes(File(machine, {0: machine.pages([Entry(1, "free", pfn=1)])}).write("7-zstd"))
    perf_folder(tmp_path / "perf.data", 1, 1)
    found = []
    for open_trace, paths in (
        (open_trace_dat, [tmp_path / "trace.dat"]),
        (open_perf, parts_in(tmp_path / "perf.data")),
    ):
        trace = open_trace(paths, Context())
        assert sum(len(rows) for rows in trace.batches()) == 1
        trace.close()
        found.append(trace.found.page_size)
    assert found == [16384, 4096]


def test_what_perf_says_about_the_machine(tmp_path: Path, ingest: Ingest, query: Query) -> None:
    writer = recorded_events("<", "5.19", w.FREE)
    features = writer.features()
    desc = writer.pack("I", 32) + b"QEMU TCG CPU version 2.5+".ljust(32, b"\0")
    writer.features = lambda: features | {8: desc}  # HEADER_CPUDESC
    (tmp_path / "perf.data").write_bytes(writer.file())
    assert ingest(tmp_path / "perf.data") == 0
    facts = "SELECT kernel_release, arch, page_size, cpus, total_pages, timing FROM capture"
    assert query(facts) == [("6.12.0-test", "x86_64", 4096, 4, 1 << 18, "emulated")]


CHUNKS = 2622  # where the excerpt has the number of CPU 0's chunks, and then the size of the first one


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (CHUNKS, 0, "CPU 0: its chunks end at byte 2,626, not at 3,520"),
        (CHUNKS, 2, "CPU 0: 1 of its chunks are missing"),
        (CHUNKS + 4, 4096, "CPU 0: chunk at byte 2,634: impossible size of 4,096 bytes"),
        (CHUNKS + 4, 800, "damaged"),
        (CHUNKS + 8, 1 << 30, "impossible size"),
    ],
)
def test_chunks_that_do_not_add_up(at: int, value: int, says: str, tmp_path: Path) -> None:
    data = bytearray(EXCERPT.read_bytes())
    data[at : at + 4] = value.to_bytes(4, "little")
    (tmp_path / "trace.dat").write_bytes(data)
    with pytest.raises(UsageError, match=says):
        drained(open_trace_dat([tmp_path / "trace.dat"], Context()))
    found = drained(open_trace_dat([tmp_path / "trace.dat"], Context(best_effort=True)))
    assert found.counts["damaged_compression"] == 1


def test_cpus_that_share_their_pages(tmp_path: Path) -> None:
    data = gzip.decompress((EXCERPT.parent / "build-2g-excerpt.v6.dat.gz").read_bytes())
    at = data.index(b"flyrecord\0") + 10
    (tmp_path / "trace.dat").write_bytes(data[:at] + data[at : at + 16] * 2 + data[at + 32 :])
    with pytest.raises(UsageError, match="the pages of CPU 1 begin within those of CPU 0"):
        drained(open_trace_dat([tmp_path / "trace.dat"], Context()))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (w.Writer().pack("II", 8, 4), w.Writer().pack("II", 8, 1 << 31), "impossible number of 2,147,483,648 CPUs"),
        (w.Writer().pack("Q", 1 << 20), w.Writer().pack("Q", 1 << 63), "impossible memory"),
    ],
)
def test_impossible_features(old: bytes, new: bytes, says: str, tmp_path: Path) -> None:
    perf_folder(tmp_path / "perf.data", 1, 1)
    main = tmp_path / "perf.data" / "data"
    start, found, end = main.read_bytes().rpartition(old)
    assert found
    main.write_bytes(start + new + end)
    with pytest.raises(UsageError, match=says):
        drained(open_perf(parts_in(main.parent), Context()))
    assert drained(open_perf(parts_in(main.parent), Context(best_effort=True))).counts["damaged_records"] == 1


def drained(trace: Any) -> Any:
    """What is found by reading a trace to its end."""
    try:
        for _ in trace.batches():
            pass
    finally:
        trace.close()
    return trace.found
