"""Whole replays on a toy machine: the accounts agree with the pages, and every table in use carries the key."""

import gc
from dataclasses import replace

import numpy as np
import pytest
from accounts import assert_consistent, metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import OTHER, PGTABLE, SECRET, demand_of, finished, machine_of, toy_geometry
from toy_runs import BLOCK, SMALL, TOY_PBA, events

from ptpool.errors import UsageError
from ptpool.vocabulary import SLOW_PATH_STEPS, SPLIT_CAUSES, UNMOVABLE
from replay.contract.registry import configure, strategies
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import PageAllocator
from replay.machine import pool as pools
from replay.machine.results import result_of
from replay.runs.one_run import replay_one
from replay.strategies.full_reserve import FullReserve
from replay.strategies.pba import Pba
from replay.strategies.pte_mapped import PteMapped
from replay.strategies.unprotected import Unprotected


@pytest.mark.slow
@pytest.mark.parametrize("strategy", SMALL, ids=lambda strategy: type(strategy).__name__)
@settings(max_examples=60, deadline=None)
@given(
    events,
    st.sampled_from([maps.PMD, maps.PUD]),
    st.sampled_from([64, 256]),
    st.booleans(),
    st.integers(1, 5),
    st.booleans(),
)
def test_any_program_leaves_consistent_accounts(strategy, script, level, pages, warm, tasks, fragmented):
    fragmented = fragmented and not isinstance(strategy, FullReserve)  # it needs whole blocks at boot
    free = [page % 4 != 1 for page in range(pages)] if fragmented else None
    start = machine_of(pages, level=level, free=free, tables=(3, 9, 10) if warm else ())
    demand = demand_of(script, tasks=[nth % tasks for nth in range(len(script))])
    demand.program.cpu[:] = demand.program.task % 2
    machine = finished(start, demand, strategy)

    assert not machine.state.tally.busy.any()
    assert not machine.state.tally.pending.any()
    assert not machine.schedule.in_flight

    assert_consistent(machine)
    values = metrics(machine)
    placed = values["ptp_allocs"] + values["ptp_nulls"]
    assert values["ptp_live_start"] == (3 - machine.baseline.not_supplied if warm else 0)
    assert placed <= sum(1 for op, _, _, consumer in script if op == "alloc" and consumer == PGTABLE)


@pytest.mark.parametrize("name", sorted(strategies()))
def test_equal_runs_give_equal_tables(name):
    script = [("alloc", page, 0, PGTABLE) for page in range(40)] + [
        ("free", page, 0, OTHER) for page in range(0, 40, 2)
    ]
    factory = strategies()[name].factory
    small = next((strategy for strategy in SMALL if type(strategy) is factory), None) or factory()
    first, second = (result_of(finished(machine_of(), demand_of(script), small)).tables for _ in range(2))
    assert all(first[table].equals(second[table]) for table in first)


def test_runs_do_not_touch_the_shared_start():
    start = machine_of()
    before = [part.copy() for part in start.allocator if isinstance(part, np.ndarray)]
    finished(start, demand_of([("alloc", page, 0, PGTABLE) for page in range(30)]), BLOCK)
    after = [part for part in start.allocator if isinstance(part, np.ndarray)]
    assert all((old == new).all() for old, new in zip(before, after, strict=True))


def test_reserve_block_by_hand():
    """16-page "1G" leaves, 4-page "2M" blocks. Boot keys block 0: a PMD-table split in the first leaf, from boot memory.

    Three tables wanted: the pool has 4 and a reserve of 2, so two are served; the third refills with block 4..7, which
    is a whole PMD leaf by now (the PUD leaf is split), so no table is needed: 2 + 4 pages, served, 5 left.
    """
    machine = finished(machine_of(64), demand_of([("alloc", page, 0, PGTABLE) for page in range(3)]), BLOCK)
    values = metrics(machine)

    assert values["splits_warm_up"] == 1
    assert (values["splits_1g"], values["splits_2m"]) == (0, 0)
    assert values["refills"] == 1
    assert values["reserve_pages_min"] == 2
    assert machine.state.pool.counts[pools.CACHED] == 5
    assert values["permission_changes"] == 1
    assert values["pages_permission_changed"] == 4


