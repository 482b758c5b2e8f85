"""Cost profiles: the built-in one, files, and what is refused."""

from pathlib import Path

import pytest

from ptpool.errors import UsageError
from ptpool.vocabulary import BUILT_IN
from replay.profiles.costs import CONSTANTS, cost_profile

PROFILE = """
[provenance]
made_by = "a test"

[x86_64]
ipis = false
alloc_ns = 250

[x86_64.flush_base_ns]
low = 1500
typical = 2000
high = 2500
source = "measured"
"""


def test_built_in_constants_are_ordered_and_say_where_they_come_from() -> None:
    profile = cost_profile(BUILT_IN)
    assert set(profile.constants) == {"x86_64", "aarch64"} == set(profile.ipis)
    for arch, constants in profile.constants.items():
        assert tuple(constants) == CONSTANTS
        for name, constant in constants.items():
            assert 0 <= constant.low <= constant.typical <= constant.high, (arch, name)
            assert constant.source


def test_other_architectures_get_those_of_x86_64() -> None:
    profile = cost_profile(BUILT_IN)
    assert profile.of("riscv64") == profile.of("x86_64") != profile.of("aarch64")


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE)
    profile, built = cost_profile(str(path)), cost_profile(BUILT_IN)
    assert profile.name.startswith("mine@")
    costs = profile.of("x86_64")
    assert (costs.alloc_ns, costs.flush_base_ns, costs.ipis) == (250, 2000, False)
    assert costs.change_ns == built.of("x86_64").change_ns
    assert profile.of("aarch64") == built.of("aarch64")
    flush = profile.constants["x86_64"]["flush_base_ns"]
    assert (flush.low, flush.high, flush.source) == (1500, 2500, "measured")
    assert profile.constants["x86_64"]["alloc_ns"].high == 250


def test_the_name_follows_the_constants_and_not_the_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    names = []
    for text in (PROFILE, PROFILE.replace("a test", "another"), PROFILE.replace("250\n", "251\n", 1)):
        path.write_text(text)
        names.append(cost_profile(str(path)).name)
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no constant"),
        ("[x86-64]\nalloc_ns = 1", "x86-64"),
        ("[x86_64]\nallocns = 1", "x86_64.allocns"),
        ("[x86_64]\nipis = 1", "x86_64.ipis"),
        ("[x86_64]\nalloc_ns = -1", "x86_64.alloc_ns"),
        ("[x86_64]\nalloc_ns = nan", "x86_64.alloc_ns"),
        ("[x86_64]\nalloc_ns = true", "x86_64.alloc_ns"),
        ("[x86_64.alloc_ns]\nlow = 1", "x86_64.alloc_ns"),
        ("[x86_64.alloc_ns]\nlow = 3\ntypical = 2", "out of order"),
        ("[x86_64.alloc_ns]\nmedian = 3\ntypical = 2", "median"),
        ("x86_64 = 3", "x86_64"),
        ("[x86_64", "not TOML"),
        ("x = " + "[" * 9999, "nested too deeply"),
    ],
)
def test_a_profile_that_says_something_else_is_refused_in_a_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=named) as refused:
        cost_profile(str(path))
    assert "bad.toml" in str(refused.value)


def test_no_such_file_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(UsageError):
            cost_profile(str(path))
