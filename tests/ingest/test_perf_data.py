"""perf.data: files that a slow writer made, in every layout, and what the reader makes of them."""

import gzip
from pathlib import Path

import numpy as np
import perf_data_writer as w
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.formats.perf_data import open_trace
from ingest.trace import Context
from ptpool.errors import UsageError
from ptpool.vocabulary import KINDS

ALLOC = {"order": 1, "gfp_flags": 0x1C0, "migratetype": 1}
KALLSYMS = """\
ffffffff81000000 T _text
ffffffff81001000 T alloc
ffffffff81002000 t fault
ffffffff81003000 T syscall
ffffffff81009000 T _etext
"""
CHAIN = (w.CONTEXT_KERNEL, 0xFFFFFFFF81001010, 0xFFFFFFFF81002020, w.CONTEXT_USER, 0x5000, 0x6000)


def read(path: Path, *, best_effort: bool = False, kallsyms: Path | None = None):
    """The trace, and its rows with names in place of numbers."""
    trace = open_trace([path], Context(best_effort, kallsyms))
    try:
        rows = [row for batch in trace.batches() for row in batch.copy()]
    finally:
        trace.close()
    return trace, [
        (
            int(row["ts"]),
            int(row["cpu"]),
            int(row["pid"]),
            trace.comms[row["comm"]],
            KINDS[row["kind"]],
            int(row["pfn"]),
            int(row["order"]),
            int(row["migratetype"]),
            trace.gfps[row["gfp"]] if row["gfp"] >= 0 else None,
            trace.stacks[row["stack"]] if row["stack"] >= 0 else None,
        )
        for row in rows
    ]


def written(folder: Path, data: bytes, name: str = "perf.data") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


LAYOUTS = [
    w.USUAL,
    ("IDENTIFIER", "TID", "TIME", "CPU", "RAW"),
    ("ID", "TID", "TIME", "CPU", "RAW", "CALLCHAIN"),
    ("IP", "TID", "TIME", "ADDR", "ID", "STREAM_ID", "CPU", "PERIOD", "READ", "CALLCHAIN", "RAW"),
    tuple(name for name in w.BITS if name != "WEIGHT_STRUCT"),
    tuple(name for name in w.BITS if name != "WEIGHT"),
]
ELSEWHERE = {
    w.ALLOC: {
        "migratetype": w.Field("int", 12, 4),
        "vendor": w.Field("long", 16, 8),
        "gfp_flags": w.Field("gfp_t", 24, 4),
        "order": w.Field("u8", 28, 1),
        "pfn": w.Field("unsigned long", 32, 8),
    },
    w.FREE: {"order": w.Field("u8", 9, 1), "pfn": w.Field("u32", 12, 4)},
    w.BATCHED: {"pfn": w.Field("unsigned long", 8, 8)},
    w.SWITCH: {"prev_pid": w.Field("pid_t", 8, 4)},
}