def test_a_refill_that_crosses_into_a_new_1g_leaf_spends_one_reserved_page():
    """The 16 pages of the first leaf hold 4 blocks; the fifth block lies in the second leaf, still one PUD leaf."""
    wanted = 4 * 4 - 2 + 1  # all of four blocks but the reserve, and one more
    machine = finished(machine_of(64), demand_of([("alloc", page, 0, PGTABLE) for page in range(wanted)]), BLOCK)
    values = metrics(machine)

    assert values["refills"] == 4
    assert (values["splits_1g"], values["splits_2m"]) == (1, 0)
    assert values["reserve_pages_min"] == 1  # the reserve of 2 paid for the PMD table
    assert values["split_starvations"] == 0
    rows = result_of(machine).tables["split"].to_pylist()
    assert [(row["pfn"], row["leaf"], row["cause"]) for row in rows] == [(0, "64K", "warm_up"), (16, "64K", "refill")]


def test_secret_memory_splits_for_every_strategy_and_for_none_on_a_4k_map():
    script = [("alloc", 1, 0, SECRET)]
    for strategy, expected in ((Unprotected(), (1, 1)), (BLOCK, (1, 1)), (TOY_PBA, (1, 1))):
        start = machine_of(64, free=[page >= 32 for page in range(64)])
        values = metrics(finished(start, demand_of(script), strategy))
        warm = values["splits_warm_up"]
        assert (values["splits_1g"] + (warm > 0), values["splits_2m"]) == expected, strategy
    assert metrics(finished(machine_of(64), demand_of(script), PteMapped()))["splits_2m"] is None


def test_a_freed_secret_page_is_ordinary_again():
    machine = finished(machine_of(64), demand_of([("alloc", 1, 0, SECRET), ("free", 1, 0, OTHER)]), Unprotected())
    attributes = {int(maps.attribute_of(machine.state.direct_map, page)) for page in range(64)}
    assert attributes == {0, maps.NOT_GLOBAL}  # except the global bit, which the kernel does not give back


def test_pte_mapped_changes_the_key_once_per_allocation_and_once_per_free():
    script = [("alloc", page, 0, PGTABLE) for page in range(5)] + [("alloc", 8, 1, PGTABLE)]
    script += [("free", page, 0, OTHER) for page in range(3)] + [("free", 8, 1, OTHER)]
    values = metrics(finished(machine_of(256), demand_of(script), PteMapped()))

    assert values["permission_changes"] == 6 + 4
    assert values["pages_permission_changed"] == 7 + 5
    assert values["tlb_flushes"] == 10
    assert values["tlb_ipis"] == 10
    assert values["pte_share_start"] == 1
    assert values["unkeyed_page_seconds"] == 0


def test_tables_of_an_all_4k_map_take_memory():
    plain, mapped = (finished(machine_of(256), demand_of([]), s) for s in (Unprotected(), PteMapped()))
    tables = 256 // 4 + 256 // 16
    assert metrics(mapped)["table_pages_direct_map"] == tables
    assert (
        plain.state.allocator.free_pages[0] - mapped.state.allocator.free_pages[0]
        == tables - metrics(plain)["table_pages_direct_map"]
    )


def test_a_pool_without_memory_refuses_and_says_so():
    start = machine_of(64, free=[page < 4 for page in range(64)])
    machine = finished(start, demand_of([("alloc", page, 0, PGTABLE) for page in range(5)]), BLOCK)
    values = metrics(machine)

    assert values["ptp_nulls"] == 3  # four pages, two of them reserved
    assert values["unplaced_allocations"] == 3
    assert {kind for _, kind, _, _ in machine.state.incidents} == {"ptp_null", "oom_kill"}
    assert (
        values["oom_kills"] == values["oom_kills_by_refill"] == 6
    )  # four pages are not costly; each refill asks twice


def test_the_flags_of_a_failed_allocation_follow_its_order():
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)])
    machine = finished(start, demand_of([("alloc", 400, 2, OTHER)]), Unprotected())
    flags = dict(zip(SLOW_PATH_STEPS, machine.state.flags[2].tolist(), strict=True))
    assert flags == {"kswapd": 0, "compact_async": 0, "reclaim": 1, "compact_sync": 1, "oom_kill": 1, "null": 0}


