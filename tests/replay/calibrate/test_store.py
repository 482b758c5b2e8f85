"""Where a calibration goes: files, and the warehouse."""

from pathlib import Path

import pytest

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.calibrate import penalty, profile, store


def test_files_are_next_to_each_other_and_the_warehouse_keeps_the_latest(found, tmp_path):
    written = store.write(found, store.target(tmp_path / "toy.toml"))
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == {
        "toy.toml", "toy.csv", *(f"toy-{name}.{suffix}" for name in ("penalty", "conversion") for suffix in ("svg", "png"))
    }  # fmt: skip
    db = tmp_path / "w.duckdb"
    with open_warehouse(db, write=True):
        pass
    for _ in range(2):
        assert run(["replay", "calibrate", "--profile", str(tmp_path / "toy.toml"), "--db", str(db), "--quiet"]) == 0
    with open_warehouse(db) as connection:
        assert connection.execute("SELECT cpu, cpus, virtual, facts->>'remarks' FROM calibration").fetchall() == [
            ("Toy 9000", 4, None, '["a remark"]')
        ]
        (changes,) = connection.execute(
            "SELECT list(median ORDER BY busy_cpus) FROM calibration_value WHERE quantity = 'permission_change'"
        ).fetchone()
    assert changes == [5000, 5600]


def test_nothing_measured_is_still_a_profile(found, tmp_path):
    made = {"made_at": "2026-01-02T03:04:05+00:00"}
    nothing = profile.Calibration(found.machine, made, ["no huge pages", "no secret memory"], [])
    assert len(store.write(nothing, tmp_path / "toy.toml")) == 2
    assert profile.load(tmp_path / "toy.toml") == nothing


def test_the_default_place_is_the_users_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert store.target(None) == tmp_path / "ptpool" / "calibration.toml"
    assert Path(tmp_path / "ptpool").is_dir()


@pytest.mark.parametrize(
    ("free", "wanted", "taken", "said"),
    [
        (64 << 30, 2 << 30, 2 << 30, "taking 4G of memory: 2G in each of 2 kinds of pages\n"),
        (8 << 30, 2 << 30, 1 << 30, "taking 2G of memory: 1G in each of 2 kinds of pages, less than the 2G wanted"),
    ],
)
def test_what_memory_is_taken_is_said_before_and_bounded(free, wanted, taken, said, monkeypatch, capsys):
    asked = []

    def measure(memory, step):
        asked.append((memory, capsys.readouterr().err))
        return penalty.Measured([], [])

    monkeypatch.setattr(store.host, "available_bytes", lambda: free)
    monkeypatch.setattr(store.regions, "kinds", lambda: ["small", "huge"])
    monkeypatch.setattr(store.penalty, "measure", measure)
    monkeypatch.setattr(store.conversion, "measure", lambda step: penalty.Measured([], []))
    store.measured(wanted, quiet=False)
    ((memory, error),) = asked
    assert memory == taken
    assert 2 * memory <= free // 4
    assert said in error


def test_too_little_memory_is_refused(monkeypatch):
    monkeypatch.setattr(store.host, "available_bytes", lambda: 1 << 16)
    with pytest.raises(UsageError, match="too little free memory"):
        store.measured(2 << 30, quiet=True)
