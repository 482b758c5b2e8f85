"""Real recordings, from import to metrics: the state at the start, and pool numbers worked out again by simple counting."""

import json
from typing import get_args, get_type_hints

import numpy as np
import pytest
from captures import folder_of

from ptpool.cli import run
from ptpool.warehouse import capture_row, open_warehouse
from replay.contract.registry import strategies
from replay.demand.copies import scaled
from replay.demand.demand import load_demand
from replay.demand.inject import injected
from replay.kernel.geometry import X86_64
from replay.machine.state import State
from replay.start.recorded_machine import recorded_machine

pytestmark = pytest.mark.slow

SNAPSHOT = ["sharedmem-frag-1g", "sharedmem-8g", "server-16g"]
BLOCK = 512


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "ptpool.duckdb"
    for name in [*SNAPSHOT, "boot-512m"]:
        assert run(["ingest", "trace", str(folder_of(name)), "--quiet", "--db", str(path)]) == 0
    assert run(["replay", "run", "--quiet", "--db", str(path)]) == 0
    return path


def rows(path, query, *parameters):
    with open_warehouse(path) as connection:
        return connection.execute(query, list(parameters)).fetchall()


@pytest.mark.parametrize("name", SNAPSHOT)
def test_free_blocks_at_the_start_are_those_of_buddyinfo(warehouse, name):
    """The allocator rebuilt from kpageflags has exactly the free blocks that /proc/buddyinfo counted."""
    with open_warehouse(warehouse) as connection:
        capture = capture_row(connection, name)
        machine = recorded_machine(connection, capture, load_demand(connection, capture))
    predicted = {
        (zone, order): int(machine.allocator.nr_free[place, order])
        for place, zone in enumerate(("DMA", "DMA32", "Normal")[: len(machine.allocator.zones)])
        for order in range(X86_64.max_order + 1)
    }
    recorded = rows(
        warehouse,
        """SELECT zone, page_order, blocks FROM free_blocks JOIN capture USING (capture_id)
           WHERE name = ? AND moment = 'before' AND migratetype IS NULL""",
        name,
    )
    assert predicted == {(zone, order): blocks for zone, order, blocks in recorded}


@pytest.mark.parametrize("name", SNAPSHOT)
def test_the_direct_map_at_the_start_has_the_counted_4k_pages(warehouse, name):
    """DirectMap4k is exact (only the 2M and 1G counters exceed memory on these guests)."""
    ((kilobytes,),) = rows(
        warehouse,
        """SELECT value FROM snapshot_value JOIN capture USING (capture_id)
           WHERE capture.name = ? AND moment = 'before' AND snapshot_value.name = 'DirectMap4k'""",
        name,
    )
    ((pages,),) = rows(
        warehouse,
        """SELECT sum(last_pfn - first_pfn + 1) FROM direct_map JOIN strategy_summary USING (run_id)
           WHERE capture = ? AND strategy = 'unprotected' AND moment = 'start' AND leaf = '4K'""",
        name,
    )
    assert int(pages) == kilobytes // 4


def counted(path, name, reserve):
    """Peak of live table pages and refills, by one pass over the recorded events with a dict and two counters.

    A pool that always gets whole 2M blocks: it starts with one, serves while more than the reserve is left, and never
    gives anything back. Splits for others (server-16g) take tables from it too; they are not counted here.
    """
    start = {
        pfn
        for first, last, flags in rows(
            path,
            """SELECT first_pfn, last_pfn, flags FROM page_flags JOIN capture USING (capture_id)
               WHERE name = ? AND moment = 'before'""",
            name,
        )
        if flags >> 26 & 1
        for pfn in range(first, last + 1)
    }
    events = rows(
        path,
        """SELECT kind, pfn, page_order, consumer IN ('pgtable_user', 'pgtable_kernel')
           FROM page_event JOIN capture USING (capture_id) WHERE name = ? AND kind IN ('alloc', 'free') ORDER BY seq""",
        name,
    )
    live = set(start)
    cached, refills = BLOCK, 0
    for _ in live:
        cached, refills = (cached, refills) if cached > reserve else (cached + BLOCK, refills + 1)
        cached -= 1
    refills, peak = 0, len(live)
    for kind, pfn, order, table in events:
        pages = range(pfn, pfn + (1 << order))
        gone = live.intersection(pages)
        live -= gone
        cached += len(gone)
        if kind == "alloc" and table:
            pages = pages[:1]  # a PGD is one page: nobody has page-table isolation in use
            while cached - len(pages) < reserve:
                cached += BLOCK
                refills += 1
            cached -= len(pages)
            live.update(pages)
            peak = max(peak, len(live))
    return peak, refills


