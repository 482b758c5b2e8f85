"""Where a calibration goes: files, and the warehouse."""

from pathlib import Path

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from replay.calibrate import profile, store


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
