"""Direct reclaim, kswapd and compaction in three variants, by hand on a toy machine and held against what must not change."""

from dataclasses import replace

import numpy as np
import pytest
from accounts import assert_consistent, metrics
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy_machine import KERNEL, OTHER, PGTABLE, demand_of, finished, machine_of
from toy_runs import BLOCK, SMALL, TOY_PBA, events

from ptpool.errors import UsageError
from ptpool.vocabulary import MOVABLE, SLOW_PATH_STEPS, UNMOVABLE
from replay.kernel.compaction import SHARE_PARTS, shrink_zone
from replay.kernel.gfp import MAY_FS, MAY_IO, NORETRY, WAKES_KSWAPD
from replay.kernel.mmzone import BARREN, FREE, ON_PCP, USED, WMARK_HIGH, WMARK_LOW
from replay.kernel.page_alloc import alloc_pages
from replay.kernel.per_cpu import drain_all_pages
from replay.machine import reclaim
from replay.machine.boot import DoesNotFitError
from replay.machine.machine import Machine
from replay.machine.reclaim import variants
from replay.machine.results import result_of
from replay.machine.state import State
from replay.machine.tally import UNKNOWN_FREES
from replay.machine.vmscan import direct_reclaim
from replay.strategies.full_reserve import FullReserve
from replay.strategies.self_split import SelfSplit
from replay.strategies.unprotected import Unprotected

IN_USE = USED + MOVABLE
VARIANTS = ("none", "moderate", "optimistic")


def flags_of(machine, order):
    return {flag: int(n) for flag, n in zip(SLOW_PATH_STEPS, machine.state.flags[order], strict=True) if n}


def direct(state, context=KERNEL):
    """A round of direct reclaim, where no strategy has a shrinker."""
    with pytest.raises(StopIteration) as stop:
        next(direct_reclaim(state, 0, context))
    return stop.value.value


def with_request(demand, *, migratetype=None, context=None):
    """The same demand, of another migratetype or from another context."""
    program = demand.program
    if migratetype is not None:
        program.migratetype[:] = migratetype
    if context is not None:
        program.context[:] = context
    return demand


def checkered(pages=64):
    """Every other page free, the others in use and movable, each by its own name."""
    return machine_of(pages, free=[page % 2 == 0 for page in range(pages)])


@pytest.mark.parametrize(
    ("variant", "served", "flags"),
    [
        ("none", False, {"reclaim": 1, "compact_sync": 1, "oom_kill": 1}),
        ("moderate", True, {"reclaim": 1}),
        ("optimistic", True, {"reclaim": 1}),
    ],
)
def test_reclaim_alone_makes_a_small_block(variant, served, flags):
    """A round of reclaim frees 16 or 32 of the 32 pages in use, on both sides of free ones: blocks of four come of it."""
    machine = finished(checkered(), demand_of([("alloc", 400, 2, OTHER)]), Unprotected(), variant)
    assert (machine.state.tally.page_of[400] >= 0) == served
    assert flags_of(machine, 2) == flags
    assert metrics(machine)["stalls"] == 1


def test_compaction_moves_what_reclaim_may_not_free(monkeypatch):
    """Nothing can be reclaimed: a block of four is made free by moving two pages to the last free ones of the zone."""
    keeps = replace(variants()["optimistic"], reclaimable=0.0)
    monkeypatch.setitem(variants(), "optimistic", keeps)
    machine = finished(checkered(), demand_of([("alloc", 400, 2, OTHER)]), Unprotected(), "optimistic")
    page_of = machine.state.tally.page_of
    assert flags_of(machine, 2) == {"reclaim": 1, "compact_sync": 1}
    assert page_of[400:404].tolist() == [0, 1, 2, 3]
    assert (page_of[1], page_of[3], page_of[5]) == (62, 60, 5)  # the pages of names 1 and 3 went to the end
    assert machine.state.reclaim.done == {"moved": 2, "compacted": 1}
    assert_consistent(machine)


def test_asynchronous_compaction_comes_first_for_blocks_that_would_mix_pageblocks():
    demand = with_request(demand_of([("alloc", 400, 2, OTHER)]), migratetype=UNMOVABLE)
    machine = finished(checkered(), demand, Unprotected(), "optimistic")
    assert flags_of(machine, 2) == {"compact_async": 1}
    assert machine.state.reclaim.done["reclaimed"] == 0


