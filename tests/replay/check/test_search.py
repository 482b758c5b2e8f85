"""The search finds what is known to break, its counterexamples are shortest, and it holds what is known to hold."""

from dataclasses import dataclass

import pytest

from replay.check.search import Scenario, search
from replay.check.searches import toy_strategy
from replay.contract.actions import Alloc, Apply, Free, Give, Lock, SetKey, Tables, Unlock
from replay.contract.registry import find
from replay.contract.strategy import FastPath, Strategy
from replay.strategies.reserve_block import ReserveBlock

ALONE = Scenario(1, 0)


def toy(name, **settings):
    (entry,) = find([name])
    return toy_strategy(entry, settings)


def found(strategy, scenario=ALONE, depth=14):
    return search(strategy, scenario, depth)


def test_reserve_block_holds_for_one_task_and_no_outside_splitter():
    verdict = found(toy("reserve-block"), depth=200)
    assert not verdict.kind
    assert verdict.complete
    assert verdict.states > 500


def test_a_reserve_of_one_page_is_too_small_for_reserve_block():
    verdict = found(toy("reserve-block", reserve="1"))
    assert verdict.kind == "split_starvation"
    assert verdict.steps[-1] == "the refill's own split needs 2 tables and the pool has 1"


def test_ctor_naive_recurses_into_a_held_lock():
    verdict = found(toy("ctor-naive"))
    assert verdict.kind == "deadlock"
    assert verdict.steps[-1] == "task 1 waits for pgtable_split_lock, which it holds"
    assert sum("takes pgtable_split_lock" in step for step in verdict.steps) == 2


def test_small_reserve_drains_its_reserve():
    verdict = found(toy("small-reserve"))
    assert verdict.kind == "split_starvation"
    assert any("order 0" in step for step in verdict.steps)


def test_self_split_uses_a_table_before_it_has_its_key():
    assert found(toy("self-split")).kind == "unkeyed_table"


def test_pte_mapped_never_splits():
    assert not found(toy("pte-mapped"), Scenario(2, 4)).kind


def test_two_pages_pay_for_themselves_and_one_does_not():
    """A chunk of order 1 under a 1G leaf costs two tables and brings two pages; of order 0 it brings one."""
    assert found(toy("reserve-block", last_order="1"), depth=60).complete
    assert found(toy("reserve-block", last_order="0"), depth=60).kind == "split_starvation"


def test_two_tasks_break_what_one_cannot_and_a_mutex_mends_it():
    two = Scenario(2, 0)
    without = toy("reserve-block", mutex="false")
    broken = found(without, two)
    assert broken.kind == "split_starvation"
    assert not found(toy("reserve-block"), two, depth=12).kind
    assert len(broken.steps) - 1 == 7
    assert not found(without, two, depth=6).kind  # no shorter way


def test_a_reserve_of_two_and_two_is_too_small_for_a_range_with_two_ends():
    assert not found(toy("pba"), Scenario(1, 2)).kind
    broken = found(toy("pba"), Scenario(1, 4))
    assert broken.kind == "deadlock"
    assert "hits a WARN_ON(!page) in get_cached_page()" in broken.steps[-4]
    assert broken.steps[-1] == "task 1 waits for alloc_mutex, which it holds"


@pytest.mark.slow
def test_our_own_holds_where_the_proposals_break():
    """Two tasks, and others who cut 1G leaves at both ends: reserve-block breaks within as many steps."""
    both = Scenario(2, 4)
    assert found(toy("reserve-block"), both).kind == "split_starvation"
    assert not found(toy("buddy-reserve"), both, depth=8).kind
    assert found(toy("buddy-reserve", reserve="1")).kind == "split_starvation"


def test_lists_of_cpus_neither_break_nor_mend_the_reserve():
    assert found(toy("reserve-block-percpu"), depth=200).complete
    two = Scenario(2, 0)
    assert found(toy("reserve-block-percpu", mutex="false"), two).kind == "split_starvation"
    assert not found(toy("reserve-block-percpu"), two, depth=12).kind


@pytest.mark.parametrize("name", ["unmapped-alloc", "freetype", "pte-cache", "migrate-unmapped"])
def test_what_was_not_made_for_page_tables_splits_with_ordinary_pages(name):
    verdict = found(toy(name))
    assert verdict.kind == "unkeyed_table"
    assert verdict.steps[-1] == "the refill's own split uses a table of the direct map without the key"


@dataclass(frozen=True)
class _Broken(Strategy):
    how: str = ""

    def fast_path(self):
        return FastPath(pooled=True)

    def refill(self, pool, order):
        if self.how == "two locks":
            yield Lock("first" if pool.cached == 0 else "second")
        chunk = yield Alloc(0)
        if chunk is None:
            return None
        if self.how == "loses the page":
            return None
        if self.how != "forgets the key":
            yield SetKey(chunk, Tables.BOOT)
        if self.how == "frees it twice":
            yield Free(chunk)
            yield Free(chunk)
        if self.how == "frees it with the key":
            yield Free(chunk)
            return None
        yield Give(chunk)
        if self.how == "gives it twice":
            yield Give(chunk)
        return True

    def outside(self, pool, change):
        return (yield Apply(change, Tables.BUDDY))


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("loses the page", "lost_page"),
        ("forgets the key", "unkeyed_table"),
        ("frees it twice", "unkeyed_table"),
        ("frees it with the key", "unkeyed_table"),
        ("gives it twice", "lost_page"),
        ("two locks", "deadlock"),
    ],
)
def test_every_invariant_is_looked_at(how, kind):
    verdict = found(_Broken(how=how))
    assert verdict.kind == kind
    assert not found(_Broken(how=""), depth=8).kind


def test_others_that_split_with_pages_without_a_key_are_found():
    assert found(_Broken(), Scenario(1, 1)).kind == "unkeyed_table"


def test_two_tasks_that_wait_for_each_other():
    @dataclass(frozen=True)
    class Crossed(ReserveBlock):
        def refill(self, pool, order):
            yield Lock("a")
            yield Lock("b")
            yield Unlock("b")
            yield Unlock("a")

        def outside(self, pool, change):
            yield Lock("b")
            yield Lock("a")
            yield Unlock("a")
            yield Unlock("b")
            return False

    crossed = Crossed(block_order=3)
    verdict = found(crossed, Scenario(2, 1))
    assert verdict.kind == "deadlock"
    assert verdict.steps[-1] == "every task waits for a lock that another holds"


def test_the_search_does_not_depend_on_names_of_tasks():
    """More of the same: a strategy that holds with two tasks alone was searched further, not less."""
    strategy = toy("reserve-block")
    assert found(strategy, Scenario(2, 0), 10).states > found(strategy, Scenario(1, 0), 10).states