def test_the_shrinker_gives_whole_blocks_back_when_memory_is_short():
    """Eight blocks taken for tables and freed again; then others want all of the memory."""
    wanted = 30
    script = [("alloc", page, 0, PGTABLE) for page in range(wanted)] + [
        ("free", page, 0, OTHER) for page in range(wanted)
    ]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(52)]
    machine = finished(machine_of(64), demand_of(script), replace(TOY_PBA, shrink_block_min=4))
    values = metrics(machine)

    assert values["shrunk_pages"] > 0
    assert values["shrunk_pages"] % 4 == 0
    assert machine.state.pool.counts[pools.CACHED] >= TOY_PBA.unshrinkable
    assert values["unplaced_allocations"] == 0
    assert_consistent(machine)


def test_what_the_warm_up_could_not_supply_is_not_counted_as_a_failure_of_the_run():
    start = machine_of(64, free=[page < 8 for page in range(64)], tables=range(20, 30))
    start.allocator.wmark[:] = 4
    machine = finished(start, demand_of([]), BLOCK)
    values = metrics(machine)

    assert machine.baseline.not_supplied > 0
    assert values["ptp_nulls"] == 0
    assert machine.state.incidents == []
    assert any("alive at the start that could not be supplied" in line for line in result_of(machine).assumptions)


@pytest.mark.parametrize("strategy", SMALL, ids=lambda strategy: type(strategy).__name__)
def test_tables_of_which_only_the_number_is_known_are_supplied(strategy):
    start = machine_of(256)
    start.page_tables_elsewhere = 7
    machine = finished(start, demand_of([("alloc", 1, 0, PGTABLE)]), strategy)

    assert metrics(machine)["ptp_live_start"] == 7
    assert metrics(machine)["ptp_live_peak"] == 8
    assert_consistent(machine)


def test_an_unknown_number_of_tables_at_the_start_is_not_zero():
    start = machine_of(64)
    start.page_tables_known = False
    assert metrics(finished(start, demand_of([]), Unprotected()))["ptp_live_start"] is None


def test_refills_count_only_what_reached_the_pool():
    wanted = 4 * 4 + 1
    script = [("alloc", page, 0, PGTABLE) for page in range(wanted)]
    start = machine_of(64, types=[UNMOVABLE] * 16)
    values = metrics(finished(start, demand_of(script), replace(BLOCK, reserve=0)))
    assert values["refills"] == 3  # the fourth block could not be keyed and went back


def test_a_costly_request_reclaims_once():
    """Half of the 30 pages could go at each priority (seeks = 0); less than a batch waits until that is all there is.

    A scan frees a block of four pages and counts for these, so the last priorities scan until four pages are left. The
    last two come out of a block that is split for them, which takes a table.
    """
    script = [("alloc", page, 0, PGTABLE) for page in range(30)] + [("free", page, 0, OTHER) for page in range(30)]
    calls = []

    class Counting(Pba):
        def shrink(self, pool):
            calls.append(pool.cached)
            return (yield from super().shrink(pool))

    start = machine_of(64, geometry=toy_geometry(max_order=5))
    demand = demand_of([*script, ("alloc", 300, 0, OTHER), ("alloc", 400, 5, OTHER)])
    machine = finished(start, demand, Counting(refill_orders=(2,), shrink_block_min=2, unshrinkable=4))
    assert machine.state.failures[5] == 1
    assert calls == [*range(34, 4, -4), 3]


def test_a_change_whose_place_is_unknown_is_made_on_an_unmovable_page():
    start = machine_of(64, tables=(40,))
    values = metrics(finished(start, demand_of([("change", 0, 0, OTHER)]), Unprotected()))
    assert (values["splits_1g"], values["splits_2m"]) == (1, 1)


def test_a_split_that_finds_too_few_tables_gives_back_those_it_took():
    start = machine_of(64, free=[page == 5 for page in range(64)], tables=(40,))
    machine = finished(start, demand_of([("change", 0, 0, OTHER)]), Unprotected())
    values = metrics(machine)

    assert (values["split_starvations"], values["splits_1g"], values["splits_2m"]) == (1, 0, 0)
    assert machine.state.allocator.free_pages.sum() == 1
    assert_consistent(machine)