@pytest.mark.slow
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("how", ["file", "pipe", "compressed", "compressed2"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{len(layout)}-{layout[0]}")
@pytest.mark.parametrize("fields", [w.USUAL_FIELDS, ELSEWHERE], ids=["usual", "elsewhere"])
def test_every_layout(order, how, layout, fields, tmp_path):
    for read_format in (0, w.ENABLED | w.READ_ID, w.GROUP | w.RUNNING | w.READ_ID | w.READ_LOST):
        attribute = w.Attribute(layout, read_format, ids=(7, 8), hw_idx=bool(read_format))
        file = w.Writer(order, [attribute], fields)
        file.comm(42, "a task", time=90, id_=7)
        file.sample(w.Sample(100, 3, 42, file.raw(w.ALLOC, pfn=0x1234, **ALLOC), CHAIN, 7), attribute)
        file.sample(w.Sample(200, 2, 42, file.raw(w.FREE, pfn=0x1234, order=1), (), 8), attribute)
        file.sample(w.Sample(300, 2, 42, file.raw(w.BATCHED, pfn=1), (), 8), attribute)
        file.sample(w.Sample(400, 2, 42, file.raw(w.SWITCH), (), 8), attribute)
        if how.startswith("compressed"):
            file.compress([1, 50, 55], w.COMPRESSED2 if how.endswith("2") else w.COMPRESSED)
        path = written(tmp_path, file.pipe() if how == "pipe" else file.file())
        kallsyms = written(tmp_path, KALLSYMS.encode(), "kallsyms")
        trace, rows = read(path, kallsyms=kallsyms)
        stack = ("alloc", "fault") if "CALLCHAIN" in layout else None
        assert rows == [
            (100, 3, 42, "a task", "alloc", 0x1234, 1, 1, "GFP_IOFS|__GFP_ZERO", stack),
            (200, 2, 42, "a task", "free", 0x1234, 1, -1, None, None),
        ]
        assert trace.found.counts["batched_frees_skipped"] == trace.found.counts["other_events"] == 1
        assert trace.found.counts["user_frames_dropped"] == (2 if stack else 0)
        assert trace.found.first_ns == 100
        assert sorted(trace.found.comments) == [
            "# arch : x86_64",
            "# nrcpus online : 4",
            "# os release : 6.12.0-test",
            "# total memory : 1048576 kB",
        ]


def test_stacks_on_one_event_only(tmp_path):
    stacks, bare = w.Attribute(ids=(1, 2)), w.Attribute(("IDENTIFIER", "TIME", "TID", "CPU", "RAW"), ids=(3, 4))
    clock = w.Attribute(("IDENTIFIER", "TIME", "CPU"), ids=(5,), type=0, clockid=1)
    file = w.Writer("<", [stacks, bare, clock])
    file.sample(w.Sample(10, 0, 0, b"", id=5), clock)
    file.sample(w.Sample(11, 1, 0, file.raw(w.FREE, pfn=5, order=0), id=4), bare)
    file.sample(w.Sample(12, 1, 9, file.raw(w.ALLOC, pfn=-1, **ALLOC), CHAIN, id=2), stacks)
    trace, rows = read(written(tmp_path, file.file()))
    assert rows == [
        (11, 1, 0, "swapper", "free", 5, 0, -1, None, None),
        (12, 1, 9, ":9", "alloc_failed", -1, 1, 1, "GFP_IOFS|__GFP_ZERO", ("0xffffffff81001010", "0xffffffff81002020")),
    ]
    assert trace.found.counts["other_events"] == 1
    assert "# clockid: monotonic" in trace.found.comments


def test_names_of_tasks_are_those_of_the_time(tmp_path):
    """Written CPU by CPU, as perf finds them in its buffers: order of time is not order of the file."""
    file = w.Writer()
    (attribute,) = file.attributes

    def free(time, cpu, tid):
        file.sample(w.Sample(time, cpu, tid, file.raw(w.FREE, pfn=time, order=0), id=7), attribute)

    file.comm(5, "shell")  # made up by perf before the recording: no time
    free(100, 0, 5)
    free(300, 0, 6)
    file.comm(6, "child", time=310, cpu=0)
    free(320, 0, 6)
    file.round()
    free(150, 1, 5)
    file.fork(6, 5, time=200, cpu=1)
    file.fork(8, 7, time=210, cpu=1)
    free(330, 1, 8)
    file.round()
    free(325, 0, 6)
    file.round()
    free(400, 0, 5)
    _, rows = read(written(tmp_path, file.file()))
    assert [(row[0], row[3]) for row in rows] == [
        (100, "shell"), (150, "shell"), (300, "shell"), (320, "child"), (325, "child"), (330, ":8"), (400, "shell"),
    ]  # fmt: skip


def test_losses_are_not_counted_twice(tmp_path):
    file = w.Writer()
    (attribute,) = file.attributes
    file.sample(w.Sample(100, 0, 5, file.raw(w.FREE, pfn=1, order=0), id=7, period=4), attribute)
    file.lost(3, time=110, cpu=2, id_=7)
    file.lost(4, time=120, cpu=1, id_=7)
    file.side(w.THROTTLE, file.pack("QQQ", 130, 7, 7), time=130, id_=7)
    file.lost_samples(9, id_=7)  # at the end: all seven and two more
    file.side(w.LOST_SAMPLES, file.pack("Q", 1000), id_=7, misc=1 << 15)  # dropped by a filter, on purpose
    trace, _ = read(written(tmp_path, file.file()))
    assert trace.found.lost == {2: 3, 1: 4, None: 2}
    assert trace.found.counts["throttled"] == 1
    assert trace.found.counts["events_not_sampled"] == 3


def test_symbols_move_with_the_kernel(tmp_path):
    file = w.Writer()
    (attribute,) = file.attributes
    file.kernel_map("_text", 0xFFFFFFFF91000000)
    chain = tuple(address + 0x10000000 if address >> 32 and address < w.CONTEXT_USER else address for address in CHAIN)
    file.sample(w.Sample(1, 0, 5, file.raw(w.ALLOC, pfn=1, **ALLOC), chain, 7), attribute)
    kallsyms = written(tmp_path, KALLSYMS.encode(), "kallsyms")
    _, rows = read(written(tmp_path, file.file()), kallsyms=kallsyms)
    assert rows[0][-1] == ("alloc", "fault")


def test_a_killed_perf(tmp_path):
    file = w.Writer()
    (attribute,) = file.attributes
    for time in (1, 2):
        file.sample(w.Sample(time, 0, 5, file.raw(w.FREE, pfn=time, order=0), id=7), attribute)
    path = written(tmp_path, file.file(finished=False)[:-5])
    with pytest.raises(UsageError, match="its events are not described"):
        read(path)
    for system, text in file.formats():
        folder = tmp_path / "events" / system / text.split()[1]
        folder.mkdir(parents=True)
        (folder / "format").write_text(text)
    trace, rows = read(path)
    assert [row[0] for row in rows] == [1]
    assert trace.found.counts["unfinished"] == 1


def test_a_compressed_file_is_the_same(tmp_path):
    data = small()
    plain = read(written(tmp_path, data))[1]
    assert len(plain) == 4
    packed = gzip.compress(data)
    assert read(written(tmp_path, packed, "perf.data.gz"))[1] == plain
    assert read(written(tmp_path, w.zstd.compress(data), "perf.data.zst"))[1] == plain
    with pytest.raises(UsageError, match="cut off"):
        read(written(tmp_path, packed[:-30], "perf.data.gz"))


def test_more_events_than_fit_at_once(tmp_path, monkeypatch):
    """Rows wait for their round; where there are too many, the older half goes on."""
    from ingest.formats.perf_data import trace as module

    monkeypatch.setattr(module, "BATCH", 64)
    file = w.Writer()
    (attribute,) = file.attributes
    rng = np.random.default_rng(1)
    times = np.sort(rng.integers(1, 10_000, 2000)).reshape(4, 500)
    for round_ in times:
        for cpu in range(5):
            for time in round_[cpu::5]:
                frames = (w.CONTEXT_KERNEL, 0xFFFFFFFF81000000 + int(rng.integers(1 << 20)))
                file.sample(w.Sample(int(time), cpu, 5, file.raw(w.ALLOC, pfn=1, **ALLOC), frames, 7), attribute)
        file.round()
    path = written(tmp_path, file.file())
    _, rows = read(path)
    assert [row[0] for row in rows] == times.ravel().tolist()
    monkeypatch.setattr(module, "MOST_WAITING", 128)
    assert sorted(row[0] for row in read(path)[1]) == times.ravel().tolist()


events = st.tuples(
    st.integers(1, 1 << 40),  # ns
    st.integers(0, 4),  # cpu
    st.integers(1, 9),  # task
    st.one_of(
        st.tuples(st.just("alloc"), st.integers(0, 1 << 39), st.integers(0, 18)),
        st.tuples(st.just("comm"), st.text("abc -/:", min_size=1, max_size=15), st.none()),
        st.tuples(st.just("fork"), st.integers(1, 9), st.none()),
    ),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(events, min_size=1, max_size=40, unique_by=lambda event: event[0]),
    st.integers(1, 5),
    st.sampled_from("<>"),
)
def test_order_and_names_against_a_slow_reading(tmp_path, events, rounds, order):
    file = w.Writer(order)
    (attribute,) = file.attributes
    by_time = sorted(events, key=lambda event: event[0])
    names, expected = {}, []
    for time, cpu, task, (kind, a, b) in by_time:
        if kind == "comm":
            names[task] = a
        elif kind == "fork" and a != task:
            names.pop(task, None)
            if a in names:
                names[task] = names[a]
        elif kind == "alloc":
            expected.append((time, cpu, task, names.get(task, f":{task}"), a, b))
    size = -(-len(by_time) // rounds) or 1
    for first in range(0, len(by_time), size):
        for time, cpu, task, (kind, a, b) in sorted(by_time[first : first + size], key=lambda event: event[1]):
            if kind == "comm":
                file.comm(task, a, time=time, cpu=cpu, id_=7)
            elif kind == "fork":
                file.fork(task, a, time=time, cpu=cpu, id_=7)
            else:
                raw = file.raw(w.ALLOC, pfn=a, order=b, gfp_flags=0, migratetype=0)
                file.sample(w.Sample(time, cpu, task, raw, CHAIN, 7), attribute)
        file.round()
    rows = read(written(tmp_path, file.file()))[1]
    assert [(row[0], row[1], row[2], row[3], row[5], row[6]) for row in rows] == expected


# ------------------------------------------------------------------------------------------------------- bad input


def small(order: str = "<", how: str = "file") -> bytes:
    """A file with one of everything."""
    stacks, bare = (
        w.Attribute(ids=(1, 2)),
        w.Attribute(("IDENTIFIER", "TIME", "TID", "CPU", "READ", "RAW"), 15, ids=(3,)),
    )
    file = w.Writer(order, [stacks, bare])
    file.kernel_map("_text", 0xFFFFFFFF81000000)
    file.comm(5, "shell")
    for round_ in range(2):
        time = 1000 * round_
        file.sample(w.Sample(time + 5, 0, 5, file.raw(w.ALLOC, pfn=70, **ALLOC), CHAIN, 2), stacks)
        file.fork(6, 5, time=time + 6)
        file.lost(3, time=time + 7, id_=3, attribute=bare)
        file.sample(w.Sample(time + 8, 1, 6, file.raw(w.FREE, pfn=70, order=1), id=3), bare)
        if how != "pipe":
            file.record(w.AUXTRACE, file.pack("QQQQIIII", 8, 0, 0, 0, 0, 0, 0, 0))
            file.records.append(bytes(8))
        file.round()
    if how == "compressed":
        file.records = [record for record in file.records if record[:4] not in (file.pack("I", w.AUXTRACE), bytes(4))]
        file.compress([100, 300])
    return file.pipe() if how == "pipe" else file.file()


@pytest.mark.parametrize("how", ["file", "pipe", "compressed"])
@pytest.mark.parametrize("best_effort", [False, True])
def test_cut_anywhere(how, best_effort, tmp_path):
    data = small(how=how)
    whole = read(written(tmp_path, data))[1]
    for end in range(8, len(data), 37):
        path = written(tmp_path, data[:end])
        try:
            trace, rows = read(path, best_effort=best_effort)
        except UsageError as error:
            assert str(path) in error.what
        else:
            assert rows == whole[: len(rows)]
            assert len(rows) == len(whole) or how == "pipe" or sum(trace.found.counts.values())


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips, st.sampled_from("<>"), st.sampled_from(["file", "pipe", "compressed"]), st.booleans(),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=8, max_size=64)), max_size=2),
)  # fmt: skip
@example([(0.999, 1)], "<", "file", True, [])
def test_nothing_makes_it_crash(tmp_path, flips, order, how, best_effort, inserted):
    data = bytearray(small(order, how))
    for place, value in flips:
        data[int(place * len(data))] ^= value
    for place, extra in inserted:
        at = int(place * len(data))
        data[at:at] = extra
    path = written(tmp_path, bytes(data))
    try:
        _, rows = read(path, best_effort=best_effort)
    except UsageError as error:
        assert len(str(error).splitlines()) <= 2
    else:
        assert len(rows) <= len(data) // 8


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_behind_the_magic(tmp_path, data, pipe):
    head = b"PERFILE2" + (16 if pipe else 104).to_bytes(8, "little")
    try:
        read(written(tmp_path, head + data), best_effort=True)
    except UsageError as error:
        assert error.what


