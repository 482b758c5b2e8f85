"""The compiled scanners against a slow and obvious reading of the same text, and at every block boundary."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats.text import ftrace, perf_script, scan
from ingest.spans import new_names
from ingest.trace import CONTEXTS, MAX_CPUS, OTHER_EVENT, ROW
from ptpool.vocabulary import KINDS

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2] / "ingest"


def fresh() -> scan.Scan:
    tables = [new_names(1 << 10) for _ in range(3)]
    counts = np.zeros(scan.COUNTS, np.int64)
    counts[scan.FIRST_NS] = -1
    waiting = np.full((MAX_CPUS, CONTEXTS), OTHER_EVENT, np.int64)
    rows, notes = np.zeros(1000, ROW), np.zeros((1000, 4), np.int64)
    return scan.Scan(rows, *tables, np.zeros(3, np.int64), waiting, counts, notes)


def read(scanner, blocks: list[bytes]) -> tuple[list[tuple], list[int], int]:
    """Rows with names in place of numbers, the counts, and the bytes left over."""
    state, rest, texts = fresh(), b"", {}
    for place, block in enumerate(blocks):
        data = rest + block
        buffer = np.frombuffer(data + bytes(64), np.uint8)
        at = scanner(state, buffer.ctypes.data, 0, len(data), place == len(blocks) - 1)
        for table in (state.comms, state.gfps, state.stacks):
            for slot in table[table["number"] >= 0]:
                key = (id(table), int(slot["number"]))
                if key not in texts:
                    texts[key] = data[slot["start"] : slot["end"]]
        rest = data[at:]
    rows = [
        (
            *row.tolist()[:3],
            texts[id(state.comms), row["comm"]],
            texts.get((id(state.gfps), row["gfp"])),
            texts.get((id(state.stacks), row["stack"])),
            *row.tolist()[6:],
        )
        for row in state.rows[: state.counts[scan.ROWS]]
    ]
    return rows, state.counts.tolist(), len(rest)


TEXTS = sorted(path for path in GOLDEN.glob("*/*.txt"))


def scanner_of(path: Path):
    return perf_script.scan_block if path.name.startswith("perf") else ftrace.scan_block


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.parent.name)
def test_any_split_into_blocks_gives_the_same(path: Path) -> None:
    data = path.read_bytes()
    whole = read(scanner_of(path), [data])
    assert whole[2] == 0
    for cut in range(0, len(data), 7):
        assert read(scanner_of(path), [data[:cut], data[cut:]]) == whole
    assert read(scanner_of(path), [data[i : i + 50] for i in range(0, len(data), 50)]) == whole


comms = st.text(st.sampled_from("ab0 :-_/()[].<>"), min_size=1, max_size=15).map(str.strip).filter(bool)
events = st.tuples(
    comms,
    st.integers(0, 4_194_304),  # pid
    st.integers(0, 300),  # cpu
    st.integers(0, 10**15),  # us
    st.sampled_from(["alloc", "free"]),
    st.integers(1, 2**40 - 2**10),  # pfn
    st.integers(0, 10),
    st.integers(0, 2),
    st.sampled_from(["", "....", "d..2.", "dNZff1"]),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, min_size=1, max_size=20))
def test_ftrace_round_trip(trace: list[tuple]) -> None:
    lines, expected = [], []
    for comm, pid, cpu, us, kind, pfn, order, migratetype, flags, decimal in trace:
        shown = f"{pfn}" if decimal else f"{pfn:#x}"
        more = f" migratetype={migratetype} gfp_flags=GFP_KERNEL|__GFP_ZERO" if kind == "alloc" else ""
        when = f"{us // 10**6}.{us % 10**6:06d}"
        lines.append(
            f"{comm:>16}-{pid:<7} [{cpu:03d}] {flags} {when:>12}: mm_page_{kind}: page=00000000b13f5c46 pfn={shown} order={order}{more}\n"
        )
        gfp = b"GFP_KERNEL|__GFP_ZERO" if kind == "alloc" else None
        expected.append(
            (
                us * 1000,
                pfn,
                pid,
                comm.encode(),
                gfp,
                None,
                cpu,
                KINDS.index(kind),
                order,
                migratetype if kind == "alloc" else -1,
            )
        )
    rows, counts, rest = read(ftrace.scan_block, ["".join(lines).encode()])
    assert rows == expected
    assert (counts[scan.NOTES], rest) == (0, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(st.sampled_from(" =>:[].-0123456789abcmm_page_alloc\n\t#<"), max_size=300).map(str.encode)
)
def test_any_bytes_are_survived(data: bytes) -> None:
    for scanner in (ftrace.scan_block, perf_script.scan_block):
        _, counts, rest = read(scanner, [data])
        assert counts[scan.LINES] == data.count(b"\n")
        assert rest == len(data) - (data.rfind(b"\n") + 1)


def test_reads_what_a_regular_expression_reads() -> None:
    """The plain cases of the golden texts, by a regular expression."""
    line = re.compile(
        rb"^ *(.+?)-(\d+) .*\[(\d+)\].* (\d+)\.(\d{6}): mm_page_(alloc|free): .*pfn=0x(\w+) order=(\d+)", re.MULTILINE
    )
    data = (GOLDEN / "stacks-by-cpu" / "trace.txt").read_bytes()
    rows, _, _ = read(ftrace.scan_block, [data])
    found = [
        (int(s + us) * 1000, int(pfn, 16), int(pid), comm) for comm, pid, _, s, us, _, pfn, _ in line.findall(data)
    ]
    assert [row[:4] for row in rows] == found
    assert len(found) == 5


def test_only_text_formats_use_the_text_scanner() -> None:
    text = ROOT / "formats" / "text"
    others = [path for path in ROOT.rglob("*.py") if text not in path.parents]
    assert not [path for path in others if "from ingest.formats.text" in path.read_text()]