def test_coverage_is_sampled_level_by_level():
    start = machine_of(64, tables=(40,))
    machine = finished(start, demand_of([("change", 0, 0, OTHER), ("alloc", 1, 0, OTHER)]), Unprotected())
    last = {row["metric"]: row["value"] for row in result_of(machine).tables["timeline"].to_pylist()}
    assert [last[name] for name in ("pte_pages", "pmd_pages", "pud_pages")] == [4, 12, 48]


@pytest.mark.parametrize("setting", [{"reserve": "-1"}, {"block_order": "14"}, {"last_order": "-2"}])
def test_parameters_that_mean_nothing_are_refused(setting):
    with pytest.raises(UsageError):
        configure(strategies()["reserve-block"], setting)


def test_the_warm_up_counts_apart():
    start = machine_of(256, tables=range(40, 60))
    machine = finished(start, demand_of([("alloc", 500, 0, PGTABLE)]), BLOCK)
    values = metrics(machine)

    assert values["ptp_live_start"] == 20
    assert values["ptp_allocs"] == 1
    assert values["splits_warm_up"] == 3  # 22 pages with the reserve: a block at boot, five in two other 1G leaves
    assert values["splits_1g"] + values["splits_2m"] == 0
    log = machine.state.direct_map.log[: machine.state.direct_map.counts[maps.SPLITS], 3]
    assert set(log.tolist()) == {SPLIT_CAUSES.index("warm_up")}


def test_integrals_are_exact():
    """Two tables for 3 and 1 steps of a microsecond out of 5: unkeyed page-seconds add up."""
    script = [("alloc", 0, 0, PGTABLE), ("change", 0, 0, OTHER), ("alloc", 1, 0, PGTABLE)]
    script += [("free", 0, 0, OTHER), ("free", 1, 0, OTHER)]
    values = metrics(finished(machine_of(64, level=maps.PTE), demand_of(script), Unprotected()))
    assert values["unkeyed_page_seconds"] == pytest.approx(3e-6 + 2e-6)


def test_without_a_reserve_the_refill_starves_itself():
    """The recursion that started the discussion: a new block needs a table, and the tables are in the block."""
    wanted = 4 * 4 + 1  # the four blocks of the first leaf, and one more
    script = [("alloc", page, 0, PGTABLE) for page in range(wanted)]
    machine = finished(machine_of(64, types=[UNMOVABLE] * 16), demand_of(script), replace(BLOCK, reserve=0))
    values = metrics(machine)

    assert values["split_starvations"] == 1
    assert values["ptp_nulls"] == 1
    assert_consistent(machine)


def test_the_pool_is_refilled_before_others_split_with_its_tables():
    """Two tables are cached, both reserved; secret memory needs one more, so a block is taken first."""
    script = [("alloc", page, 0, PGTABLE) for page in range(2)] + [("alloc", 9, 0, SECRET)]
    start = machine_of(64, free=[page < 12 or page >= 48 for page in range(64)])
    start.allocator.block_type[:] = 0
    machine = finished(start, demand_of(script), BLOCK)
    values = metrics(machine)

    assert values["refills"] == 1
    assert values["split_starvations"] == 0
    assert machine.state.pool.counts[pools.CACHED] >= BLOCK.reserve


def test_the_shrinker_stops_where_a_whole_block_would_leave_too_few():
    script = [("alloc", page, 0, PGTABLE) for page in range(2)] + [("free", page, 0, OTHER) for page in range(2)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(63)]
    machine = finished(machine_of(64), demand_of(script), replace(TOY_PBA, reserve=2, unshrinkable=1))
    values = metrics(machine)

    assert machine.state.pool.counts[pools.CACHED] == 4
    assert values["shrunk_pages"] == 0


def test_a_run_that_has_ended_keeps_no_memory_until_a_collector_comes():
    """A machine of 1 TiB takes 8 GiB for each run: two at a time would not fit."""
    start, demand = machine_of(64), demand_of([("alloc", 3, 0, PGTABLE), ("free", 3, 0, PGTABLE)])
    gc.collect()
    before = sum(isinstance(each, PageAllocator) for each in gc.get_objects())
    gc.disable()
    try:
        replay_one(start, demand, TOY_PBA)
        assert sum(isinstance(each, PageAllocator) for each in gc.get_objects()) == before
    finally:
        gc.enable()
