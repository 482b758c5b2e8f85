"""One excerpt of a real recording in every form that people have it: the same rows, as far as each form prints them.

The excerpt is of a build on 6.12 (trace-cmd record). The report-* files are trace-cmd's own (3.1.6 by its options, -older
by the version on the recorded machine; -instance is -default, the name of an instance put before its lines); the others are written after the kernel's print functions. events.csv was made by
a script that knows nothing of ptpool.
"""

import csv
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.formats import sniff
from ingest.source import read_head
from ingest.trace import Context
from ptpool.errors import UsageError
from ptpool.vocabulary import GFP_BITS, gfp_flags

CORPUS = Path(__file__).parent / "corpus"
SKIP_KASAN = GFP_BITS[
    "__GFP_SKIP_KASAN"
]  # of GFP_HIGHUSER_MOVABLE, but no bit at all where KASAN uses no hardware tags
TEXTS = sorted(CORPUS.glob("*.txt"))


@dataclass(frozen=True)
class Loss:
    """What a form does not print."""

    comm: int | None = 16  # length of the names; None: no task
    frames: int | None = None  # how many of a stack, the tracer's included
    addresses: bool = False  # in place of names
    ns: bool = False  # times to the ns; else the us
    since: int | None = 0  # ns at which its times begin; None: it has none


LOSSES = {
    "report-default": Loss(frames=8),
    "report-instance": Loss(frames=8),
    "report-latency": Loss(frames=8, comm=8),
    "report-raw": Loss(frames=8, addresses=True),
    "report-ns": Loss(frames=8, ns=True),
    "report-ts-diff": Loss(frames=8),
    "trace-latency": Loss(comm=8, since=-1),
    "function-graph": Loss(comm=7),
    "function-graph-bare": Loss(comm=None, since=None),
}


def expected(loss: Loss) -> list[tuple[object, ...]]:
    with (CORPUS / "events.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    first = int(rows[0]["ts_ns"]) - 7_123_456 if loss.since == -1 else 0
    found: list[tuple[object, ...]] = []
    for row in rows:
        ts = int(row["ts_ns"]) - first
        ts = ts if loss.ns else (ts + (500 if loss.since == 0 else 0)) // 1000 * 1000
        frames = row["frames"].split(" < ") if row["frames"] else None
        found.append(
            (
                None if loss.since is None else ts,
                int(row["cpu"]),
                0 if loss.comm is None else int(row["pid"]),
                None if loss.comm is None else row["comm"][: loss.comm],
                row["kind"],
                int(row["pfn"]),
                int(row["page_order"]),
                int(row["migratetype"]) if row["migratetype"] else None,
                gfp_flags(row["gfp_text"])[0] & ~SKIP_KASAN if row["gfp_text"] else None,
                frames and frames[: loss.frames and loss.frames - 1],
            )
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_the_same_rows(path: Path, ingest: Callable[..., int], query: Callable[..., list[tuple[object, ...]]]) -> None:
    loss = LOSSES.get(path.stem, Loss())
    assert ingest(path) == 0
    got = query(f"""SELECT ts_ns, cpu, pid, comm, kind, pfn, page_order, migratetype, gfp_flags & ~{SKIP_KASAN}, frames
                   FROM page_event LEFT JOIN stack USING (stack_id) ORDER BY seq""")
    found = dict(query("SELECT name, value FROM import_stat"))
    assert found["events_without_time"] == found["events_without_task"] == (len(got) if loss.since is None else 0)
    if loss.since is None:
        assert [row[0] for row in got] == sorted({row[0] for row in got})
        got = [(None, *row[1:]) for row in got]
    if loss.addresses:
        assert {len(row[-1]) for row in got if row[-1]} == {loss.frames}
        assert all(frame.startswith("0xffffffff8") for row in got for frame in row[-1] or [])
        assert len({tuple(row[-1]) for row in got if row[-1]}) == 11
        got = [(*row[:-1], None) for row in got]
    want = [(*row[:-1], None) if loss.addresses else row for row in expected(loss)]
    assert got == want
    assert len(got) == 21


def test_addresses_get_names_from_the_kernels_symbols(
    tmp_path: Path, ingest: Callable[..., int], query: Callable[..., list[tuple[object, ...]]]
) -> None:
    """report-raw with the symbols that report-older prints next to its addresses."""
    names = set(re.findall(r"=> (\S+) \((\w{16})\)", (CORPUS / "report-older.txt").read_text()))
    (tmp_path / "kallsyms").write_text("".join(f"{address} T {name}\n" for name, address in names))
    shutil.copy(CORPUS / "report-raw.txt", tmp_path)
    assert ingest(tmp_path) == 0
    got = query("SELECT frames FROM page_event LEFT JOIN stack USING (stack_id) ORDER BY seq")
    assert [frames for (frames,) in got] == [row[-1] for row in expected(Loss(frames=8))]


edits = st.lists(
    st.tuples(
        st.sampled_from(["cut", "copy", "put", "flip"]), st.floats(0, 1), st.integers(0, 90), st.binary(max_size=12)
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(TEXTS), edits)
def test_whatever_is_done_to_it(tmp_path: Path, path: Path, edits: list[tuple[str, float, int, bytes]]) -> None:
    """Mutated texts are refused in plain words or read; every line is accounted for."""
    data = path.read_bytes()
    for what, where, length, put in edits:
        at = int(where * len(data))
        span = data[at : at + length]
        middle = {"cut": b"", "copy": span + span, "put": put + span, "flip": bytes(b ^ 1 for b in span)}[what]
        data = data[:at] + middle + data[at + length :]
    mutated = tmp_path / "mutated.txt"
    mutated.write_bytes(data)
    try:
        with closing(
            sniff(read_head(mutated), "mutated.txt").open_trace([mutated], Context(best_effort=True))
        ) as trace:
            rows = sum(len(batch) for batch in trace.batches())
    except UsageError:
        return
    assert rows <= data.count(b"mm_page_")
    assert len(trace.comms) <= rows + 1
    assert rows + trace.found.counts["damaged_lines"] > 0
