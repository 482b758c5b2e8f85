"""Sweeps: what a specification asks for, what is kept when something is killed or damaged, and what the views make of it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_sweep import RUNS, results, rows, sweep_of

from ptpool.cli import run
from replay.sweep.shards import open_shards


def test_a_grid_is_every_combination_and_each_run_is_made_once(swept, captures, capsys):
    assert rows(swept, "SELECT count(*), count(DISTINCT run_id) FROM sweep WHERE sweep = 'grid'") == [(RUNS, RUNS)]
    assert rows(swept, "SELECT count(*), bool_and(metrics_only) FROM run") == [(RUNS, True)]
    capsys.readouterr()
    assert run([*sweep_of(captures, swept), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"sweep": "grid", "runs": RUNS, "made": 0, "damaged": 0, "failed": 0}
    ]


def test_a_dry_run_counts_and_writes_nothing(captures, capsys):
    assert run([*sweep_of(captures, captures), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    assert (told["runs"], told["to_make"], told["captures"]) == (RUNS, RUNS, 1)
    assert told["memory_mib"] > 0
    assert rows(captures, "SELECT count(*) FROM run") == [(0,)]


def test_metrics_are_those_of_replay_run_which_keeps_the_rest_too(swept, captures, tmp_path):
    path = tmp_path / "whole.duckdb"
    shutil.copy(swept, path)
    command = ["replay", "run", "--strategy", "pba", "--machine", "64M", "--jobs", "1", "--quiet", "--db", str(path)]
    assert run(command) == 0
    assert results(path) == results(swept)
    assert rows(path, "SELECT count(DISTINCT run_id) FROM timeline") == [(1,)]
    assert rows(path, "SELECT count(*) FROM run WHERE NOT metrics_only") == [(1,)]


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


def test_a_disk_that_gets_full_keeps_what_has_finished(swept, captures, tmp_path, capsys, monkeypatch):
    """As the kernel says it in the middle of a file: part of it is written."""
    path, out, whole = tmp_path / "full.duckdb", tmp_path / "shards", Path.write_bytes
    shutil.copy(captures, path)

    def full(self, content):
        if len(list(out.glob("*/*.parquet"))) == 5:
            whole(self, bytes(content)[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(self, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        assert run(sweep_of(captures, path, "--out", str(out))) == 2
    what, _, kept = map(str.strip, capsys.readouterr().err.splitlines())
    assert what.endswith(".parquet: cannot be written (No space left on device)")
    assert kept == f"5 finished runs are kept in {out}; run the same command again to make the rest"
    assert len(list(out.glob("*/*"))) == 5
    assert run(sweep_of(captures, path, "--out", str(out))) == 0
    assert results(path) == results(swept)


def test_a_warehouse_in_use_at_the_end_is_told_and_the_runs_are_kept(swept, captures, tmp_path, capsys):
    """Another process reads it: DuckDB lets nobody write meanwhile, and one process cannot lock itself out."""
    path = tmp_path / "read.duckdb"
    shutil.copy(captures, path)
    reader = "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", reader, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        assert run(sweep_of(captures, path)) == 2
        other.communicate()
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"ptpool: {path}: in use by another process (PID {other.pid})"
    assert (
        told[2].strip()
        == f"{RUNS} finished runs are kept in {path}.grid.shards; run the same command again to make the rest"
    )
    assert run(sweep_of(captures, path)) == 0
    assert results(path) == results(swept)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("grid = [", "not TOML"),
        ("title = 'nothing'", "no [[grid]] in it"),
        ("[[grid]]\nstrategies = 'pba'", "grid 1: strategies: unknown"),
        ("[[grid]]\nstrategy = 'pbb'", "no strategy named pbb"),
        ("[[grid]]\nseed = []", "grid 1: seed has no value: there is nothing to run"),
        ("[[grid]]\nseed = ['a']", "grid 1: seed: 'a' is not a whole number"),
        ("[[grid]]\ncopies = 0", "grid 1: copies = 0: too small"),
        ("[[grid]]\nstrategy = 'pba'\nset.reserves = 2", "pba has no parameter reserves"),
        ("[[grid]]\nstrategy = 'pba'\nset.reserve = 'many'", "pba.reserve=many: not a value of this parameter"),
        ("[[grid]]\nstrategy = 'pba'\nset.reserve = []", "grid 1: reserve has no value"),
        ("[[grid]]\nmachine = 'toaster'", "--machine toaster: no such machine"),
        ("[[grid]]\nreclaim = 'some'", "--reclaim some: no such variant"),
        ("[[grid]]\ninject = nan", "grid 1: inject = nan: too small or too large"),
        ("[[grid]]\ncapture = ['all', 'other']", "grid 1: no capture named other"),
        ("[[grid]]\nseed = 1\nseed = 2", "not TOML: Cannot overwrite a value"),
        ("title = 1\n[[grid]]", "title: not a text"),
        ("[[grid]]\n[[grid]]\nstrategy = 'pbb'", "grid 2: no strategy named pbb"),
        ("[[grid]]\nstrategy = 'pba'\nset.pba.reserve = 2", "grid 1: pba: {'reserve': 2} is not a number or a text"),
        ("[[grid]]\nmachine = '64T'", "GiB of memory are needed"),
        ("a = " + "[" * 5000, "brackets nested too deeply"),
    ],
)
def test_specifications_that_cannot_be_run_are_refused_in_words(captures, tmp_path, capsys, spec, told):
    path = tmp_path / "bad.toml"
    path.write_text(spec)
    assert run(["replay", "sweep", str(path), "--quiet", "--db", str(captures)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) <= 3


def test_a_grid_of_a_milliard_combinations_is_refused_before_any_is_made(captures, tmp_path, capsys):
    values = list(range(1000))
    path = tmp_path / "huge.toml"
    path.write_text(f"[[grid]]\nstrategy = 'pba'\nseed = {values}\nset.reserve = {values}\nset.unshrinkable = {values}")
    assert run(["replay", "sweep", str(path), "--dry-run", "--db", str(captures)]) == 2
    assert "grid 1: 1,000,000,000 combinations: too many" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"), [("title = 'ü'".encode("latin-1"), "not UTF-8, at byte 9"), (None, "Is a directory")]
)
def test_a_specification_that_is_not_text_is_refused(captures, tmp_path, capsys, content, told):
    path = tmp_path / "bad.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert run(["replay", "sweep", str(path), "--db", str(captures)]) == 2
    assert capsys.readouterr().err.startswith(f"ptpool: {path}: {told}\n")


@pytest.mark.parametrize("options", [["no-such-sweep"], ["no-such.toml"], ["fleet", "--executor", "mpi"]])
def test_what_is_not_there_is_told(captures, capsys, options):
    assert run(["replay", "sweep", *options, "--quiet", "--db", str(captures)]) == 2
    assert options[-1] in capsys.readouterr().err


def test_shipped_sweeps_can_be_read_and_their_runs_exist(captures, capsys):
    assert run(["replay", "sweep", "list", "--json"]) == 0
    names = [row["sweep"] for row in json.loads(capsys.readouterr().out)]
    assert "reserve-size" in names
    for name in names:
        assert run(["replay", "sweep", name, "--dry-run", "--json", "--db", str(captures)]) == 0
        assert json.loads(capsys.readouterr().out)[0]["runs"] > 1


def test_sensitivity_is_the_share_of_variance_between_values(swept):
    """Counted again from the runs: the idle pages of pba by its reserve and by seed."""
    values = rows(
        swept,
        """SELECT (params ->> 'reserve')::INTEGER, seed, value FROM sweep JOIN run USING (run_id) JOIN run_metric USING (run_id)
           WHERE strategy = 'pba' AND metric = 'pool_idle_pages_mean'""",
    )
    mean = sum(value for *_, value in values) / len(values)
    whole = sum((value - mean) ** 2 for *_, value in values)
    for place, setting in enumerate(("reserve", "seed")):
        groups = {}
        for row in values:
            groups.setdefault(row[place], []).append(row[2])
        between = sum(len(group) * (sum(group) / len(group) - mean) ** 2 for group in groups.values())
        found = rows(
            swept,
            f"SELECT share FROM sweep_sensitivity WHERE setting = '{setting}' AND metric = 'pool_idle_pages_mean'",
        )
        assert [share for (share,) in found] == ([pytest.approx(between / whole, abs=1e-9)] if between > 1e-9 else [])
    assert rows(swept, "SELECT DISTINCT setting FROM sweep_setting ORDER BY ALL") == [("reserve",), ("seed",)]


def test_a_fleet_is_compared_from_the_shards_of_its_hosts(swept, captures, tmp_path):
    path = tmp_path / "host.duckdb"
    shutil.copy(captures, path)
    assert run(sweep_of(captures, path, "--out", str(tmp_path / "hosts" / "a"))) == 0
    found = rows(
        swept, f"SELECT strategy, wins, machines, mean_place FROM fleet('{tmp_path / 'hosts'}', 'conversion_ns')"
    )
    expected = rows(swept, "SELECT strategy, wins, machines, mean_place FROM fleet_wins WHERE metric = 'conversion_ns'")
    assert sorted(found) == sorted(expected)
    assert {strategy: wins for strategy, wins, *_ in found} == {"pba": 1, "full-reserve": 0, "pte-mapped": 0}


def test_the_pareto_front_is_what_nothing_beats(swept):
    columns = "pages_held, splits, stalls, conversion_ns"
    points = rows(swept, f"SELECT {columns} FROM design_point WHERE protects")
    front = [
        mine
        for mine in points
        if not any(other != mine and all(o <= m for o, m in zip(other, mine, strict=True)) for other in points)
    ]
    assert sorted(rows(swept, f"SELECT {columns} FROM pareto_front")) == sorted(front)
    assert 0 < len(front) < len(points)
    assert rows(swept, "SELECT DISTINCT strategy FROM design_point WHERE NOT protects") == [("unprotected",)]