@pytest.mark.parametrize("name", ["sharedmem-frag-1g", "sharedmem-8g"])
@pytest.mark.parametrize(("strategy", "reserve"), [("reserve-block", 2), ("pba", 4)])
def test_peak_and_refills_by_counting(warehouse, name, strategy, reserve):
    ((peak, refills, failed),) = rows(
        warehouse,
        "SELECT ptp_live_peak, refills, block_failures FROM strategy_summary WHERE capture = ? AND strategy = ?",
        name,
        strategy,
    )
    assert failed == 0  # every refill got a whole block, as the counting assumes
    assert (peak, refills) == counted(warehouse, name, reserve)


def test_secret_memory_splits_about_as_often_as_the_machine_counted(warehouse):
    """28 leaves of 2M and one of 1G were split while server-16g was recorded, at places that the model does not know."""
    ((splits,),) = rows(
        warehouse,
        "SELECT splits_1g + splits_2m FROM strategy_summary WHERE capture = 'server-16g' AND strategy = 'unprotected'",
    )
    assert 20 <= splits <= 35


def test_recorded_split_tables_are_not_counted_twice(warehouse):
    ((recorded,),) = rows(
        warehouse,
        """SELECT count(*) FROM page_event JOIN capture USING (capture_id)
           WHERE name = 'server-16g' AND consumer = 'direct_map_split' AND kind = 'alloc'""",
    )
    assert recorded == 29
    tables, allocations = rows(
        warehouse,
        """SELECT count(*) FILTER (consumer IN ('pgtable_user', 'pgtable_kernel')), count(*) FROM page_event
           JOIN capture USING (capture_id) WHERE name = 'server-16g' AND kind = 'alloc'""",
    )[0]
    attempts, splits, allocs = rows(
        warehouse,
        """SELECT (SELECT sum(attempts) FROM run_order WHERE run_order.run_id = s.run_id), splits_1g + splits_2m, ptp_allocs
           FROM strategy_summary s WHERE capture = 'server-16g' AND strategy = 'unprotected'""",
    )[0]
    ((unseen,),) = rows(
        warehouse,
        """SELECT list_filter(assumptions, lambda a: a LIKE 'Added: % without an event%')[1] FROM run
           JOIN strategy_summary USING (run_id) WHERE capture = 'server-16g' AND run.strategy = 'unprotected'""",
    )
    added = int(unseen.split()[1].replace(",", ""))
    assert allocs == tables
    assert attempts == allocations - recorded + splits + added


def test_a_boot_without_a_before_snapshot_says_what_it_assumed(warehouse):
    ((assumptions, unplaced),) = rows(
        warehouse,
        """SELECT assumptions, unplaced_allocations FROM provenance JOIN strategy_summary USING (run_id)
           WHERE provenance.capture = 'boot-512m' AND provenance.strategy = 'unprotected'""",
    )
    assert any("No snapshot from before" in line for line in assumptions)
    assert unplaced == 0


def result_rows(path):
    tables = ("run", "run_metric", "run_order", "timeline", "split", "direct_map", "incident")
    return {table: sorted(rows(path, f"SELECT CAST(t AS VARCHAR) FROM {table} t")) for table in tables}


def test_equal_runs_in_two_warehouses_give_equal_rows(warehouse, tmp_path):
    other = tmp_path / "other.duckdb"
    for name in ["boot-512m", *reversed(SNAPSHOT)]:
        assert run(["ingest", "trace", str(folder_of(name)), "--quiet", "--db", str(other)]) == 0
    assert run(["replay", "run", "--quiet", "--jobs", "1", "--db", str(other)]) == 0
    assert result_rows(other) == result_rows(warehouse)


