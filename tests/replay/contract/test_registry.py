"""A strategy is one file in replay/strategies/: once it is there, every command and every figure has it."""

import re
import sys
from pathlib import Path

import pytest
from accounts import assert_consistent, metrics
from toy_machine import PGTABLE, demand_of, finished, machine_of
from toy_sweep import rows

import replay.strategies
from ptpool.cli import run
from replay.check.search import Scenario, search
from replay.check.searches import toy_strategy
from replay.contract import registry
from replay.contract.registry import find, strategies
from replay.runs.one_run import replay_one
from replay.runs.workers import where

PAGE = Path(__file__).parents[3] / "docs" / "write-your-own-strategy.md"
(FILE,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
LOOK = '    colour="#7b3294",\n'


@pytest.fixture
def drop(tmp_path, monkeypatch):
    """Put a file among the strategies for the length of a test."""
    monkeypatch.setattr(replay.strategies, "__path__", [*replay.strategies.__path__, str(tmp_path)])

    def put(stem, text):
        (tmp_path / f"{stem}.py").write_text(text)
        strategies.cache_clear()
        return tmp_path / f"{stem}.py"

    yield put
    dropped = {f"replay.strategies.{path.stem}" for path in tmp_path.glob("*.py")}
    for name in [name for name, entry in registry._REGISTRY.items() if entry.factory.__module__ in dropped]:
        del registry._REGISTRY[name]
    for module in dropped & set(sys.modules):
        del sys.modules[module]
    strategies.cache_clear()


@pytest.fixture
def only_blocks(drop):
    """The strategy of the page."""
    drop("only_blocks", FILE)
    (entry,) = find(["only-blocks"])
    return entry


def test_the_file_is_all_it_takes(only_blocks, capsys):
    machine = finished(
        machine_of(64),
        demand_of([("alloc", page, 0, PGTABLE) for page in range(9)]),
        only_blocks.factory(block_order=2),
    )
    assert metrics(machine)["refills"] == 3
    assert_consistent(machine, tables_of_pool=False)
    assert run(["replay", "list"]) == 0
    assert run(["replay", "describe", "only-blocks"]) == 0
    said = capsys.readouterr().out
    assert "a 2M block, or nothing" in said
    assert "block_order" in said
    verdict = search(toy_strategy(only_blocks, {}), Scenario(1, 0), 6)
    assert verdict.kind == "unkeyed_table"


def test_a_run_that_breaks_off_says_at_which_event(only_blocks):
    """Order 5 is above this machine's MAX_PAGE_ORDER; the first page table is the third event."""
    script = [("alloc", 100 + page, 0, 0) for page in range(2)] + [("alloc", 1, 0, PGTABLE)]
    with pytest.raises(ValueError, match="order 5 is above this machine's MAX_PAGE_ORDER, 3") as broken:
        replay_one(machine_of(64), demand_of(script), only_blocks.factory(block_order=5))
    assert "at event 3, 0.000002 s after the first" in where(broken.value)


@pytest.fixture
def replayed(captures, tmp_path):
    """Replay a tiny capture in this process, where the dropped files are; returns the exit status and the warehouse."""

    def replay_with(names):
        path = tmp_path / "w.duckdb"
        path.write_bytes(captures.read_bytes())
        return run(["replay", "run", "--strategy", names, "--jobs", "1", "--quiet", "--db", str(path)]), path

    return replay_with


def figures_of(path, tmp_path):
    assert run(["report", "build", "--quiet", "--db", str(path), "--out", str(tmp_path / "out")]) == 0
    return {figure.stem: figure.read_text() for figure in (tmp_path / "out" / "tiny").glob("*.svg")}


@pytest.mark.slow
def test_every_figure_has_it_in_its_own_colour(drop, replayed, tmp_path):
    drop("only_blocks", FILE.replace("param(9", "param(2"))
    drop("plain", FILE.replace(LOOK, "").replace("only-blocks", "plain").replace("param(9", "param(3"))
    (plain,) = find(["plain"])
    status, path = replayed("unprotected,only-blocks,plain")
    assert status == 0
    figures = figures_of(path, tmp_path)
    for figure in ("conversion-bands", "pool-over-time"):
        assert "#7b3294" in figures[figure], figure
        assert plain.colour in figures[figure], figure


def test_a_look_that_is_left_out_is_chosen_by_the_name(drop):
    for name in ("plain", "other"):
        drop(name, FILE.replace(LOOK, "").replace("only-blocks", name))
    plain, other = find(["plain", "other"])
    assert plain.colour != other.colour
    assert {plain.colour, other.colour}.isdisjoint(
        entry.colour for entry in strategies().values() if entry not in (plain, other)
    )
    again = registry._look("plain")
    assert (plain.colour, plain.line, plain.marker) == again
    assert plain.family == "pool"


def test_a_broken_file_is_named_and_the_others_run(drop, replayed, capsys):
    path = drop("only_blocks", FILE.replace("return FastPath(pooled=True)", "return FastPath(pooled=True"))
    line = FILE.splitlines().index("        return FastPath(pooled=True)") + 1
    assert run(["replay", "list"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"ptpool: {path}, line {line}: SyntaxError: ")
    assert len(told.err.splitlines()) == 1
    assert "pba" in told.out and "only-blocks" not in told.out
    assert run(["replay", "describe", "only-blocks"]) == 2
    assert f"{path}, line {line}: SyntaxError" in capsys.readouterr().err
    assert replayed("pba")[0] == 0
    status, warehouse = replayed("all")
    assert status == 1
    assert {name for (name,) in rows(warehouse, "SELECT strategy FROM run")} == set(strategies())


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('"only-blocks"', '"pba"', "replay.strategies.pba already has a strategy pba"),
        ("#7b3294", "violet", "colour violet is not of the form #rrggbb"),
        ("FastPath(pooled=True)", "FastPath(pool=True)", "unexpected keyword argument 'pool'"),
        ("def fast_path", "def fast", "OnlyBlocks has no fast_path()"),
        ("colour=", "marker=", "#7b3294 is none of"),
        ("import dataclass\n", "import dataklass\n", "cannot import name 'dataklass'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(drop, right, wrong, said):
    drop("zz_only_blocks", FILE.replace(right, wrong))
    assert find(["pba"])
    (reason,) = registry._BROKEN.values()
    assert said in reason
    assert ", line " in reason
