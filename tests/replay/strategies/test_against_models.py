"""Every strategy's bookkeeping against a slow model of it, event by event, on random streams of requests.

The page allocator's answers are taken from the run (which pages it gave, and when it entered the shrinker); the model
has to ask for the same orders, and to end every event with the same pool, the same splits and the same failures.
"""

from dataclasses import asdict

import numpy as np
import pytest
from accounts import listed
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_pools import World
from reference_strategies import REFERENCES
from toy_machine import KSTACK, OTHER, PGTABLE, SECRET, demand_of, machine_of
from toy_runs import SMALL

from replay.contract.actions import (
    Alloc,
    Apply,
    Convert,
    GiveBlock,
    Isolate,
    MapSmall,
    ResetKey,
    SetAside,
    SetKey,
    Tables,
)
from replay.contract.permissions import NOBODY, SHARED
from replay.contract.registry import strategies
from replay.demand.program import ALLOC, FREE_EVENT, OUTSIDE_CHANGE
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import USED
from replay.machine import pool as pools
from replay.machine import state
from replay.machine.loop import BALANCE, DONE
from replay.machine.machine import Machine
from replay.machine.schedule import FOREVER
from replay.machine.tally import UNPLACED


class View(state._View):
    """The pool as a decision sees it; what it learns about the page allocator is logged."""

    @property
    def largest_free(self):
        self._state.log.append(("largest", super().largest_free))
        return self._state.log[-1][1]


class Watched(Machine):
    """A machine that logs the page allocator's answers and can be driven event by event."""

    def __init__(self, start, demand, strategy):
        self.log = log = []

        def shrink(self, pool):
            log.append(("shrink",))
            return (yield from type(strategy).shrink(self, pool))

        def outside(self, pool, change):
            log.append(("outside", tuple(change)))
            return (yield from type(strategy).outside(self, pool, change))

        def fall_back(self, pool, order, migratetype):
            log.append(("shrink", order, migratetype))
            return (yield from type(strategy).fall_back(self, pool, order, migratetype))

        watches = {"outside": outside} | ({"fall_back": fall_back} if strategy.falls_back else {"shrink": shrink})
        told = type("Told", (type(strategy),), watches)
        watched = state.State(start, demand, told(**asdict(strategy)))
        watched.log, watched.view = log, View(watched)
        super().__init__(watched)

    def perform(self, action):
        if isinstance(action, GiveBlock):
            self.log.append(("block", self._free_beside(action.chunk.pfn)))
        result, ns = super().perform(action)
        match action:
            case Alloc(order):
                result = self._told("alloc", result, order)
            case Isolate(_):
                self.log.append(("beside", [list(range(page, page + (1 << order))) for page, order in result]))
            case SetKey(_, Tables.BUDDY | Tables.ASIDE) | ResetKey(_, Tables.BUDDY | Tables.ASIDE, _):
                result = self._told("tables", result)
            case MapSmall(_, Tables.BUDDY) | Apply(_, Tables.BUDDY | Tables.ASIDE) | Convert(_, Tables.BUDDY, _):
                result = self._told("tables", result)
            case SetAside(_):
                result = self._told("aside", result)
        return result, ns

    def _told(self, what, decision, *asked):
        result = yield from decision
        if what == "alloc":
            self.log.append(
                (what, *asked, None if result is None else list(range(result.pfn, result.pfn + result.pages)))
            )
        elif what == "aside":
            self.log.append((what, np.flatnonzero(self.state.allocator.kind == pools.SPLIT_TABLE).tolist()))
        else:
            self.log.append((what, result))
        return result

    def _free_beside(self, pfn):
        """Free chunks of a pageblock."""
        a = self.state.allocator
        first = pfn >> a.pageblock_order << a.pageblock_order
        heads = [page for page in range(first, first + (1 << a.pageblock_order)) if a.order[page] >= 0]
        return [list(range(page, page + (1 << int(a.order[page])))) for page in heads]

    def step(self, at):
        """One event, and all that it leads to."""
        while at is not None or self.schedule.horizon < FOREVER:
            if at is not None:
                _, why = self._run(at, at + 1, 0, FOREVER)
                if why == BALANCE:
                    self._kswapd()
                    while self.schedule.horizon < FOREVER:
                        self.schedule.resume()
                    continue
                if why != DONE:
                    self._decide(at, why, int(self.state.demand.program.ts[at]))
                at = None
            else:
                self.schedule.resume()


def pages_of(machine, recorded, order):
    """Simulated pages of recorded ones, in the pieces in which they are freed, with their kinds."""
    here = machine.state.tally.page_of[recorded : recorded + (1 << order)].tolist()
    kind = machine.state.allocator.kind
    whole = here[0] >= 0 and here[0] % len(here) == 0 and here == list(range(here[0], here[0] + len(here)))
    if whole and len({int(kind[page]) for page in here}) == 1:
        return [here]
    return [[page] for page in here if page >= 0]


