"""Permission changes by others: where recorded ones lie in a replay, whose tables they take, what is still guessed."""

from dataclasses import replace

import numpy as np
import pytest
from accounts import assert_consistent, metrics
from toy_machine import OTHER, PGTABLE, demand_of, finished, machine_of
from toy_runs import BLOCK, SMALL

from ptpool.cli import run
from ptpool.warehouse import capture_row, open_warehouse
from replay.demand.demand import load_demand
from replay.demand.others import GUESS, Asked, Place, attributes
from replay.demand.program import OUTSIDE_CHANGE
from replay.kernel import direct_map as maps
from replay.machine.results import result_of
from replay.strategies.ctor_naive import CtorNaive
from replay.strategies.pte_mapped import PteMapped
from replay.strategies.unprotected import Unprotected

PAGES = 256
SHORT = Asked(Place.RECORDED, 3, maps.READ_ONLY, 0)


def demand_with(events, asked):
    """A toy demand whose changes by others all ask for this."""
    demand = demand_of(events)
    demand.program.context[demand.program.op == OUTSIDE_CHANGE] = 1
    return replace(demand, changes=(GUESS, asked))


def read_only(machine):
    """Pages that are, by number."""
    level = np.repeat(machine.state.direct_map.level, 4)
    assert (level[machine.state.direct_map.attr_pte != 0] == maps.PTE).all()
    return np.flatnonzero((machine.state.direct_map.attr_pte & maps.READ_ONLY) != 0).tolist()


@pytest.mark.parametrize(
    ("set_bits", "clear_bits", "expected"),
    [
        (0, 0x42, (maps.READ_ONLY | maps.CLEAN, 0)),  # set_memory_ro()
        (0x2, 0, (0, maps.READ_ONLY)),  # set_memory_rw()
        (0, 1 << 63, (maps.EXECUTABLE, 0)),  # set_memory_x()
        (1 << 63, 0, (0, maps.EXECUTABLE)),
        (0x103, 0, (0, maps.NOT_PRESENT | maps.READ_ONLY | maps.NOT_GLOBAL)),  # set_direct_map_default_noflush()
        (0x10, 0x98, (maps.UNCACHED, 0)),  # set_memory_uc()
        (0, 0x98, (0, maps.UNCACHED)),  # set_memory_wb()
        (1 << 5, 0, (0, 0)),  # accessed: no attribute
    ],
)
def test_bits_of_an_entry_are_attributes(set_bits, clear_bits, expected):
    assert attributes(set_bits, clear_bits) == expected


def test_a_recorded_change_lies_where_its_pages_are_now():
    """Recorded pages 100 to 102 are one page and a pair here; 103 is not asked for."""
    events = [("alloc", 100, 0, OTHER), ("alloc", 90, 0, OTHER), ("alloc", 101, 0, OTHER), ("alloc", 102, 0, OTHER)]
    events += [("alloc", 103, 0, OTHER), ("change", 100, 0, OTHER)]
    machine = finished(machine_of(PAGES), demand_with(events, SHORT), Unprotected())
    assert read_only(machine) == sorted(machine.state.tally.page_of[[100, 101, 102]].tolist())
    assert machine.state.tally.page_of[90] not in read_only(machine)


def test_pages_without_a_name_lie_at_their_recorded_place():
    machine = finished(machine_of(PAGES), demand_with([("change", 33, 0, OTHER)], SHORT), Unprotected())
    assert read_only(machine) == [33, 34, 35]


def test_page_tables_are_left_alone_and_what_is_nowhere_is_counted():
    tables = [("alloc", 100, 0, PGTABLE), ("alloc", 101, 0, PGTABLE), ("alloc", 102, 0, PGTABLE)]
    beyond = [("change", 4000, 0, OTHER)]
    machine = finished(machine_of(PAGES), demand_with([*tables, ("change", 100, 0, OTHER), *beyond], SHORT), BLOCK)
    assert read_only(machine) == []
    assert machine.state.changes_left_out == 2


def test_a_drawn_range_is_its_longest_piece_without_page_tables():
    """Tables on pages 0 to 2, of which 1 is freed again: of the range 0 to 7 there are the pieces 1 and 3 to 7."""
    events = [("alloc", page, 0, PGTABLE) for page in (100, 101, 102)] + [("free", 101, 0, OTHER)]
    asked = Asked(Place.DRAWN, 8, maps.READ_ONLY, 0)
    machine = finished(machine_of(PAGES), demand_with([*events, ("change", 0, 0, OTHER)], asked), Unprotected())
    assert machine.state.tally.page_of[[100, 102]].tolist() == [0, 2]
    assert read_only(machine) == [3]
    assert [int(maps.attribute_of(machine.state.direct_map, page)) for page in range(8)] == [0] * 3 + [
        maps.READ_ONLY
    ] * 5