def test_the_price_from_stored_counts_is_that_of_the_replay(warehouse):
    """View conversion_cost prices again what a run has priced itself; its ends enclose it."""
    priced = rows(
        warehouse,
        """SELECT strategy, value, conversion_ns, conversion_ns_low, conversion_ns_high
           FROM conversion_cost JOIN run USING (run_id, costs) JOIN run_metric USING (run_id)
           WHERE metric = 'conversion_ns' ORDER BY ALL""",
    )
    assert len(priced) == len(rows(warehouse, "FROM run"))
    for strategy, of_the_replay, typical, low, high in priced:
        assert typical == of_the_replay, strategy
        assert strategy in ("oracle", "pte-cache") or low <= typical <= high
        assert (typical is None) == (strategy in ("oracle", "pte-cache")), strategy


def test_runs_that_are_there_are_kept_and_others_are_added(warehouse, tmp_path, capsys):
    before = result_rows(warehouse)
    arguments = ["replay", "run", "--quiet", "--json", "--capture", "boot-512m", "--db", str(warehouse)]
    assert run([*arguments, "--strategy", "pba"]) == 0
    (kept,) = json.loads(capsys.readouterr().out)
    assert kept["new"] is False
    assert result_rows(warehouse) == before

    (slow := tmp_path / "slow.toml").write_text("[x86_64]\nhit_ns = 5000\n")
    assert (
        run(
            [
                *arguments,
                "--strategy",
                "pba",
                "--set",
                "pba.reserve=8",
                "--set",
                "pba.refill_orders=2",
                "--costs",
                str(slow),
            ]
        )
        == 0
    )
    (added,) = json.loads(capsys.readouterr().out)
    assert added["new"] is True
    ((params, is_default, costs),) = rows(
        warehouse, "SELECT params, is_default, costs FROM run WHERE run_id = ?", added["run_id"]
    )
    usual = "SELECT arg_max(bucket_ns, count) FROM latency WHERE run_id = ? AND operation = 'ptp_alloc'"
    assert costs.startswith("slow@")
    assert [rows(warehouse, usual, run_id) for run_id in (kept["run_id"], added["run_id"])] == [[(45,)], [(4870,)]]
    assert json.loads(params)["refill_orders"] == [2]
    assert is_default is False
    with open_warehouse(warehouse, write=True) as connection:
        from ptpool.warehouse import delete_runs

        delete_runs(connection, [added["run_id"]])
    assert result_rows(warehouse) == before


def test_a_strategy_that_fails_leaves_the_others_alone(warehouse, tmp_path, capsys, monkeypatch):
    def broken(self, pool):
        raise ZeroDivisionError("a mistake in the strategy")

    monkeypatch.setattr("replay.strategies.pba.Pba.boot", broken)
    path = tmp_path / "new.duckdb"
    assert run(["ingest", "trace", str(folder_of("boot-512m")), "--quiet", "--db", str(path)]) == 0
    capsys.readouterr()

    assert run(["replay", "run", "--jobs", "1", "--quiet", "--db", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "ptpool: boot-512m, pba: ZeroDivisionError: a mistake in the strategy (before the first event; test_recordings.py"
    )
    assert len(error.splitlines()) == 1
    there = {name for (name,) in rows(path, "SELECT strategy FROM run")}
    assert there == set(strategies()) - {"pba"}


def test_what_compiled_code_is_given_has_the_declared_types(warehouse):
    """Compiled functions look at classes only (ptpool.compiled): every array has to be what its field says, in C order."""
    with open_warehouse(warehouse) as connection:
        capture = capture_row(connection, "sharedmem-frag-1g")
        once = load_demand(connection, capture)
        start = recorded_machine(connection, capture, once)
    machine = State(start, once, strategies()["buddy-reserve"].factory(), "moderate")
    more = injected(scaled(once, 2, 0, len(start.mapped)), 10, start.mapped, start.cpus, start.geometry, 0)
    state = machine.allocator, machine.direct_map, machine.pool, machine.tally
    for given in (once.program, more.program, *state):
        declared = get_type_hints(type(given))
        for name, array in given._asdict().items():
            if isinstance(array, np.ndarray):
                dtype = get_args(get_args(declared[name])[1])[0]
                assert array.dtype == np.dtype(dtype), (type(given).__name__, name)
                assert array.flags.c_contiguous and array.flags.writeable, (type(given).__name__, name)