@pytest.mark.slow
def test_a_bomb_takes_little_memory(tmp_path):
    """64 KiB that unfold to 500 MB of one record that never ends."""
    file = w.Writer()
    stream = w.zstd.ZstdCompressor()
    packed = stream.compress(bytes(8) * (60 << 20), w.zstd.ZstdCompressor.FLUSH_BLOCK)
    assert len(packed) < 65_000
    file.record(w.COMPRESSED, packed)
    with pytest.raises(UsageError, match="no record"):
        read(written(tmp_path, file.file()))
    assert (tmp_path / "perf.data").stat().st_size < 100_000


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ([w.Attribute(("TID", "CPU", "RAW"))], "no time"),
        ([w.Attribute(("TID", "CPU", "TIME"))], "no raw data"),
        ([w.Attribute(("TID", "TIME", "RAW")), w.Attribute(("TIME", "RAW"))], "do not name their event"),
        ([], "it lists no events"),
    ],
)
def test_recordings_that_cannot_be_used(attributes, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        read(written(tmp_path, w.Writer("<", attributes).file()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": 1 << 63}, "not what it claims to be"),
        ({"cpu": 9000}, "not what it claims to be"),
        ({"id": 99}, "not what it claims to be"),
        ({"raw": b"\xff\xff" + bytes(34)}, "not what it claims to be"),  # an event without a description
        ({"raw": bytes(4)}, "not what it claims to be"),
    ],
    ids=str,
)
def test_a_damaged_sample(change, words, tmp_path):
    attributes = [w.Attribute(ids=(7,)), w.Attribute(ids=(8,))]
    file = w.Writer("<", attributes)
    good = {"time": 5, "cpu": 0, "tid": 5, "raw": file.raw(w.FREE, pfn=1, order=0), "id": 7}
    file.sample(w.Sample(**good), attributes[0])
    file.sample(w.Sample(**{**good, **change}), attributes[0])
    file.sample(w.Sample(**good), attributes[0])
    path = written(tmp_path, file.file())
    with pytest.raises(UsageError, match=words):
        read(path)
    trace, rows = read(path, best_effort=True)
    assert len(rows) == 2
    assert trace.found.counts["damaged_records"] == 1