def test_moderate_asynchronous_compaction_keeps_to_pageblocks_of_the_same_type():
    """All pageblocks are movable, the request is not: it goes on to reclaim."""
    demand = with_request(demand_of([("alloc", 400, 2, OTHER)]), migratetype=UNMOVABLE)
    machine = finished(checkered(), demand, Unprotected(), "moderate")
    assert flags_of(machine, 2) == {"compact_async": 1, "reclaim": 1}


def test_compaction_does_nothing_for_requests_that_may_not_start_io(monkeypatch):
    keeps = replace(variants()["optimistic"], reclaimable=0.0)
    monkeypatch.setitem(variants(), "optimistic", keeps)
    demand = with_request(demand_of([("alloc", 400, 2, OTHER)]), context=KERNEL & ~MAY_IO)
    machine = finished(checkered(), demand, Unprotected(), "optimistic")
    assert machine.state.tally.page_of[400] < 0
    assert machine.state.reclaim.done["moved"] == 0


def test_one_unmovable_page_keeps_a_block_from_being_emptied(monkeypatch):
    """Each block of four holds an unmovable page but the last; nothing can be reclaimed."""
    monkeypatch.setitem(variants(), "optimistic", replace(variants()["optimistic"], reclaimable=0.0))
    start = checkered()
    start.allocator.kind[1:60:4] = USED + UNMOVABLE
    machine = finished(start, demand_of([("alloc", 400, 2, OTHER)] * 2), Unprotected(), "optimistic")
    assert machine.state.tally.page_of[400] == 60
    assert (machine.state.allocator.kind[1:60:4] == USED + UNMOVABLE).all()


@pytest.mark.parametrize(
    ("extra", "expected"),
    [(0, {"reclaim": 1, "compact_sync": 1, "oom_kill": 1}), (NORETRY, {"reclaim": 1, "compact_sync": 1, "null": 1})],
)
def test_only_requests_that_may_loop_end_in_a_kill(extra, expected):
    start = checkered()
    start.allocator.kind[1::2] = USED + UNMOVABLE
    demand = with_request(demand_of([("alloc", 400, 2, OTHER)]), context=KERNEL | extra)
    machine = finished(start, demand, Unprotected(), "optimistic")
    assert flags_of(machine, 2) == expected
    assert metrics(machine)["unplaced_allocations"] == 1


def test_a_page_that_was_reclaimed_is_forgotten_and_its_free_unknown():
    """A full machine of 64 pages: one more has 32 reclaimed; those names' frees find nothing afterwards."""
    script = [("alloc", 400, 0, OTHER)] + [("free", page, 0, OTHER) for page in range(64)]
    machine = finished(machine_of(64, free=[False] * 64), demand_of(script), Unprotected(), "optimistic")
    assert machine.state.reclaim.done["reclaimed"] == 32
    assert machine.state.tally.counts[UNKNOWN_FREES] == 32
    assert (machine.state.tally.page_of >= 0).sum() == 1
    said = " ".join(result_of(machine).assumptions)
    assert "Reclaimed: 32 pages by direct reclaim and 0 by kswapd" in said
    assert "32 frees of pages that nothing had allocated" in said


@pytest.mark.parametrize("variant", VARIANTS)
def test_where_reclaim_is_modelled_recorded_reclaim_frees_nothing_that_it_could(variant):
    """A movable page stays in use without a name; a page of the kernel's own, which the model never takes, is freed."""
    start = machine_of(64, free=[page >= 8 for page in range(64)])
    start.allocator.kind[3] = USED + UNMOVABLE
    script = [("reclaim", 1, 0, OTHER), ("reclaim", 3, 0, OTHER), ("free", 1, 0, OTHER)]
    machine = finished(start, demand_of(script), Unprotected(), variant)
    stays = variant != "none"
    assert (machine.state.allocator.kind[1] == IN_USE) == stays
    assert machine.state.allocator.kind[3] in (FREE, ON_PCP)
    assert machine.state.tally.page_of[[1, 3]].tolist() == [-1, -1]
    assert machine.state.tally.counts[UNKNOWN_FREES] == 1  # the second free of page 1
    said = result_of(machine).assumptions
    assert any("2 frees by reclaim on the recorded machine" in line and ("Left out" in line) == stays for line in said)


