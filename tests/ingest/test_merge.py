"""Streams merged by time, against sorting everything; and the files of one recording, however it was written."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import merge
from ingest.merge import merged
from ingest.trace import BATCH, ROW

Query = Callable[..., list[tuple[object, ...]]]

times = st.lists(st.integers(0, 12), max_size=12)
streams = st.lists(
    st.tuples(times, st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 3)), min_size=1, max_size=5
)


def batches(ts: list[int], sizes: list[int], stream: int) -> Iterator[np.ndarray]:
    """The rows of a stream in batches of these sizes, all in the same array; pfn tells the place."""
    shared = np.zeros(max(sizes), ROW)
    at = 0
    while at < len(ts):
        for size in sizes:
            piece = shared[:size][: len(ts) - at]
            piece["ts"], piece["pfn"] = ts[at : at + len(piece)], np.arange(at, at + len(piece))
            piece["cpu"] = stream
            at += len(piece)
            yield piece
            shared["ts"] = -1
        if not any(sizes):
            return


@settings(max_examples=300, deadline=None)
@given(streams, st.integers(1, 9))
def test_as_sorted(found: list[tuple[list[int], list[int], int]], batch: int) -> None:
    found = sorted(
        ((max(0, min(ts, default=0) - early), ts if any(sizes) else [], sizes) for ts, sizes, early in found),
        key=lambda stream: stream[0],
    )
    expected = sorted(
        (order, number, place)
        for number, (_, ts, _) in enumerate(found)
        for place, order in enumerate(accumulate(ts, max))
    )
    open_at_once: list[int] = []

    def read(number: int) -> Iterator[np.ndarray]:
        open_at_once.append(number)
        yield from batches(*found[number][1:], number)

    waiting = deque((begin, number) for number, (begin, _, _) in enumerate(found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "BATCH", batch)
        got = [row for rows in merged(waiting, read) for row in rows[["cpu", "pfn", "ts"]].tolist()]
    assert [(number, place) for number, place, _ in got] == [(number, place) for _, number, place in expected]
    assert all(ts == found[number][1][place] for number, place, ts in got)
    assert open_at_once == list(range(len(found)))


def test_streams_that_follow_each_other_are_open_one_by_one() -> None:
    alive: set[int] = set()
    most = 0

    def read(number: int) -> Iterator[np.ndarray]:
        nonlocal most
        alive.add(number)
        most = max(most, len(alive))
        yield from batches([10 * number, 10 * number + 9], [1], number)
        alive.remove(number)

    rows = np.concatenate([rows.copy() for rows in merged(deque((10 * number, number) for number in range(20)), read)])
    assert (np.diff(rows["ts"]) > 0).all()
    assert most <= 2
    assert len(rows) < BATCH


def in_parts(text: str) -> dict[str, list[str]]:
    """The lines of a trace by CPU; a stack goes with the entry above it."""
    parts: dict[str, list[str]] = {}
    cpu = ""
    for line in text.splitlines(keepends=True):
        match = re.search(r"\[(\d+)\]", line)
        cpu = match[1] if match else cpu
        if not line.startswith("#"):
            parts.setdefault(f"trace.cpu{int(cpu)}.txt", []).append(line)
    return parts


@pytest.fixture
def whole() -> str:
    """Events of three CPUs with stacks, often at the same time; each stack is an entry after its event."""
    lines = []
    for place in range(300):
        head = f"task-{place % 7}  [{place * 5 % 3:03d}] d..2.  {1 + place // 4 / 1000:.6f}: "
        lines.append(head + f"mm_page_alloc: page=0x1 pfn={place + 16:#x} order=0 migratetype=0 gfp_flags=GFP_KERNEL\n")
        lines.append(f"{head}<stack trace>\n => __alloc_pages\n => caller_{place}\n")
    return "".join(lines)


EVERYTHING = "SELECT ts_ns, cpu, pid, pfn, frames FROM page_event JOIN stack USING (stack_id) ORDER BY ts_ns, cpu, seq"


def test_a_file_for_each_cpu(whole: str, tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (tmp_path / "whole.txt").write_text(whole)
    for name, lines in in_parts(whole).items():
        (folder / name).write_text("".join(lines))
    (folder / "trace.cpu3.txt").write_text("")  # nothing happened on it
    assert ingest(tmp_path / "whole.txt") == 0
    expected = query(EVERYTHING)
    assert len(expected) == 300
    assert ingest(folder, "--name", "whole", "--replace") == 0
    assert query(EVERYTHING) == expected
    assert query("SELECT source, bool_and(ts_ns >= before) FROM (SELECT *, lag(ts_ns) OVER (ORDER BY seq) AS before"
                 " FROM page_event JOIN capture USING (capture_id)) GROUP BY ALL") == [
        ("trace.cpu0.txt, trace.cpu1.txt, trace.cpu2.txt", True)
    ]  # fmt: skip
    assert query("SELECT value FROM import_stat WHERE name = 'events_back_in_time'") == [(0,)]
    assert ingest(*sorted(folder.iterdir(), reverse=True), "--from", "10ms", "--to", "20ms", "--name", "some") == 0
    assert query(
        "SELECT min(ts_ns), max(ts_ns) FROM page_event JOIN capture USING (capture_id) WHERE name = 'some'"
    ) == [(1_010_000_000, 1_020_000_000)]


def test_rotated_files(whole: str, tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    """Files that follow each other are one text, even where one begins with the stack of the last event before it."""
    lines = whole.splitlines(keepends=True)
    (tmp_path / "whole.txt").write_text(whole)
    assert ingest(tmp_path / "whole.txt") == 0
    expected = query(EVERYTHING)
    cuts = [0, 401, 805, len(lines)]
    assert lines[401].endswith("<stack trace>\n")
    paths = []
    for number, (first, last) in enumerate(pairwise(cuts)):
        paths.append(tmp_path / f"part{number}.txt")
        paths[-1].write_text("".join(lines[first:last]))
    for order in (paths, paths[::-1]):
        assert ingest(*order, "--name", "whole", "--replace") == 0
        assert query(EVERYTHING) == expected


def test_a_file_named_twice(
    tmp_path: Path, ingest: Callable[..., int], whole: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "whole.txt").write_text(whole)
    assert ingest(tmp_path / "whole.txt", tmp_path / "." / "whole.txt") == 2
    assert "named twice" in capsys.readouterr().err
