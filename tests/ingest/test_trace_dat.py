"""trace.dat of every version, byte order, size of long and compression, against what was written into it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ring_buffer_writer import Entry, File, Machine

from ingest.formats.text import ftrace
from ingest.formats.trace_dat import open_trace
from ingest.trace import Context
from ptpool.errors import UsageError
from ptpool.vocabulary import KINDS

VARIANTS = ("6", "7", "7-zlib", "7-zstd")
SYMBOLS = {
    0xFFFFFFFF81000000: "trace_event_raw_event_mm_page_alloc",
    0xFFFFFFFF81001000: "__alloc_pages_noprof",
    0xFFFFFFFF81002000: "alloc_pages_noprof",
}
KALLSYMS = "".join(f"{address:016x} T {name}\n" for address, name in SYMBOLS.items())
TASKS = {1: "init", 2: "kthreadd", 77: "two words", 40000: "far"}
CMDLINES = "".join(f"{pid} {name}\n" for pid, name in TASKS.items())
Row = tuple[Any, ...]


def machines() -> st.SearchStrategy[Machine]:
    return st.builds(
        Machine,
        big=st.booleans(),
        long=st.sampled_from([4, 8]),
        page=st.sampled_from([512, 4096, 16384]),
        vendor=st.booleans(),
        absolute=st.booleans(),
    )


GFPS = {0: "none", 0xCC0: "GFP_KERNEL", 0xDC0: "GFP_KERNEL|__GFP_ZERO", 0x40CC1: "GFP_KERNEL|__GFP_COMP|0x1"}
WHAT = ("alloc", "alloc", "alloc", "free", "batched", "zone_locked", "stack", "stack", "other", "discarded", "page",
        "lost")  # fmt: skip
ENTRIES = st.lists(
    st.builds(
        Entry,
        ts=st.sampled_from([0, 1, 1000, (1 << 27) - 1, 1 << 27, 1 << 40]),  # after the entry before it
        what=st.sampled_from(WHAT),
        pid=st.sampled_from([0, 1, 2, 77, 40000, 5]),
        context=st.integers(0, 3),
        pfn=st.sampled_from([-1, 0, 1, 0xFFFFF]),
        order=st.integers(0, 10),
        migratetype=st.integers(0, 5),
        gfp=st.sampled_from(list(GFPS)),
        frames=st.lists(st.sampled_from([*SYMBOLS, 0x7F0000001000]), max_size=8).map(tuple),
        count=st.none() | st.integers(1, 1000),
    ),
    max_size=60,
)


def timed(entries: list[Entry], begin: int) -> list[Entry]:
    """Gaps to times, and pages that a free or a locked zone can have."""
    for entry in entries:
        begin += entry.ts + 2
        entry.ts = begin
        if entry.what != "alloc":
            entry.pfn = max(entry.pfn, 0)
    return entries


def model(cpus: dict[int, list[Entry]], machine: Machine) -> tuple[list[Row], dict[int | None, int], dict[str, int]]:
    """The slow way: what should come out of the entries that were written."""
    rows: list[tuple[int, int, list[Any]]] = []
    lost: dict[int | None, int] = {}
    counts = dict.fromkeys(("other_events", "batched_frees_skipped", "stacks_without_event", "uncounted_losses"), 0)
    for cpu, entries in cpus.items():
        waiting: list[list[Any] | None] = [None] * 4
        for place, entry in enumerate(entries):
            if entry.what in ("page", "discarded"):
                continue
            if entry.what == "lost":
                followed = entries[place + 1 :]
                if not followed or followed[0].what in ("lost", "page"):
                    continue  # no page follows that could say it
                if entry.count is None:
                    counts["uncounted_losses"] += 1
                else:
                    lost[cpu] = lost.get(cpu, 0) + entry.count
                continue
            if entry.what == "stack":
                row = waiting[entry.context]
                if row is not None and row[1] == entry.pid:
                    names = [
                        SYMBOLS.get(
                            frame & (1 << 64) - 1 if machine.long == 8 else frame,
                            hex(frame & (1 << 8 * machine.long) - 1),
                        )
                        for frame in entry.frames
                    ]
                    while names and names[0].startswith("trace_event_"):
                        names.pop(0)
                    if entry.frames:
                        row[8] = tuple(names)
                    waiting[entry.context] = None
                elif row is not None:
                    counts["stacks_without_event"] += 1
                continue
            for deeper in range(entry.context, 4):
                waiting[deeper] = None
            if entry.what in ("other", "batched"):
                counts["other_events" if entry.what == "other" else "batched_frees_skipped"] += 1
                continue
            kind = "alloc_failed" if entry.what == "alloc" and entry.pfn == -1 else entry.what
            new = [
                cpu,
                entry.pid,
                "<idle>" if entry.pid == 0 else TASKS.get(entry.pid, "<...>"),
                kind,
                entry.pfn,
                entry.order,
                -1 if kind == "free" else entry.migratetype,
                GFPS[entry.gfp] if entry.what == "alloc" else None,
                None,
            ]
            waiting[entry.context] = new
            rows.append((entry.ts, cpu, new))
    rows.sort(key=lambda row: row[:2])
    return [(ts, *row) for ts, _, row in rows], lost, counts


def read(path: Path, *, best_effort: bool = False) -> tuple[list[Row], Any]:
    trace = open_trace([path], Context(best_effort))
    rows: list[Row] = []
    try:
        for batch in trace.batches():
            for row in batch.tolist():
                ts, pfn, pid, comm, gfp, stack, cpu, kind, order, migratetype = row
                rows.append(
                    (
                        ts,
                        cpu,
                        pid,
                        trace.comms[comm],
                        KINDS[kind],
                        pfn,
                        order,
                        migratetype,
                        trace.gfps[gfp] if gfp >= 0 else None,
                        stack,
                    )
                )
        return [(*row[:-1], trace.stacks[row[-1]] if row[-1] >= 0 else None) for row in rows], trace.found
    finally:
        trace.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(machines(), ENTRIES, ENTRIES, st.sampled_from(VARIANTS), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    machine: Machine,
    one: list[Entry],
    other: list[Entry],
    variant: str,
    instance: bool,
) -> None:
    cpus = {0: timed(one, 1 << 30), 3: timed(other, (1 << 30) + 5)}
    pages = {cpu: machine.pages(entries) for cpu, entries in cpus.items()}
    if not any(pages.values()):
        return
    expected, lost, counts = model(cpus, machine)
    path = tmp_path_factory.mktemp("trace") / "trace.dat"
    path.write_bytes(File(machine, pages, CMDLINES, KALLSYMS, instance="mine" if instance else "").write(variant))
    rows, found = read(path)
    if machine.long == 4:  # addresses have 32 bits and no symbols here
        rows, expected = [row[:-1] for row in rows], [row[:-1] for row in expected]
    assert rows == expected
    assert found.lost == lost
    found.counts["uncounted_losses"] = found.uncounted.total()
    assert {name: found.counts[name] for name in counts} == counts
    entries = [entry.ts for some in cpus.values() for entry in some if entry.what not in ("page", "lost", "discarded")]
    assert found.first_ns == min(entries, default=-1)


# ------------------------------------------------------------------------------------------- against trace-cmd itself

EXCERPT = Path(__file__).parent / "trace_dat"


@pytest.mark.parametrize("name", ["build-2g-excerpt.dat", "build-2g-excerpt.v6.dat.gz"])
def test_real_pages_agree_with_trace_cmd_report(name: str) -> None:
    """Three pages of the recording build-2g; the text is what trace-cmd 3.1.6 prints of the same file."""
    rows, found = read(EXCERPT / name)
    text = ftrace.open_trace([EXCERPT / "build-2g-excerpt.report.txt.gz"], Context())
    printed = [
        (
            ts,
            cpu,
            pid,
            text.comms[comm],
            KINDS[kind],
            pfn,
            order,
            migratetype,
            text.gfps[gfp] if gfp >= 0 else None,
            text.stacks[stack] if stack >= 0 else None,
        )
        for batch in text.batches()
        for ts, pfn, pid, comm, gfp, stack, cpu, kind, order, migratetype in batch.tolist()
    ]
    text.close()
    assert len(rows) == len(printed) == 166
    assert [((row[0] + 500) // 1000 * 1000, *row[1:-1]) for row in rows] == [row[:-1] for row in printed]
    differ = [place for place, (row, other) in enumerate(zip(rows, printed, strict=True)) if row[-1] != other[-1]]
    # a free in a softirq came between an allocation and its stack: the text, which does not show contexts, mixes them up
    assert [(rows[place][4], rows[place][-1] is None) for place in differ] == [("alloc", False), ("free", True)]
    assert not found.counts["stacks_without_event"]


def test_import(ingest: Callable[..., int], query: Callable[..., list[Row]]) -> None:
    assert ingest(EXCERPT / "build-2g-excerpt.dat", "--name", "excerpt") == 0
    assert query("SELECT format, kernel_release, arch, cpus, clock, events, lost_events FROM capture") == [
        ("trace-dat", "6.12.95+deb12-amd64", "x86_64", 2, "local", 166, 0)
    ]
    assert query("SELECT kind::VARCHAR, count(*), count(stack_id) FROM page_event GROUP BY ALL ORDER BY ALL") == [
        ("alloc", 46, 45),
        ("free", 120, 0),
    ]


# ------------------------------------------------------------------------------------------------ options and buffers


def small(machine: Machine | None = None, **changes: Any) -> File:
    """Two CPUs with an allocation and its stack, and a free."""
    machine = machine or Machine()
    stack = tuple(SYMBOLS)
    cpus = {
        0: machine.pages(
            [Entry(1000, "alloc", pfn=7, gfp=0xDC0), Entry(1010, "stack", frames=stack), Entry(3000, "free", pfn=7)]
        ),
        1: machine.pages(
            [Entry(2000, "alloc", pid=2, pfn=9, order=1, gfp=0xCC0), Entry(2010, "stack", pid=2, frames=stack)]
        ),
    }
    return File(machine, **{"cpus": cpus, "tasks": CMDLINES, "kallsyms": KALLSYMS, **changes})


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(data: bytes, name: str = "trace.dat") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_what_trace_cmd_says_it_lost(written: Callable[..., Path]) -> None:
    said = b"CPU: 1\nentries: 2\noverrun: 40\ncommit overrun: 1\ndropped events: 2\n\0"
    file = small(options=[(2, b"CPU: 0\noverrun: 0\n\0"), (2, said)])
    gap = Machine().pages([Entry(5, "lost", count=7), Entry(2000, "alloc"), Entry(2001, "lost"), Entry(2002, "free")])
    file.cpus[1] = gap
    file.cpus[0] += Machine().pages([Entry(0, "lost"), Entry(4000, "free", pfn=1)])
    _, found = read(written(file.write("7-zstd")))
    assert found.lost == {1: 43}  # the larger of what the pages and what the statistics say
    assert found.uncounted == {0: 1}


@pytest.mark.parametrize("variant", ["6", "7"])
def test_clocks(variant: str, written: Callable[..., Path]) -> None:
    def number(size: int, value: int) -> bytes:
        return value.to_bytes(size, "little", signed=value < 0)

    def times(*options: tuple[int, bytes]) -> list[int]:
        rows, found = read(written(small(options=list(options), clock="local [x86-tsc]").write(variant)))
        assert found.first_ns == rows[0][0]
        return [row[0] for row in rows]

    tsc = (14, number(4, 3 << 20) + number(4, 20) + bytes(8))  # three ns a count
    assert times(tsc) == [3000, 6000, 9000]
    assert times(tsc, (7, b"0x10\0"), (1, b"-1\0")) == [2016, 5016, 8016]  # OFFSET in ns, DATE in us
    shift = number(8, 1) + number(4, 1) + number(4, 2)
    shift += number(4, 2) + b"".join(
        number(8, value) for value in (0, 2000, 100, 300, 1, 1)
    )  # CPU 0: 100 to 300 ns more
    shift += number(4, 1) + b"".join(number(8, value) for value in (0, -500, 1))  # CPU 1: 500 ns less
    assert times(tsc, (12, shift)) == [3 * (1000 + 200), 3 * (2000 - 500), 3 * (3000 + 400)]
    with pytest.raises(UsageError, match="counts of the clock x86-tsc"):
        times()


def test_the_buffer_with_page_events_is_read(written: Callable[..., Path]) -> None:
    rows, found = read(written(small(instance="mine").write("7")))
    assert (len(rows), found.counts["buffers_not_read"]) == (3, 0)
    other = {0: Machine().pages([Entry(10, "other", pid=1)] * 3)}
    rows, found = read(written(small(instance="mine", top=other).write("7")))
    assert (len(rows), found.counts["buffers_not_read"], found.counts["other_events"]) == (3, 1, 0)
    one = {0: Machine().pages([Entry(10, "free", pfn=8)])}
    rows, found = read(written(small(instance="mine", top=one).write("7-zstd")))
    assert (len(rows), found.counts["buffers_not_read"]) == (1, 1)


def test_parts_are_merged_and_number_their_own_names(tmp_path: Path) -> None:
    machine = Machine()
    first, second = (
        small(),
        small(tasks="2 other\n", kallsyms=KALLSYMS.replace("alloc_pages_noprof", "alloc_pages_mpol")),
    )
    second.cpus = {
        0: machine.pages(
            [Entry(1500, "alloc", pid=2, pfn=3, gfp=0x40CC1), Entry(1510, "stack", pid=2, frames=tuple(SYMBOLS))]
        )
    }
    paths = [tmp_path / "b.dat", tmp_path / "a.dat"]
    for path, file in zip(paths, (second, first), strict=True):
        path.write_bytes(file.write("7-zstd"))
    trace = open_trace(paths, Context())
    rows = [
        (ts, trace.comms[comm], trace.gfps[gfp] if gfp >= 0 else None, trace.stacks[stack][-1] if stack >= 0 else None)
        for batch in trace.batches()
        for ts, _, _, comm, gfp, stack, *_ in batch.tolist()
    ]
    assert rows == [
        (1000, "init", "GFP_KERNEL|__GFP_ZERO", "alloc_pages_noprof"),
        (1500, "other", "GFP_KERNEL|__GFP_COMP|0x1", "alloc_pages_mpol"),
        (2000, "kthreadd", "GFP_KERNEL", "alloc_pages_noprof"),
        (3000, "init", None, None),
    ]
    assert trace.found.first_ns == 1000
    assert trace.consumed() == sum(path.stat().st_size for path in paths)


# ------------------------------------------------------------------------------------------------------------- damage


def replaced(old: bytes, new: bytes, variant: str = "7") -> bytes:
    data = small().write(variant)
    assert old in data
    return data.replace(old, new)


def circle() -> bytes:
    """Options that lead back to where they began."""
    data = bytearray(small().write("7"))
    first = int.from_bytes(data[25:33], "little")
    done = data.index(b"\0\0\x08\0\0\0", first + 16)
    data[done + 6 : done + 14] = first.to_bytes(8, "little")
    return bytes(data)


PAGE_POINTERS = [Machine().format(name).replace("unsigned long pfn", "struct page * page") for name in Machine().ids]
DAMAGE = {
    "version": (replaced(b"tracing7", b"tracing8"), "version 8"),
    "cut header": (small().write("6")[:300], "should follow are missing"),
    "no events": (small(cpus={}).write("7"), "no events"),
    "latency": (small().write("6").replace(b"flyrecord", b"latency  "), "latency tracer"),
    "circle": (circle(), "in a circle"),
    "compression": (small().write("7-zstd").replace(b"zstd\0", b"lzip\0"), "compressed with lzip"),
    "no formats": (small(formats=[]).write("7"), "it describes no page-allocation events"),
    "page pointers": (small(formats=PAGE_POINTERS).write("6"), "struct page"),
    "page size": (small(Machine(page=4096 + 8), cpus={0: bytes(8192)}).write("7"), "impossible page size"),
    "header_page": (replaced(b"u64 timestamp;\toffset:0", b"u64 timestamp;\toffset:4"), "header_page"),
    "data cut off": (small().write("6")[:-4096], "CPU 1 lacks 4,096"),
    "chunk": (small().write("7-zlib").replace(b"\x78\x9c", b"\x79\x9c"), "damaged"),
    "commit": (small(cpus={0: bytes(8) + b"\xff\xff\xff\x07" + bytes(4084)}).write("7"), "CPU 0: no events"),
    "time": (small(cpus={0: Machine().pages([Entry(1 << 63, "alloc")])}).write("7"), "CPU 0: no events"),
    "order": (small(cpus={0: Machine().pages([Entry(5, "alloc", order=99)])}).write("7"), "CPU 0: no events"),
    "half a page": (small(cpus={0: bytes(100)}).write("7"), "last page is cut off"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(name: str, written: Callable[..., Path]) -> None:
    data, says = DAMAGE[name]
    path = written(data)
    with pytest.raises(UsageError, match=says) as caught:
        read(path)
    assert str(path) in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("data cut off", "cut_off"),
        ("commit", "damaged_records"),
        ("time", "damaged_records"),
        ("order", "damaged_records"),
        ("half a page", "cut_off"),
    ],
)
def test_best_effort_counts_it(name: str, finding: str, written: Callable[..., Path]) -> None:
    rows, found = read(written(DAMAGE[name][0]), best_effort=True)
    assert found.counts[finding] == 1
    assert len(rows) == (2 if name == "data cut off" else 0)


SMALL = {
    variant: small(
        Machine(page=512),
        cpus={
            cpu: Machine(page=512).pages(
                [
                    Entry(1000 + 10 * at, ("alloc", "stack", "free")[at % 3], pfn=at, gfp=0xCC0, frames=tuple(SYMBOLS))
                    for at in range(30)
                ]
            )
            for cpu in (0, 1)
        },
    ).write(variant)
    for variant in VARIANTS
}
CUTS = st.integers(0, 1 << 20)
CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)), max_size=6
)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(VARIANTS), CUTS, CHANGES, st.booleans())
def test_no_file_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, variant: str, cut: int, changes: list[tuple[int, int]], best_effort: bool
) -> None:
    """Whatever is done to a file: it is read, or refused in words."""
    data = bytearray(SMALL[variant])
    whole = len(read_bytes(tmp_path_factory, bytes(data), best_effort)[0])
    for at, value in changes:
        data[at % len(data)] = value
    if cut % 3 == 0:
        del data[cut % len(data) :]
    try:
        rows, found = read_bytes(tmp_path_factory, bytes(data), best_effort)
    except UsageError as error:
        assert error.what
        assert error.remedy
        return
    assert len(rows) == whole or changes or found.counts["cut_off"]


def read_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, best_effort: bool) -> tuple[list[Row], Any]:
    path = tmp_path_factory.getbasetemp() / "fuzzed.dat"
    path.write_bytes(data)
    return read(path, best_effort=best_effort)
