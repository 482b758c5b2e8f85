"""Several bundles in one import, and bundles whose names are in no encoding."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ptpool.cli import run

TRACE = """\
# tracer: nop
   bash-70    [000] .....     1.000001: mm_page_alloc: page=00000000b13f5c46 pfn=0x100 order=0 migratetype=0 gfp_flags=GFP_KERNEL
   bash-70    [000] .....     1.000002: mm_page_free: page=00000000b13f5c46 pfn=0x100 order=0
"""


@pytest.fixture
def bundles(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "trace.txt").write_text(TRACE)
    return folders


def test_two_bundles_are_two_captures(bundles: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = ["--db", str(tmp_path / "w.duckdb"), "--quiet"]
    assert run(["ingest", "trace", *map(str, bundles), "--json", *db]) == 0
    assert [(found["name"], found["events"]) for found in json.loads(capsys.readouterr().out)] == [
        ("one", 2),
        ("two", 2),
    ]
    assert run(["ingest", "trace", *map(str, bundles), "--name", "x", *db]) == 2
    assert "--name: for one capture, and here are 2 bundles" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    shutil.copytree(bundles[0], tmp_path / "other/one")
    assert run(["ingest", "trace", str(bundles[0]), str(tmp_path / "other/one"), *db]) == 2
    assert "the same name" in capsys.readouterr().err


def test_a_name_in_no_encoding_can_be_imported(
    bundles: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    bundles[0].rename(folder)
    (folder / "trace.txt").rename(folder / os.fsdecode(b"trace-caf\xe9.txt"))
    db = ["--db", str(tmp_path / "w.duckdb")]
    named = str(folder / os.fsdecode(b"trace-caf\xe9.txt"))
    for path, name in ((named, "trace-caf-"),):
        assert run(["ingest", "trace", path, "--quiet", *db]) == 0
        assert run(["ingest", "trace", path, "--quiet", *db]) == 0  # the same bytes
        assert f"{name}: unchanged, 2 events" in capsys.readouterr().out
    assert run(["sql", "SELECT source FROM capture", "--format", "csv", *db]) == 0
    assert "trace-caf\\udce9.txt" in capsys.readouterr().out
