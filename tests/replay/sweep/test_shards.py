"""Folders of shards: damaged ones, and folders that are in use or not ours."""

import json
import shutil

import pytest
from toy_sweep import results, sweep_of

from ptpool.cli import run
from replay.sweep.shards import open_shards


@pytest.mark.parametrize("damage", ["short", "flipped"])
def test_a_damaged_shard_is_reported_and_its_run_repeated(swept, captures, tmp_path, capsys, damage):
    path, out = tmp_path / "damaged.duckdb", tmp_path / "shards"
    shutil.copy(captures, path)
    assert run(sweep_of(captures, path, "--out", str(out))) == 0
    shutil.copy(captures, path)
    damaged = sorted(out.glob("*/*.parquet"))[2]
    content = bytearray(damaged.read_bytes())
    content[100] ^= 0xFF
    damaged.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    capsys.readouterr()

    assert run([*sweep_of(captures, path, "--out", str(out)), "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == f"ptpool: {damaged}: damaged; its run is repeated\n"
    assert json.loads(told.out)[0]["made"] == 1
    assert results(path) == results(swept)


def test_a_folder_of_another_sweep_is_refused(captures, tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"sweep": "other", "runs": {}}')
    assert run(sweep_of(captures, captures, "--out", str(tmp_path))) == 2
    assert capsys.readouterr().err.startswith(f"ptpool: {tmp_path}: holds the shards of the sweep other\n")


def test_a_folder_in_use_is_refused_and_left_alone(captures, tmp_path, capsys):
    command = sweep_of(captures, captures, "--out", str(tmp_path))
    with open_shards(tmp_path, "grid", []):
        assert run(command) == 2
    assert capsys.readouterr().err.startswith(f"ptpool: {tmp_path}: another ptpool is writing shards there\n")
    assert not list(tmp_path.glob("*/*"))


def test_only_what_a_killed_process_left_of_its_own_is_removed(tmp_path):
    names = [
        "mine.part",
        "a/mine.part",
        "manifest.json.part",
        "capture_id=c/0.0.parquet.part",
        "capture_id=c/mine.part",
    ]
    for path in (tmp_path / name for name in names):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with open_shards(tmp_path, "grid", []):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.part")}
    assert left == {"mine.part", "a/mine.part", "capture_id=c/mine.part"}


def test_where_nothing_can_be_written_a_sweep_is_refused(captures, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(sweep_of(captures, captures, "--out", str(tmp_path / "file" / "shards"))) == 2
    assert capsys.readouterr().err.startswith(f"ptpool: {tmp_path / 'file' / 'shards'}: not a folder for shards (")
