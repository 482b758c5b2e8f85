"""Injected permission changes: how many, where, whose; and what they do to a reserve."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from accounts import metrics
from toy_machine import PGTABLE, demand_of, finished, machine_of
from toy_runs import BLOCK, TOY_PBA

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.demand.inject import injected
from replay.demand.others import Place
from replay.demand.program import OUTSIDE_CHANGE

START = machine_of(4096, cpus=4)
PLACE = (START.mapped, START.cpus, START.geometry)
DEMAND = demand_of([("alloc", page, 0, PGTABLE) for page in range(300)])
RATE = 1e5


def test_changes_come_at_the_rate_and_leave_the_recording_as_it_is():
    many = [injected(DEMAND, RATE, *PLACE, seed) for seed in range(40)]
    changes = [whole.program.op == OUTSIDE_CHANGE for whole in many]
    mean = RATE * (DEMAND.last_ns - DEMAND.first_ns + 1) / 1e9
    counts = np.array([mask.sum() for mask in changes])
    assert abs(counts.mean() - mean) < 3 * (mean / len(many)) ** 0.5
    assert 0.5 * mean < counts.var() < 2 * mean  # Poisson
    for whole, mask in zip(many, changes, strict=True):
        assert (np.diff(whole.program.ts) >= 0).all()
        assert (whole.program.task[mask] >= DEMAND.tasks).all()
        assert whole.program.task.max() < whole.tasks
        asked = [whole.changes[kind] for kind in whole.program.context[mask]]
        assert {change.place for change in asked} == {Place.DRAWN}
        assert {change.pages for change in asked} <= set(range(1, 9))  # two 4-page leaves at most
        for column, recorded in zip(whole.program, DEMAND.program, strict=True):
            assert (column[~mask] == recorded).all()


def test_the_seed_draws_and_no_rate_is_no_change():
    first, again, other = (injected(DEMAND, RATE, *PLACE, seed).program for seed in (1, 1, 2))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert len(first.op) != len(other.op) or (first.pfn != other.pfn).any()
    assert injected(DEMAND, 0, *PLACE, 0) is DEMAND


def test_more_than_fits_is_refused():
    with pytest.raises(UsageError, match="--inject 1e\\+12"):
        injected(DEMAND, 1e12, *PLACE, 0)


def test_two_ends_in_two_of_the_largest_leaves_take_all_that_pba_reserves():
    """Four tables: the next refill finds none for the leaf that its chunk lies under: it warns and deadlocks.

    reserve-block splits for others with what it has beyond its reserve, so its refills go on.
    """
    for strategy, starves in ((TOY_PBA, [False, True, True]), (BLOCK, [False, False, False])):
        alone = metrics(finished(START, DEMAND, strategy))
        assert alone["deadlocks"] == 0
        loaded = [metrics(finished(START, injected(DEMAND, RATE, *PLACE, seed), strategy)) for seed in (5, 6, 7)]
        assert [values["deadlocks"] > 0 for values in loaded] == starves
        assert [values["warns"] > 0 for values in loaded] == starves
        assert [values["ptp_nulls"] > 0 for values in loaded] == starves
        assert max(values["decisions_at_once"] for values in loaded) > 1


def test_arm64_changes_the_alias_of_a_range_page_by_page():
    """change_memory_common(): no change takes more than two tables, so what pba reserves for others is enough."""
    start = replace(START, geometry=START.geometry._replace(arm64=True, cont_pte_shift=1, cont_pmd_shift=1))
    seen = set()

    class Watching(type(TOY_PBA)):
        def outside(self, pool, change):
            seen.add((change.pages, pool.tables_needed(change)))
            return (yield from super().outside(pool, change))

    for seed in range(3):
        values = metrics(finished(start, injected(DEMAND, RATE, *PLACE, seed), Watching(**asdict(TOY_PBA))))
        assert values["deadlocks"] == values["warns"] == 0
    assert {pages for pages, _ in seen} == {1}
    assert {needed for _, needed in seen} == {0, 1, 2}


def test_runs_with_load_are_runs_of_their_own(tmp_path):
    (tmp_path / "trace.txt").write_text(
        "  sh-7 [000] ..... 4.000100: mm_page_alloc: page=1 pfn=0x100 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
        "  sh-7 [000] ..... 6.000000: mm_page_free: page=1 pfn=0x100 order=0\n"
    )
    db = str(tmp_path / "w.duckdb")
    assert run(["ingest", "trace", str(tmp_path / "trace.txt"), "--name", "c", "--quiet", "--db", db]) == 0
    for options in ([], ["--inject", "20"]):
        arguments = ["replay", "run", "--strategy", "unprotected", "--machine", "64M", "--jobs", "1", "--quiet"]
        assert run([*arguments, *options, "--db", db]) == 0
    with open_warehouse(tmp_path / "w.duckdb") as connection:
        rows = connection.execute("SELECT inject, assumptions FROM run ORDER BY ALL").fetchall()
        changes = connection.execute(
            "SELECT inject, value > 0 FROM run_metric JOIN run USING (run_id) WHERE metric = 'unkeyed_split_tables'"
        ).fetchall()
    assert [rate for rate, _ in rows] == [0, 20]
    assert [any(line.startswith("Injected: ") for line in said) for _, said in rows] == [False, True]
    assert sorted(changes) == [(0, False), (20, True)]