@pytest.mark.parametrize(("page_cache", "freed"), [(None, 32), (0.25, 17), (0.0, 0)])
def test_moderate_reclaims_what_was_page_cache(page_cache, freed):
    """Half of 64 pages where no snapshot shows it; otherwise the share, spread over the addresses as evenly as it comes."""
    start = replace(machine_of(64, free=[False] * 64), page_cache=page_cache)
    state = State(start, demand_of([]), Unprotected(), "moderate")
    assert direct(state) + direct(state) == freed
    assert direct(state, KERNEL & ~MAY_IO) == 0


@pytest.mark.parametrize("named", [True, False])
def test_data_that_is_moved_does_not_become_reclaimable(named, monkeypatch):
    """All that can be is reclaimed; then compaction moves what is left, also to addresses where it could have been."""
    monkeypatch.setitem(variants(), "optimistic", replace(variants()["optimistic"], reclaimable=0.5, page_cache=False))
    state = State(machine_of(64, free=[False] * 64), demand_of([]), Unprotected(), "optimistic")
    if not named:
        state.tally.page_of[:] = -1
    while direct(state):
        pass
    drain_all_pages(state.allocator)
    before = set(np.flatnonzero(state.allocator.kind == IN_USE))
    assert all(state.reclaim.compact(0, 3, MOVABLE, KERNEL, sync=True) for _ in range(2))
    arrived = set(np.flatnonzero(state.allocator.kind == IN_USE)) - before
    assert any((int(page) * 2654435761 & 0xFFFFFFFF) >> 16 < 1 << 15 for page in arrived)
    state.allocator.zone_state[:, BARREN] = 0
    assert direct(state) == 0


@pytest.mark.parametrize(("variant", "freed"), [("none", 0), ("moderate", 11), ("optimistic", 10)])
def test_kswapd_reclaims_up_to_the_high_watermark_when_it_has_been_woken(variant, freed):
    """12 of 64 pages free, low watermark 8, high 16: the fourth request wakes kswapd, which runs before a later event.

    Ten pages bring it above the mark; where half can be reclaimed the last turn frees one more.
    """
    start = machine_of(64, free=[page < 12 for page in range(64)])
    start.allocator.wmark[0, [WMARK_LOW, WMARK_HIGH]] = 8, 16
    demand = with_request(demand_of([("alloc", 400 + n, 0, OTHER) for n in range(5)] + [("free", 63, 0, OTHER)]))
    demand.program.context[:] |= WAKES_KSWAPD
    demand.program.ts[5] = 60_000_000
    machine = finished(start, replace(demand, last_ns=60_000_001), Unprotected(), variant)
    assert machine.state.kswapd_wakes()[0] == 1
    assert machine.state.reclaim.done["kswapd"] == freed
    if freed:
        a = machine.state.allocator
        assert (a.kind == FREE).sum() + (a.kind == ON_PCP).sum() == 12 - 5 + freed + 1


def test_after_failures_moderate_compaction_is_put_off(monkeypatch):
    """Pairs of movable pages would do, but in each block one is unmovable: attempts fail, the 2nd and 4th to 6th are skipped."""
    start = checkered()
    start.allocator.kind[1::4] = USED + UNMOVABLE
    tried = []
    real = reclaim.compact_zone
    monkeypatch.setattr(reclaim, "compact_zone", lambda *args: tried.append(1) or real(*args))
    state = finished(start, demand_of([]), Unprotected(), "moderate").state.reclaim
    done = []
    for _ in range(7):
        state.compact(0, 2, MOVABLE, KERNEL, sync=True)
        done.append(len(tried))
    assert done == [1, 1, 2, 2, 2, 2, 3]


def test_an_unknown_variant_is_refused():
    with pytest.raises(UsageError, match="no such variant"):
        reclaim.variant_of("pessimistic")


# A single page cannot supply the two tables that its own split may take.
CROWDED = [replace(one, refill_orders=(2,)) if isinstance(one, SelfSplit) else one for one in SMALL]


# The second allocation of page 400 waits for its task, which ends while the first is still being decided.
SAME_PAGES_TWICE = [("alloc", 1, 0, OTHER), ("alloc", 200, 1, PGTABLE), *[("alloc", 400, 2, OTHER)] * 2]


