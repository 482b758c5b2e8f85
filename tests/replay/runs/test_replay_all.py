"""``replay run``: what is kept when it is interrupted, and who may read the warehouse meanwhile."""

import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import duckdb
import pytest

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from replay.contract.registry import strategies
from replay.runs.progress import Watch
from replay.runs.replay_all import Failed, _Results
from replay.runs.workers import Failure


def a_run(name="pba"):
    return SimpleNamespace(capture={"name": "boot", "capture_id": "c"}, entry=SimpleNamespace(name=name))


def test_a_run_that_takes_long_is_said_early_and_once(tmp_path):
    said = []
    watch = Watch(tmp_path, {"slow": a_run("pba"), "fast": a_run("oracle")}, said.append)
    (tmp_path / "slow").write_text("0.0 0 0")
    (tmp_path / "fast").write_text("0.0 0 0")
    assert watch.look(100.0) == 0
    (tmp_path / "slow").write_text("0.01 1000 400")
    (tmp_path / "fast").write_text("0.9 90000 0")
    assert watch.look(110.0) == pytest.approx(0.91)
    assert watch.look(111.0) == pytest.approx(0.91)
    (line,) = said
    assert "boot, pba: 1.0 % done, about 16 min left" in line
    assert "400 allocations had to reclaim" in line
    watch.ended("slow")
    (tmp_path / "fast").write_text("")  # it is being written
    assert watch.look(112.0) == 0


def test_what_cannot_be_written_now_waits(captures, tmp_path, monkeypatch):
    """Another process reads the warehouse: the run waits in memory, and is written at the end."""
    db, said, written = tmp_path / "w.duckdb", [], []
    shutil.copy(captures, db)
    monkeypatch.setattr("replay.runs.replay_all._PATIENCE_S", 0.0)
    monkeypatch.setattr("replay.runs.replay_all.write_run", lambda _, run, timed: written.append(run) or True)
    code = f"import duckdb, sys; c = duckdb.connect({str(db)!r}, read_only=True); print('open', flush=True); sys.stdin.read()"
    reader = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    results = _Results(db, said.append)
    with reader:
        assert reader.stdout.readline() == b"open\n"
        results.add(a_run(), "timed")
        results.add(a_run(), Failure("why"))
        results.write_some()
        assert written == []
        assert [failed.reason for failed in results.failed] == ["why"]
        assert f"in use by another process (PID {reader.pid})" in said[0]
        reader.stdin.close()
    results.close()
    assert len(written) == 1


def test_a_capture_that_was_removed_meanwhile_gets_no_runs(captures, tmp_path):
    db = tmp_path / "w.duckdb"
    shutil.copy(captures, db)
    results = _Results(db, print)
    results.add(a_run(), "timed")
    results.close()
    assert [failed.reason for failed in results.failed] == ["its capture was removed or replaced meanwhile"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_finished_runs_and_others_read_meanwhile(number, captures, tmp_path):
    db = tmp_path / "w.duckdb"
    shutil.copy(captures, db)
    options = ["--machine", "2G", "--copies", "30", "--db", str(db)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ptpool", "replay", "run", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        finished, deadline = 0, time.monotonic() + 300
        while not finished and process.poll() is None and time.monotonic() < deadline:
            with open_warehouse(db, patience=30.0) as connection:
                ((finished,),) = connection.execute("SELECT count(*) FROM run").fetchall()
            time.sleep(0.05)
        assert finished > 0
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "leaked" not in error
    assert "Traceback" not in error
    with duckdb.connect(str(db), read_only=True) as connection:
        ((kept,),) = connection.execute("SELECT count(*) FROM run").fetchall()
    assert kept >= finished
    if kept < len(strategies()):  # else the signal came when all was done
        assert process.returncode == 128 + number
    assert run(["replay", "run", *options, "--quiet", "--strategy", "unprotected"]) == 0


@pytest.mark.parametrize(("asked", "status"), [("full-reserve", 2), ("full-reserve,pba", 1)])
def test_a_strategy_that_does_not_fit_is_refused_in_a_line_and_counted(asked, status, captures, monkeypatch, capsys):
    def none_fits(db, runs, *rest):
        return [], [Failed(run, "does not fit this machine: 90 pages", refused=True) for run in runs]

    monkeypatch.setattr("replay.runs.replay_all.replay_all", none_fits)
    command = ["replay", "run", "--capture", "tiny", "--strategy", asked, "--quiet", "--db", str(captures)]
    assert run(command) == status
    error = capsys.readouterr().err
    assert "tiny, full-reserve: does not fit this machine: 90 pages" in error
    assert ("2 of 2 runs refused" in error) == (status == 1)
