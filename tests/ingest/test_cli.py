"""The commands on good input."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.formats import NAMES
from ingest.quality import meanings
from ptpool.cli import run

Query = Callable[..., list[tuple[object, ...]]]
GOOD = """\
            bash-1977    [000] d..2.    17.000000: mm_page_alloc: page=00000000b13f5c46 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL
            bash-1977    [000] d..2.    18.500000: mm_page_alloc: page=00000000b13f5c46 pfn=0x11 order=0 migratetype=0 gfp_flags=GFP_KERNEL
            bash-1977    [000] d..2.    20.000000: mm_page_free: page=00000000b13f5c46 pfn=0x10 order=0
"""


@pytest.mark.parametrize("kind", ["plain", "gz", "xz", "zst"])
def test_compressed_by_content_not_by_name(kind: str, tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    import pyarrow as pa

    data = GOOD.encode()
    packed = {
        "plain": data,
        "gz": gzip.compress(data),
        "xz": lzma.compress(data),
        "zst": pa.compress(data, codec="zstd", asbytes=True),
    }[kind]
    (tmp_path / "whatever").write_bytes(packed)
    assert ingest(tmp_path / "whatever") == 0
    assert query("SELECT count(*), min(ts_ns), max(ts_ns) FROM page_event") == [(3, 17_000_000_000, 20_000_000_000)]


def test_the_same_again_is_unchanged(
    tmp_path: Path, ingest: Callable[..., int], query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt") == 0
    assert "unchanged" not in capsys.readouterr().out
    assert ingest(tmp_path / "good.txt") == 0
    assert "unchanged" in capsys.readouterr().out
    assert query("SELECT name, events FROM capture") == [("good", 3)]


def test_window_counts_from_the_first_entry(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt", "--from", "1.5s", "--to", "3000ms") == 0
    assert query("SELECT seq, pfn, kind, consumer FROM page_event ORDER BY seq") == [
        (0, 0x11, "alloc", "other"),
        (1, 0x10, "free", "other"),  # allocated before the window, yet known
    ]
    assert query("SELECT value FROM import_stat WHERE name = 'events_outside_window'") == [(1,)]


def early_and_late() -> str:
    """GOOD with its middle event first: what follows is 1.5 s earlier, then 1.5 s later."""
    first, second, third = GOOD.splitlines(keepends=True)
    return second + first + third


@pytest.mark.parametrize(
    ("window", "kept"),
    [
        ([], [0x11, 0x10, 0x10]),
        (["--to", "100ms"], [0x11, 0x10]),
        (["--from", "0s"], [0x11, 0x10]),
        (["--from", "100ms"], [0x10]),
    ],
)
def test_what_is_earlier_than_the_first_entry_is_dropped_only_by_from(
    window: list[str], kept: list[int], tmp_path: Path, ingest: Callable[..., int], query: Query
) -> None:
    (tmp_path / "swapped.txt").write_text(early_and_late())
    assert ingest(tmp_path / "swapped.txt", *window) == 0
    assert query("SELECT list(pfn ORDER BY seq) FROM page_event") == [(kept,)]
    found = dict(query("SELECT name, value FROM import_stat"))
    assert found["events_outside_window"] == 3 - len(kept)
    assert found["events_back_in_time"] == (kept[:2] == [0x11, 0x10] and window[:1] != ["--from"])


def test_window_edges_are_stored(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    for name, window in {"a": [], "b": ["--from", "1s"], "c": ["--to", "2s"]}.items():
        assert ingest(tmp_path / "good.txt", "--name", name, *window) == 0
    assert query("SELECT name, window_from_ns, window_to_ns FROM capture ORDER BY name") == [
        ("a", None, None),
        ("b", 18_000_000_000, None),
        ("c", None, 19_000_000_000),
    ]


def test_a_replaced_capture_leaves_nothing_behind(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    trace = tmp_path / "good.txt"
    of_b = "SELECT * EXCLUDE (capture_id) FROM page_event JOIN capture USING (capture_id) WHERE name = 'b' ORDER BY seq"
    trace.write_text(GOOD)
    assert ingest(trace, "--name", "a") == 0
    assert ingest(trace, "--name", "b") == 0
    before = query(of_b)
    trace.write_text(GOOD.replace("pfn=0x10 ", "pfn=0x20 "))
    assert ingest(trace, "--name", "a", "--replace") == 0
    assert query(of_b) == before
    assert query("SELECT sum(events) FROM capture") == query("SELECT count(*) FROM event") == [(6,)]
    for table in ("task", "call"):
        assert query(f"SELECT count(*) FROM {table} ANTI JOIN event USING ({table}_id)") == [(0,)]
        assert query(f"SELECT count(*) - count(DISTINCT {table}_id) FROM {table}") == [(0,)]
        assert query(f"SELECT count(*) FROM event ANTI JOIN {table} USING ({table}_id)") == [(0,)]
    for name in ("a", "b"):
        assert run(["ingest", "remove", name, "--db", str(tmp_path / "test.duckdb")]) == 0
    for table in ("event", "task", "call"):
        assert query(f"SELECT count(*) FROM {table}") == [(0,)]


def test_parts_may_overlap(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    first, second, third = GOOD.splitlines(keepends=True)
    (tmp_path / "a.txt").write_text(first + third)
    (tmp_path / "b.txt").write_text(second)
    assert ingest(tmp_path / "a.txt", tmp_path / "b.txt") == 0
    assert query("SELECT list(pfn ORDER BY seq) FROM page_event") == [([0x10, 0x11, 0x10],)]
    assert query("SELECT value FROM import_stat WHERE name = 'events_back_in_time'") == [(0,)]


def test_parts_are_one_capture(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    first, second, third = GOOD.splitlines(keepends=True)
    (tmp_path / "a.txt").write_text(first + second)
    (tmp_path / "b.txt").write_text(third)
    assert ingest(tmp_path / "a.txt", tmp_path / "b.txt") == 0
    assert query(
        "SELECT list(seq ORDER BY seq), any_value(source) FROM page_event JOIN capture USING (capture_id)"
    ) == [([0, 1, 2], "a.txt, b.txt")]
    assert query("SELECT value FROM import_stat WHERE name = 'frees_exact'") == [(1,)]


def test_list_and_remove(
    tmp_path: Path, ingest: Callable[..., int], query: Query, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt", "--name", "one") == 0
    assert ingest(tmp_path / "good.txt", "--name", "two") == 0
    capsys.readouterr()
    assert run(["ingest", "list", "--db", str(db), "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["one", "two"]
    assert run(["ingest", "remove", "one", "--db", str(db)]) == 0
    assert query("SELECT DISTINCT name FROM capture") == [("two",)]
    assert query("SELECT count(*) FROM page_event") == [(3,)]
    assert run(["ingest", "remove", "one", "--db", str(db)]) == 2


def test_the_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ingest", "formats", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["format"] for row in rows] == list(NAMES)
    assert all(row["what it is"] for row in rows)


def test_json_report(tmp_path: Path, ingest: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["events"] == 3
    assert {"no_stacks", "no_snapshots"} <= {finding["name"] for finding in report["findings"]}


def test_summary_of_one_event(tmp_path: Path, ingest: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.txt").write_text(GOOD.splitlines(keepends=True)[0])
    assert ingest(tmp_path / "one.txt") == 0
    assert capsys.readouterr().out.startswith("one: 1 event, 0 page-table allocations\n")


def test_names_of_any_script(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    names = ["6.12+deb_x-1.2", "\u043b\u043e\u0433", "\u0939\u093f\u0928\u094d\u0926\u0940", "e\u0301t\u00e9"]
    for name in names:
        assert ingest(tmp_path / "good.txt", "--name", name) == 0
    assert query("SELECT name FROM capture ORDER BY name") == [(name,) for name in sorted(names)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("trace.txt", "trace"),
        ("trace.txt.zst", "trace"),
        ("perf.script.txt.xz", "perf"),
        ("my trace (2).txt", "my-trace--2-"),
        ("a,b.txt", "a-b"),
        ("..-_x.txt", "x"),
        (".txt", "txt"),
        ("all.txt", "capture"),
        ("--.txt", "capture"),
        ("some folder/", "some-folder"),
        ("server-16g/", "server-16g"),
        ("server-16g/../server-16g", "server-16g"),
        ("server-16g/before/..", "server-16g"),
    ],
)
def test_default_name(path: str, name: str, tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    folder, slash, _ = path.partition("/")
    if slash:
        (tmp_path / folder / "before").mkdir(parents=True)
    (tmp_path / (f"{folder}/trace.txt" if slash else path)).write_text(GOOD)
    assert ingest(f"{tmp_path}/{path}") == 0
    assert query("SELECT name FROM capture") == [(name,)]


def test_default_name_of_the_folder_one_is_in(
    tmp_path: Path, ingest: Callable[..., int], query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    (tmp_path / "here" / "trace.txt").write_text(GOOD)
    monkeypatch.chdir(tmp_path / "here" / "below")
    assert ingest("..") == 0
    monkeypatch.chdir(tmp_path / "here")
    assert ingest(".") == 0
    assert query("SELECT name FROM capture") == [("here",)]


def test_percentages_are_of_events(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    user = "".join(f"\t{address:16x} f (/usr/bin/a)\n" for address in range(1, 9))
    line = "a 1 [000] 1.000001: kmem:mm_page_alloc: page=0x1 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
    (tmp_path / "perf.script.txt").write_text(line + user + "\n")
    assert ingest(tmp_path / "perf.script.txt") == 0
    rows = dict(query("SELECT what, pct_of_events FROM data_quality"))
    assert query("SELECT value FROM data_quality WHERE what = 'user_frames_dropped'") == [(8,)]
    assert rows["user_frames_dropped"] is None
    assert rows["no_snapshots"] is None
    assert rows["no_stacks"] == 100
    assert rows["frees_unknown"] == 0
    assert {what for what, share in rows.items() if share is not None} <= meanings().keys()
