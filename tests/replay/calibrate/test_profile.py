"""A calibration as a file that is also a cost profile."""

import pytest

from ptpool.errors import UsageError
from replay.calibrate import profile
from replay.profiles.costs import built_in, cost_profile


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
