"""A strategy is one file in replay/strategies/: whoever puts it there finds it everywhere."""

import sys

import pytest
from accounts import assert_consistent, metrics
from toy_machine import PGTABLE, demand_of, finished, machine_of

import replay.strategies
from ptpool.cli import run
from replay.check.report import toy_strategy
from replay.check.search import Scenario, search
from replay.contract.registry import find, strategies
from replay.runs.one_run import replay_one
from replay.runs.workers import where

FILE = '''"""Blocks, keyed with tables of the page allocator."""

from dataclasses import dataclass

from replay.contract.actions import Alloc, Apply, Give, SetKey, Tables
from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, Strategy, param


@strategy("only-blocks", title="a block, or nothing", source="a test")
@dataclass(frozen=True)
class OnlyBlocks(Strategy):
    """A pool of blocks.

    ours  A refill is a block; without one page tables are refused.
    """

    block_order: int = param(9, "order of a refill", "ours")

    def fast_path(self):
        return FastPath(pooled=True)

    def refill(self, pool, order):
        block = yield Alloc(self.block_order)
        if block is None:
            return None
        yield SetKey(block, Tables.BUDDY)
        yield Give(block)
        return True

    def outside(self, pool, change):
        return (yield Apply(change, Tables.BUDDY))
'''


@pytest.fixture
def only_blocks(tmp_path, monkeypatch):
    """The strategy while the file is there."""
    (tmp_path / "only_blocks.py").write_text(FILE)
    monkeypatch.setattr(replay.strategies, "__path__", [*replay.strategies.__path__, str(tmp_path)])
    strategies.cache_clear()
    (entry,) = find(["only-blocks"])
    yield entry
    from replay.contract import registry

    del registry._REGISTRY["only-blocks"], sys.modules["replay.strategies.only_blocks"]
    strategies.cache_clear()


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
    assert "a block, or nothing" in said
    assert "block_order" in said
    verdict = search(toy_strategy(only_blocks, {}), Scenario(1, 0), 6)
    assert verdict.kind == "unkeyed_table"


def test_a_run_that_breaks_off_says_at_which_event(only_blocks):
    """Order 5 is above this machine's MAX_PAGE_ORDER; the first page table is the third event."""
    script = [("alloc", 100 + page, 0, 0) for page in range(2)] + [("alloc", 1, 0, PGTABLE)]
    with pytest.raises(ValueError, match="order 5 is above this machine's MAX_PAGE_ORDER, 3") as broken:
        replay_one(machine_of(64), demand_of(script), only_blocks.factory(block_order=5))
    assert "at event 3, 0.000002 s after the first" in where(broken.value)
