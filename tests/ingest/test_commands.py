"""The commands on good input."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

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
    assert run(["ingest", "formats"]) == 0


def test_json_report(tmp_path: Path, ingest: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["events"] == 3
    assert {"no_stacks", "no_snapshots"} <= {finding["name"] for finding in report["findings"]}
