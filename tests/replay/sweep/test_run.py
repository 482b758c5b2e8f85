"""Sweeps: each run is made once, what is kept when the disk is full or the warehouse in use, and the views on them."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from toy_sweep import RUNS, goes_on, kill, results, rows, shards_in, start, sweep_of, wait_for_shards

from ptpool.cli import run


def test_a_grid_is_every_combination_and_each_run_is_made_once(swept, captures, capsys):
    assert rows(swept, "SELECT count(*), count(DISTINCT run_id) FROM sweep WHERE sweep = 'grid'") == [(RUNS, RUNS)]
    assert rows(swept, "SELECT count(*), bool_and(metrics_only) FROM run") == [(RUNS, True)]
    capsys.readouterr()
    assert run([*sweep_of(captures, swept), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"sweep": "grid", "runs": RUNS, "made": 0, "damaged": 0, "failed": 0, "refused": 0}
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
        swept,
        f"SELECT strategy, wins, machines, mean_place FROM fleet('{tmp_path / 'hosts'}', 'conversion_ns')",
        tmp_path / "hosts",
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


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_whose_process_is_killed_goes_on(sweep, captures, swept, moment, tmp_path, jobs):
    command, path, out = sweep
    (tmp_path / "tmp").mkdir()
    several = sweep_of(captures, path, "--out", str(out), jobs=jobs)
    process = start(["ptpool", *several], TMPDIR=str(tmp_path / "tmp"))
    wait_for_shards(out, moment, lambda: process.poll() is None)
    kill(process)
    assert moment <= len(shards_in(out)) < RUNS
    deadline = time.monotonic() + 10
    while living(process.pid):
        assert time.monotonic() < deadline, "its workers live on"
        time.sleep(0.01)
    assert not list((tmp_path / "tmp").glob("ptpool-*"))
    goes_on(swept, command, path, out)


def living(group):
    """Processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of_group, *_ = stat.read_text().rpartition(")")[2].split()
            if int(of_group) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found