def follow(machine, model, at):
    """Let the machine do an event, and the model after it."""
    program = machine.state.demand.program
    op, recorded, order = int(program.op[at]), int(program.pfn[at]), int(program.order[at])
    is_table = bool(machine.state.tally.protected[program.consumer[at]])
    freed = [] if op == OUTSIDE_CHANGE else pages_of(machine, recorded, order)
    kind = machine.state.allocator.kind.copy()
    placed = int(machine.state.tally.counts[UNPLACED])
    machine.log.clear()
    machine.step(at)
    model.world.log.extend(machine.log)
    for pages in freed:
        if kind[pages[0]] in _TABLES:
            model.free(pages)
        else:
            model.ordinary_free(pages, unmovable=kind[pages[0]] == USED)
    if op == FREE_EVENT:
        model.after_free()
    user = int(machine.state.tally.user_of[program.consumer[at]])
    if op == ALLOC and is_table:
        there = None if machine.state.tally.counts[UNPLACED] > placed else pages_of(machine, recorded, order)[0]
        model.table(order, there)
    elif op == ALLOC and user != NOBODY:
        model.refused += not model.special(None if user == SHARED else user, order)
    while model.world.log:
        entry = model.world.log.popleft()
        if entry[0] == "shrink":
            model.shrink_now(*entry[1:])
        else:
            assert entry[0] == "outside", entry
            model.others(entry[1])


def assert_same(machine, model):
    a, p = machine.state.allocator, machine.state.pool
    if p.most:
        assert [listed(machine, p.head + order) for order in range(p.most + 1)] == [model.chunks[o] for o in range(3)]
    else:
        assert listed(machine, p.head) == model.idle
    own = [listed(machine, p.own_head + number) for number in range(len(p.on_own))]
    assert own == model.own + [[]] * (len(own) - len(model.own))
    live = {page: kind != pools.TABLE_PLAIN for page, kind in enumerate(a.kind.tolist()) if kind in _TABLES}
    assert live == model.live
    log = maps.logged(machine.state.direct_map)
    assert sorted(log[:, 1:3].tolist()) == sorted([first, level] for first, level, _ in model.world.map.log)
    assert machine.state.refills == model.refills
    assert machine.state.shrunk == model.shrunk
    assert machine.state.incident_counts.get("ptp_null", 0) == model.nulls
    assert machine.state.incident_counts.get("pool_null", 0) == model.refused
    assert machine.state.incident_counts.get("split_starvation", 0) == model.starved
    assert machine.state.incident_counts.get("warn", 0) == model.warns
    if model.warns:
        assert machine.state.incident_counts.get("deadlock", 0) == model.deadlocks


_TABLES = (pools.POOL_USED, pools.TABLE_PLAIN, pools.TABLE_KEYED, pools.POOL_SECRET)

tables = st.tuples(st.just("alloc"), st.integers(0, 30), st.just(0), st.just(PGTABLE))
events = st.lists(
    st.one_of(
        st.lists(tables, min_size=4, max_size=12),  # a burst
        st.integers(0, 25).map(lambda n: [("free", page, 0, OTHER) for page in range(n, n + 6)]),
        tables.map(lambda row: [row]),
        st.tuples(st.just("alloc"), st.integers(0, 5).map(lambda n: 200 + 2 * n), st.just(1), st.just(PGTABLE)).map(
            lambda r: [r]
        ),
        st.tuples(st.just("free"), st.integers(0, 5).map(lambda n: 200 + 2 * n), st.just(1), st.just(OTHER)).map(
            lambda r: [r]
        ),
        st.tuples(st.just("alloc"), st.integers(300, 340), st.just(0), st.sampled_from([SECRET, OTHER, KSTACK])).map(
            lambda r: [r]
        ),
        st.integers(300, 330).map(
            lambda n: [("alloc", page, 0, OTHER) for page in range(n, n + 12)]
        ),  # memory is short
        st.integers(300, 330).map(lambda n: [("free", page, 0, OTHER) for page in range(n, n + 8)]),
        st.just([("change", 0, 0, OTHER)]),
    ),
    min_size=4,
    max_size=24,
).map(lambda parts: [row for part in parts for row in part])


def test_every_strategy_has_a_model():
    assert set(REFERENCES) == set(strategies())


@pytest.mark.parametrize("strategy", SMALL, ids=lambda strategy: type(strategy).__name__)
@settings(max_examples=60, deadline=None)
@given(events, st.sampled_from([maps.PMD, maps.PUD]), st.sampled_from([None, 1, 2]), st.sampled_from([32, 48]))
def test_the_books_agree(strategy, script, level, taken, pages):
    name = next(name for name, entry in strategies().items() if entry.factory is type(strategy))
    free = None if taken is None else [page % 4 != taken for page in range(pages)]
    start = machine_of(pages, level=level, free=free, cpus=1)
    machine = Watched(start, demand_of(script), strategy)
    leaves = [(first, level) for first in range(0, pages, 4 ** (level - 1))]
    if strategy.boot_map_4k:
        leaves = [(page, maps.PTE) for page in range(pages)]
    model = REFERENCES[name](strategy, World(leaves))
    model.world.log.extend(machine.log)
    model.boot()
    model.refills = model.nulls = model.starved = model.shrunk = 0
    for at in range(len(machine.state.demand.program.op)):
        follow(machine, model, at)
        assert_same(machine, model)