@pytest.mark.parametrize("strategy", CROWDED, ids=lambda strategy: type(strategy).__name__)
@settings(max_examples=20, deadline=None)
@given(
    events,
    st.sampled_from(VARIANTS),
    st.integers(0, 2**64 - 1),
    st.integers(1, 4),
    st.sampled_from([0, MAY_FS, MAY_IO]),
)
@example(SAME_PAGES_TWICE, "moderate", 0, 2, 0)
def test_any_program_conserves_pages_and_keeps_what_cannot_be_moved(
    strategy, script, variant, unmovable, tasks, without
):
    """A full machine under pressure: names and kinds agree, and unmovable pages stay where and what they are."""
    start = machine_of(64, free=[page % 3 == 0 for page in range(64)])
    pinned = [page for page in range(64) if page % 3 and unmovable >> page & 1]
    start.allocator.kind[pinned] = USED + UNMOVABLE
    freed = {page for op, first, order, _ in script for page in range(first, first + (1 << order)) if op != "change"}
    demand = demand_of(script, tasks=[nth % tasks for nth in range(len(script))])
    demand.program.context[demand.program.context > 0] &= ~np.uint16(without)  # GFP_NOFS, GFP_NOIO: they loop
    machine = Machine(State(start, demand, strategy, variant))
    after_boot = machine.state.tally.page_of.copy()
    machine.replay()
    assert_consistent(machine, tables_of_pool=not isinstance(strategy, FullReserve))
    a, t = machine.state.allocator, machine.state.tally
    for page in set(pinned) - freed:
        assert t.page_of[page] == after_boot[page]
        assert a.kind[after_boot[page]] == USED + UNMOVABLE
    named = np.flatnonzero(t.page_of >= 0)
    assert (a.kind[t.page_of[named]] >= USED).all()
    movable = named[a.kind[t.page_of[named]] == IN_USE]
    assert (t.name_of[t.page_of[movable]] ^ t.page_of[movable] == movable).all()
    assert set(np.flatnonzero(a.kind == IN_USE)) == set(t.page_of[movable])
    assert a.nr_free[0] @ (1 << np.arange(a.max_order + 1)) == (a.kind == FREE).sum()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=30),
    st.integers(0, 2**64 - 1),
    st.sampled_from([MOVABLE, UNMOVABLE]),
    st.sampled_from([Unprotected(), BLOCK, TOY_PBA]),
)
def test_optimistic_serves_at_least_as_many_pages_as_none(orders, used, migratetype, strategy):
    """Nothing but allocations: what reclaim and compaction add can only serve more, never less."""
    script = [("alloc", 400 + 4 * n, order, OTHER if n % 3 else PGTABLE) for n, order in enumerate(orders)]
    script = [(op, first, min(order, 1) if who == PGTABLE else order, who) for op, first, order, who in script]
    demand = with_request(demand_of(script), migratetype=migratetype)
    start = machine_of(64, free=[not used >> page & 1 for page in range(64)])
    try:
        none, optimistic = (finished(start, demand, strategy, variant) for variant in ("none", "optimistic"))
    except DoesNotFitError:
        return  # a block at boot, of a machine without four free pages
    assert optimistic.state.failures.sum() <= none.state.failures.sum()
    assert metrics(optimistic)["ptp_nulls"] <= metrics(none)["ptp_nulls"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("amurR"), st.integers(0, 3), st.integers(1, 40)), max_size=30))
@example([("r", 0, 40), ("m", 3, 1), ("r", 0, 40)])
def test_a_turn_of_reclaim_that_is_left_out_would_have_found_nothing(steps):
    """What is remembered of the last turn is forgotten on one of two machines before each step."""
    machines = [machine_of(64, free=[page % 2 == 0 for page in range(64)]) for _ in range(2)]
    freed = []
    for machine in machines:
        a = machine.allocator
        names = np.full(64, -1, np.int32)
        reclaim_ = reclaim.Reclaim(variants()["optimistic"], a, names, names.copy())
        freed.append([])
        for what, order, wanted in steps:
            if machine is machines[1]:
                a.zone_state[:, BARREN] = 0
            if what in "au":
                alloc_pages(a, 0, order, MOVABLE if what == "a" else UNMOVABLE, KERNEL)
            elif what == "m":
                reclaim_.compact(0, max(order, 1), UNMOVABLE, KERNEL, sync=True)
            else:
                share = SHARE_PARTS if what == "R" else SHARE_PARTS // 2
                freed[-1].append(int(shrink_zone(a, names, names, reclaim_._hands, 0, 0, wanted, share)))
    assert freed[0] == freed[1]
    assert (machines[0].allocator.kind == machines[1].allocator.kind).all()
