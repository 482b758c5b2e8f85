"""Sweep specifications: the ones that ship, and what is refused."""

import json

import pytest

from ptpool.cli import run
from replay.contract.registry import find
from replay.kernel.geometry import ARM64_4K, ARM64_16K, ARM64_64K
from replay.sweep.spec import read_spec


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
    ("content", "told"),
    [
        ("title = 'ü'".encode("latin-1"), "not UTF-8, at byte 9"),
        (b"title = " + b"9" * 5000, "not TOML: "),
        (b"title = 2026-13-01", "not TOML: "),
        (None, "Is a directory"),
    ],
)
def test_a_specification_that_is_not_text_is_refused(captures, tmp_path, capsys, content, told):
    path = tmp_path / "bad.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert run(["replay", "sweep", str(path), "--db", str(captures)]) == 2
    assert capsys.readouterr().err.startswith(f"ptpool: {path}: {told}")


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


def test_the_shipped_sweep_refills_by_the_leaf_of_every_granule():
    asked = {
        (grid["machine"][0], tuple(grid["set"]["block_order"])) for grid in read_spec("granule").grids if "set" in grid
    }
    for granule, geometry, order in (("4k", ARM64_4K, 9), ("16k", ARM64_16K, 11), ("64k", ARM64_64K, 13)):
        (orders,) = [orders for machine, orders in asked if machine == f"arm64-{granule}"]
        assert order in orders
        assert find(["pba"])[0].factory().on(geometry).refill_orders[0] in orders
        assert 21 - geometry.page_shift in orders
