"""What `replay calibrate` refuses before it measures."""

import pytest

from ptpool.cli import run
from replay.calibrate import store


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--memory", "3G"], "no size to measure"),
        (["--memory", "512K"], "no size to measure"),
        (["--out", "profile.txt"], "a profile is a .toml file"),
        (["--out", "nowhere/profile.toml"], "no such folder"),
        (["--profile", "missing.toml"], "No such file"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_measured(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["replay", "calibrate", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.splitlines()) <= 3 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_warehouse_is_refused_before_anything_is_measured(capsys, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("not a warehouse", encoding="utf-8")
    monkeypatch.setattr(store, "measured", None)
    command = ["replay", "calibrate", "--out", str(tmp_path / "toy.toml"), "--db", str(tmp_path / "notes.txt")]
    assert run(command) == 2
    assert "notes.txt" in capsys.readouterr().err
    assert not (tmp_path / "toy.toml").exists()
