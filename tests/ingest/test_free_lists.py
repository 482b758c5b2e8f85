"""The lists of the page allocator: read, checked against themselves and the other snapshots, and stored in order."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingest.snapshots.free_lists import PAGEBLOCK, ROW, FreeLists, Machine, Notes, Zone, check, read_notes, zones_of
from ingest.snapshots.proc import Lines, MalformedError, zoneinfo
from ptpool.cli import run
from ptpool.vocabulary import KPF_BUDDY, KPF_NOPAGE

TRACE = """\
            bash-1977    [000] d..2.    17.284993: mm_page_alloc: page=00000000b13f5c46 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL
            bash-1977    [000] d..2.    17.284995: mm_page_free: page=00000000b13f5c46 pfn=0x10 order=0
"""
ZONEINFO = """\
Node 0, zone      DMA
  pages free     14
        spanned  4095
        present  3998
  pagesets
    cpu: 0
              count:    1
  start_pfn:           1
Node 0, zone    DMA32
  pages free     0
        spanned  0
        present  0
Node 0, zone   Normal
  pages free     512
        spanned  4096
        present  4096
  start_pfn:           4096
"""
NORMAL = 2
LISTS = [  # pfn, order, type, place
    (24, 3, 1, 0),
    (8, 3, 1, 0),
    (40, 2, 2, 0),
    (4608, 9, 0, NORMAL),
    (48, 0, 1, 1 << 8),
    (0, 9, 0, PAGEBLOCK),
    (512, 9, 0, PAGEBLOCK),
    (1024, 9, 1, PAGEBLOCK),
    (4096, 9, 1, PAGEBLOCK),
]
BUDDYINFO = """\
Node 0, zone      DMA      0      0      1      2      0      0      0      0      0      0
Node 0, zone   Normal      0      0      0      0      0      0      0      0      0      1
"""
ZONES = {0: Zone(0, "DMA", 1, 4096), NORMAL: Zone(0, "Normal", 4096, 8192)}


def rows(*more: tuple[int, int, int, int]) -> Any:
    return np.array([*LISTS, *more], ROW)


def checked(*more: tuple[int, int, int, int], **machine: Any) -> FreeLists:
    others = {"zones": ZONES, "types": {}, "cpus": 1, "buddyinfo": [], "flags": None} | machine
    return check(rows(*more), Notes(), Machine(**others))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "before").mkdir(parents=True)
    (folder / "trace.txt").write_text(TRACE)
    (folder / "before/zoneinfo").write_text(ZONEINFO)
    (folder / "before/buddyinfo").write_text(BUDDYINFO)
    (folder / "before/free_lists.zst").write_bytes(pa.compress(rows().tobytes(), codec="zstd", asbytes=True))
    return folder


def test_lists_are_stored_in_their_order(
    bundle: Path, ingest: Callable[..., int], query: Callable[[str], Sequence[Any]]
) -> None:
    assert ingest(bundle) == 0
    assert query("SELECT * EXCLUDE (capture_id) FROM free_list ORDER BY place") == [
        ("before", 0, 0, "DMA", None, "Movable", 3, 24),
        ("before", 1, 0, "DMA", None, "Movable", 3, 8),
        ("before", 2, 0, "DMA", None, "Reclaimable", 2, 40),
        ("before", 3, 0, "Normal", None, "Unmovable", 9, 4608),
        ("before", 4, 0, "DMA", 0, "Movable", 0, 48),
    ]
    assert query("SELECT * EXCLUDE (capture_id) FROM pageblock_type ORDER BY first_pfn") == [
        ("before", 0, 1023, "Unmovable"),
        ("before", 1024, 1535, "Movable"),
        ("before", 4096, 4607, "Movable"),
    ]
    assert {value for (value,) in query("SELECT value FROM import_stat WHERE name LIKE 'free_list%'")} == {0}


def test_a_capture_without_them_says_nothing(
    bundle: Path, ingest: Callable[..., int], query: Callable[[str], Sequence[Any]]
) -> None:
    (bundle / "before/free_lists.zst").unlink()
    assert ingest(bundle) == 0
    assert query("FROM free_list") == query("FROM import_stat WHERE name LIKE 'free_list%'") == []


def test_the_sidecar_names_types_and_zones(
    bundle: Path, ingest: Callable[..., int], query: Callable[[str], Sequence[Any]]
) -> None:
    types = {
        "MIGRATE_RECLAIMABLE": 0,
        "MIGRATE_HIGHATOMIC": 1,
        "MIGRATE_PCPTYPES": 1,
        "MIGRATE_CMA": 2,
        "MIGRATE_TYPES": 3,
    }
    zones = [{"node": 0, "index": 0, "name": "Normal", "start": 0, "spanned": 8192, "present": 8000}]
    zones += [{"node": 0, "index": NORMAL, "name": "Device", "start": 0, "spanned": 8192, "present": 8000}]
    notes = {"zones": zones, "types": types, "nr_free_differs": 2, "pcp_count_differs": 1, "torn": 7}
    (bundle / "before/free_lists.json").write_text(json.dumps(notes))
    assert ingest(bundle) == 0
    assert query("SELECT DISTINCT zone, migratetype FROM free_list ORDER BY ALL") == [
        ("Device", "Reclaimable"),
        ("Normal", "HighAtomic"),
        ("Normal", "CMA"),
    ]
    assert query("SELECT value FROM import_stat WHERE name = 'free_lists_disturbed'") == [(3,)]


def test_export_and_import_keep_them(
    bundle: Path, ingest: Callable[..., int], tmp_path: Path, db: Path, query: Callable[[str], Sequence[Any]]
) -> None:
    assert ingest(bundle) == 0
    before = query("FROM free_list ORDER BY place"), query("FROM pageblock_type ORDER BY first_pfn")
    assert run(["ingest", "export", str(tmp_path / "fleet"), "--db", str(db), "--quiet"]) == 0
    db.unlink()
    assert run(["ingest", "fleet", str(tmp_path / "fleet"), "--db", str(db), "--quiet"]) == 0
    assert (query("FROM free_list ORDER BY place"), query("FROM pageblock_type ORDER BY first_pfn")) == before


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ((64, 0, 6, 0), "free_list_rows_unknown"),  # type
        ((64, 0, 0, 1), "free_list_rows_unknown"),  # zone
        ((64, 0, 0, 1 << 20), "free_list_rows_unknown"),  # node
        ((64, 0, 0, 2 << 8), "free_list_rows_unknown"),  # CPU
        ((65, 1, 0, 0), "free_list_rows_misplaced"),  # not aligned
        ((64, 31, 0, 0), "free_list_rows_misplaced"),
        ((4096, 0, 0, 0), "free_list_rows_misplaced"),  # of the next zone
        ((0, 0, 0, 0), "free_list_rows_misplaced"),
        ((1 << 30, 0, 0, NORMAL), "free_list_rows_misplaced"),
        ((8, 3, 1, 0), "free_list_rows_twice"),
        ((8, 3, 0, 1 << 8), "free_list_rows_twice"),
        ((4610, 1, 1, NORMAL), "free_list_rows_twice"),
        ((512, 9, 1, PAGEBLOCK), "free_list_rows_twice"),
    ],
)
def test_a_stray_is_left_out_and_more_are_too_many(row: tuple[int, int, int, int], name: str) -> None:
    found = checked(row)
    assert (found.counts[name], found.counts["free_lists_not_used"]) == (1, 0)
    assert (len(found.blocks), len(found.pageblocks)) == (5, 4)
    found = checked(row, row)
    assert (found.counts[name], found.counts["free_lists_not_used"]) == (2, 1)
    assert len(found.blocks) == len(found.pageblocks) == found.table().num_rows == found.pageblock_table().num_rows == 0


def test_any_bytes_are_refused_and_not_more() -> None:
    random = np.random.default_rng(1)
    flags = np.array([0, 100]), np.array([99, 8191]), np.array([1 << KPF_BUDDY, 0], np.uint64)
    for _ in range(20):
        noise = np.frombuffer(random.bytes(16 * 200), ROW)
        found = check(noise, Notes(), Machine(ZONES, {}, 1, [(0, "DMA", None, 0, 5)], flags))
        assert found.counts["free_lists_not_used"] == 1
        assert found.table().num_rows == 0


def test_a_loop_is_refused() -> None:
    found = checked(*[(24, 3, 1, 0), (8, 3, 1, 0)] * 100)
    assert (found.counts["free_list_rows_twice"], found.counts["free_lists_not_used"]) == (200, 1)


def test_pages_that_do_not_exist_are_on_no_list() -> None:
    flags = np.array([0, 1 << KPF_NOPAGE, 0], np.uint64)
    for first, last in ((44, 60), (30, 30), (20, 24)):
        runs = np.array([0, first, last + 1]), np.array([first - 1, last, 8191]), flags
        assert checked(flags=runs).counts["free_list_rows_misplaced"] == 1
    runs = np.array([0, 44, 48]), np.array([43, 47, 8191]), flags
    assert checked(flags=runs).counts["free_list_rows_misplaced"] == 0
    runs = np.array([0, 44, 48]), np.array([43, 47, 5000]), flags
    assert checked(flags=runs).counts["free_list_rows_misplaced"] == 1  # the block at 4608 goes on to 5119


def test_a_small_difference_from_buddyinfo_is_said_and_a_large_one_refuses() -> None:
    def buddyinfo(**blocks: int) -> list[Any]:
        counts = {"a3": 2, "a2": 1, "c9": 1} | blocks
        zones = {"a": "DMA", "c": "Normal"}
        return [(0, zones[name[0]], None, int(name[1:]), n) for name, n in counts.items()]

    for more, differs, not_used in (
        ({}, 0, 0),
        ({"a3": 1, "a0": 40}, 41, 0),
        ({"a0": 80}, 80, 1),  # blocks
        ({"c9": 4}, 3, 1),  # pages
    ):
        counts = checked(buddyinfo=buddyinfo(**more)).counts
        assert (counts["free_list_buddyinfo_differs"], counts["free_lists_not_used"]) == (differs, not_used)


def test_page_flags_count_and_contradict() -> None:
    def runs(*edges: int) -> Any:  # free, not free, free, ...
        flags = [1 << KPF_BUDDY, 0] * len(edges)
        return (
            np.array([0, *edges]),
            np.array([edge - 1 for edge in (*edges, 8192)]),
            np.array(flags[: len(edges) + 1], np.uint64),
        )

    exact = runs(0 + 1, 8, 16, 24, 32, 40, 44, 4608, 5120)
    for flags, differ, not_used in (
        (exact, 1, 0),  # page 0
        (runs(1, 8, 16, 24, 32, 40, 44, 48, 50, 4608, 5120), 2, 0),  # 48 is on a list of a CPU, 49 is not
        (runs(1, 8, 16, 24, 32, 40, 44, 4608, 4610), 511, 0),
        (runs(1, 8, 16, 24, 32, 40, 44, 1000, 3000), 2513, 1),
    ):
        counts = checked(flags=flags).counts
        assert (counts["free_list_page_flags_differ"], counts["free_lists_not_used"]) == (differ, not_used)


def test_zones_have_their_number_within_their_node() -> None:
    text = ZONEINFO + ZONEINFO.replace("Node 0", "Node 1").replace(
        "start_pfn:           1\n", "start_pfn:           8192\n"
    )
    zones = zones_of(zoneinfo(Lines(text.splitlines()))[0])
    assert zones[NORMAL] == ZONES[NORMAL]
    assert zones[1 << 20] == Zone(1, "DMA", 8192, 8192 + 4095)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"zones": [{}]}',
        '{"types": 5}',
        '{"types": {"MIGRATE_CMA": "x"}}',
        '{"types": {"MIGRATE_CMA": 1e9}}',
        '{"types": {"MIGRATE_CMA": 1000000000}}',
        '{"zones": [{"index": 0, "node": 0, "name": "DMA", "start": "a", "spanned": "b"}]}',
        '{"nr_free_differs": "many"}',
        "\x00",
        '{"zones": [{"index": 0, "node": 0, "name": "\\ud800", "start": 0, "spanned": 1}]}',
        "[" * 99999,
    ],
)
def test_damaged_notes(text: str, tmp_path: Path) -> None:
    (tmp_path / "free_lists.json").write_text(text)
    with pytest.raises(MalformedError):
        read_notes(tmp_path / "free_lists.json")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("free_lists", b"", "the file is empty"),
        ("free_lists", bytes(40), "no multiple of 16 bytes"),
        ("free_lists", pa.compress(bytes(16000), codec="zstd", asbytes=True)[:-6], "cannot be read"),
        ("free_lists.json", b"{", "not a free_lists snapshot"),
    ],
)
def test_a_damaged_file_is_one_line(
    name: str,
    data: bytes,
    words: str,
    bundle: Path,
    ingest: Callable[..., int],
    db: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name == "free_lists":
        (bundle / "before/free_lists.zst").unlink()
    (bundle / "before" / name).write_bytes(data)
    assert ingest(bundle) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) <= 3
    assert not db.exists()
    assert ingest(bundle, "--best-effort") == 0


def test_of_a_window_that_begins_later_they_are_left_out(
    bundle: Path, ingest: Callable[..., int], query: Callable[[str], Sequence[Any]]
) -> None:
    shutil.copytree(bundle / "before", bundle / "after")
    assert ingest(bundle, "--from", "0.000001s") == 0
    assert query("SELECT DISTINCT moment FROM free_list") == [("after",)]
