"""What the kernel's numbers mean, by release."""

import pytest

from ptpool.releases import numbers_of, version_of


@pytest.mark.parametrize(
    ("release", "second", "free_tails", "tables_marked"),
    [
        ("2.6.18-194.el5", "Reclaimable", False, False),
        ("3.10.0-1160.el7.x86_64", "Reclaimable", False, False),
        ("4.4.302", "Movable", False, False),
        ("4.14.117-perf", "Movable", True, False),
        ("4.18.0-553.el8", "Movable", True, True),
        ("6.12.95+deb12-amd64", "Movable", True, True),
        (None, "Movable", True, True),
        ("unknown", "Movable", True, True),
    ],
)
def test_numbers(release, second, free_tails, tables_marked):
    numbers = numbers_of(release)
    assert numbers.migratetypes[1] == second
    assert (numbers.free_tails, numbers.tables_marked) == (free_tails, tables_marked)


def test_version():
    assert version_of("6.12.95+deb12-amd64") == (6, 12)
    assert version_of("7.0-rc3") == (7, 0)
    assert version_of("next-20261130") is None
    assert version_of(None) is None