@pytest.mark.parametrize("strategy", SMALL, ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize(("first", "pages", "tables"), [(132, 4, 1), (128, 2, 2), (137, 5, 3), (142, 4, 4)])
def test_a_two_ended_range_takes_one_to_four_tables_of_every_strategy(strategy, first, pages, tables):
    """Sixteen-page leaves over four-page leaves: one aligned piece, one end, both ends, and both ends in two leaves."""
    asked = Asked(Place.DRAWN, pages, maps.READ_ONLY, 0)
    start = machine_of(PAGES)
    machine = finished(start, demand_with([("change", first, 0, OTHER)], asked), strategy)
    values = metrics(machine)
    assert_consistent(machine)
    if isinstance(strategy, PteMapped):
        assert values["splits_2m"] is None
        return
    if isinstance(strategy, CtorNaive):  # its tables are constructed under the lock that is held
        assert values["deadlocks"] == 1
        return
    splits = result_of(machine).tables["split"].to_pylist()
    assert sum(128 <= split["pfn"] < 160 for split in splits) == tables  # others: of what a refill took for it
    assert values["split_starvations"] == 0
    by_buddy = int(machine.state.tally.attempts[0]) - int(machine.state.refill_attempts[0, 0])
    assert values["unkeyed_split_tables"] == by_buddy
    assert by_buddy in (0, tables)


WARM = """\
  load-140 [001] ..... 4.000100: mm_page_alloc: page=1 pfn=0x5867 order=0 migratetype=0 gfp_flags=GFP_KERNEL
  load-140 [001] ..... 4.000300: mm_page_alloc: page=1 pfn=0x100 order=0 migratetype=0 gfp_flags=GFP_KERNEL
  load-140 [001] ..... 4.000301: <stack trace>
 => __alloc_pages_noprof
 => split_large_page
 => __change_page_attr
 => set_memory_ro
   bpf-150 [000] ..... 5.000300: mm_page_alloc: page=1 pfn=0x101 order=0 migratetype=0 gfp_flags=GFP_KERNEL
   bpf-150 [000] ..... 5.000301: <stack trace>
 => __alloc_pages_noprof
 => split_large_page
 => __change_page_attr
 => set_memory_ro
  load-140 [001] ..... 6.000000: mm_page_free: page=1 pfn=0x5867 order=0
"""
PROBED = """\
  load-140 [001] ..... 4.000200: permission_change: (x+0x0/0xf70) address=0xffff888005867000 set=0x0 clear=0x42 pages=1 flags=0x0
  load-140 [001] ..... 4.000201: <stack trace>
 => __change_page_attr_set_clr
 => set_memory_ro
secret-160 [001] ..... 4.500000: permission_change: (x+0x0/0xf70) address=0xffff888005868000 set=0x0 clear=0x1 pages=1 flags=0x0
secret-160 [001] ..... 4.500001: <stack trace>
 => __change_page_attr_set_clr
 => set_direct_map_invalid_noflush
 => secretmem_fault
"""


def test_what_was_recorded_is_replayed_and_only_the_rest_is_guessed(tmp_path):
    """Task 140 split with a record, task 150 without; secret memory's change is made again from its allocation."""
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "zoneinfo").write_text(
        "Node 0, zone DMA32\n  pages free 1\n        spanned 32768\n  start_pfn: 0\n"
    )
    (tmp_path / "trace.txt").write_text(WARM)
    (tmp_path / "permission_changes").write_text(PROBED)
    db = tmp_path / "w.duckdb"
    assert run(["ingest", "trace", str(tmp_path), "--name", "c", "--quiet", "--db", str(db)]) == 0
    with open_warehouse(db) as connection:
        demand = load_demand(connection, capture_row(connection, "c"))
    program = demand.program
    assert program.op.tolist() == [0, OUTSIDE_CHANGE, OUTSIDE_CHANGE, 1]
    assert (program.ts[1], program.pfn[1], program.cpu[1]) == (4_000_200_000, 0x5867, 1)
    assert program.task[1] == program.task[0] == program.task[3]
    asked = [demand.changes[kind] for kind in program.context[1:3]]
    assert asked == [Asked(Place.RECORDED, 1, maps.READ_ONLY | maps.CLEAN, 0), GUESS]
    assert sum("1 recorded ones" in what.format(n) for what, n in demand.changed.items()) == 1
