"""A calibration as a file and in the warehouse. The measured values are made up here."""

from pathlib import Path

import pytest

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.calibrate import conversion, penalty, profile, store
from replay.profiles.costs import built_in, cost_profile

MACHINE = {"cpu": "Toy 9000", "cpus": 4, "arch": "x86_64", "kernel": "6.18.0", "memory_bytes": 1 << 33}


@pytest.fixture
def found():
    take = {0: 12.0, 1: 10.0}
    points = penalty.curve([4096, 1 << 21], [[1 << 20, 1 << 21]] * 2, lambda w, i: take[i], lambda share: None)
    prices = conversion.price([0, 3], lambda busy, secret: 1000.0 + secret * (5000 + 200 * busy), lambda share: None)
    values = [*profile.of_penalty(points), *profile.of_conversion(prices)]
    made = {"made_at": "2026-01-02T03:04:05+00:00", "made_by": "ptpool", "command": 'ptpool "replay" calibrate'}
    return profile.Calibration(MACHINE, made, ["a remark"], values)


def test_a_profile_is_read_back_as_it_was_written(found, tmp_path):
    (tmp_path / "toy.toml").write_text(profile.text(found), encoding="utf-8")
    assert profile.load(tmp_path / "toy.toml") == found


def test_the_profile_is_a_cost_profile_with_the_measured_flush(found, tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(profile.text(found), encoding="utf-8")
    ours, built = cost_profile(str(path)).constants["x86_64"], built_in().constants["x86_64"]
    rest = built["change_ns"].typical + 3 * built["flush_per_cpu_ns"].typical
    flush = ours["flush_base_ns"]
    assert (flush.low, flush.typical, flush.high) == (5000 - rest, 5600 - rest, 5600 - rest)
    assert "3 of 3 other CPUs busy" in flush.source
    assert {n: c for n, c in ours.items() if n != "flush_base_ns"} == {
        n: c for n, c in built.items() if n != "flush_base_ns"
    }
    assert cost_profile(str(path)).of("x86_64").flush_ns(4) + 500 == pytest.approx(5600)  # what was measured comes out


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


def test_nothing_measured_is_still_a_profile(tmp_path):
    made = {"made_at": "2026-01-02T03:04:05+00:00"}
    nothing = profile.Calibration(MACHINE, made, ["no huge pages", "no secret memory"], [])
    assert len(store.write(nothing, tmp_path / "toy.toml")) == 2
    assert profile.load(tmp_path / "toy.toml") == nothing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[x86_64", "not TOML"),
        ("[x86_64.flush_base_ns]\ntypical = 1\n", "no calibration"),
        (
            '[provenance]\nmade_at = "x"\nremarks = []\n[provenance.machine]\ncpu = "x"\ncpus = "many"\n',
            "no calibration",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(text, words, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        profile.load(path)


def test_the_default_place_is_the_users_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert store.target(None) == tmp_path / "ptpool" / "calibration.toml"
    assert Path(tmp_path / "ptpool").is_dir()
