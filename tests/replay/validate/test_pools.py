"""Strategies against kernels that ran them: what a run is, what may be off, and every run that is checked in."""

import csv
import json
from pathlib import Path

import pytest

from ptpool.cli import run
from ptpool.errors import UsageError
from replay.contract.registry import strategies
from replay.validate.pool_run import read_run, repeated
from replay.validate.pools import BLIND, EXACT, ORDINARY, _allowed, _compared, compare_runs

POOLS = Path(__file__).parents[3] / "data" / "pools"
RUNS = sorted(path for path in POOLS.iterdir() if path.is_dir())

STATS = """strategy {strategy}
parameters kernel_tables=1
cached_min 3
held_max {held}
aside_left 0
nulls 1
nulls_atomic 1
refill_order_4 tried {tried} got {got}
refill_order_9 tried {tried} got 0
outside_tables 2
starved_own 0
starved_outside 1
shrunk_pages 18
"""
VMSTAT = "direct_map_level2_splits {splits}\ndirect_map_level3_splits 1\noom_kill 0\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "worn-pba"
    for moment, tried, got, held, splits in (("active", 2, 1, 512, 10), ("after", 12, 9, 700, 25)):
        (folder / moment).mkdir(parents=True)
        stats = STATS.format(strategy="pba", tried=tried, got=got, held=held)
        (folder / moment / "pool_stats").write_text(stats)
        (folder / moment / "vmstat").write_text(VMSTAT.format(splits=splits))
    return folder


def test_what_a_run_counted_is_what_came_after_the_pool_was_switched_on(folder):
    found = read_run(folder)
    assert (found.strategy, found.cell, found.has_trace) == ("pba", "worn", False)
    assert found.parameters == {"kernel_tables": "false", "seeks": "2"}
    assert {quantity: value for quantity, value in found.counted.items() if value} == {
        ("refills_tried", 4): 10,
        ("refills_got", 4): 8,
        ("refills_tried", 9): 10,
        ("splits_2m", None): 15,
        ("pool_pages_peak", None): 700,  # extremes are of the whole time
        ("reserve_pages_min", None): 3,
    }


def test_run_json_says_with_which_parameters_and_what_it_can_be_compared_with(folder):
    about = {
        "strategy": "pba",
        "parameters": {"kernel_tables": 1, "refill_orders": [9, 4]},
        "workload": "few",
        "cpus": 2,
    }
    (folder / "run.json").write_text(json.dumps(about))
    found = read_run(folder)
    assert found.parameters == {"kernel_tables": "1", "refill_orders": "9+4", "seeks": "2"}
    assert found.cell == "few-2"


def test_strategies_that_the_module_calls_otherwise(folder):
    stats = folder / "after" / "pool_stats"
    stats.write_text(stats.read_text().replace("strategy pba", "strategy reserve-block-mutex"))
    assert read_run(folder).strategy == "reserve-block"
    assert read_run(folder).parameters["mutex"] == "true"


def test_past_the_recursion_only_that_it_deadlocks_is_compared(folder):
    stats = folder / "after" / "pool_stats"
    stats.write_text(stats.read_text().replace("strategy pba", "strategy ctor-naive") + "recursions 1805\n")
    rows = _compared(EXACT, [read_run(folder)], [{("deadlocks", None): 1.0}])
    assert not {"splits_2m", "splits_by_others", "refills_got"} & {row.quantity for row in rows}
    (row,) = [row for row in rows if row.quantity == "deadlocks"]
    assert (row.recorded, row.model_error, row.allowed_error) == (1, 0, 0)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("active/pool_stats", None, "not a run of a pool"),
        ("after/vmstat", None, "not a run of a pool"),
        ("after/pool_stats", "held_max 3\n", "no line that names the strategy"),
        ("run.json", "{", "run.json: not JSON"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(folder, file, text, message):
    path = folder / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_run(folder)


@pytest.mark.parametrize(
    ("start", "quantity", "kernel", "allowed"),
    [
        (EXACT, "refills_got", 326, 6.52),
        (EXACT, "refills_tried", 4, 1),
        (EXACT, "splits_2m", 380, 38),
        (EXACT, "splits_by_others", 9, 3),
        (EXACT, "pool_pages_peak", 5710, 16),  # a refill of order 4
        (EXACT, "reserve_pages_min", 3, 0),
        (EXACT, "oom_kills", 1, 0),
        (BLIND, "refills_got", 326, 9.78),
        (BLIND, "splits_2m", 380, 76),
        (BLIND, "reserve_pages_min", 3, None),
        (ORDINARY, "refills_got", 326, None),
        (ORDINARY, "pool_pages_peak", 5710, None),
    ],
)
def test_how_far_off_a_prediction_may_be(folder, start, quantity, kernel, allowed):
    found = _allowed(start, read_run(folder), quantity, kernel)
    assert found == (None if allowed is None else pytest.approx(allowed))


def test_repetitions_of_a_run_are_read_from_the_table_beside_it(folder):
    rows = ["again-2,worn-pba,refills_got_order_4,11", "again-2,worn-pba,splits_2m,9", "again-2,worn-pba,starved_own,1"]
    rows += [
        "again-2,worn-pba,starved_outside,2",
        "again-2,worn-pba,flushes,7",
        "again-3,worn-pba,splits_2m,8",
        "x,y,splits_2m,1",
    ]
    (folder.parent / "spread.csv").write_text("\n".join(["run,repeats,quantity,value", *rows]))
    whole = read_run(folder)
    found = repeated([whole])
    assert [(run.name, run.cell, run.strategy, run.has_trace) for run in found] == [
        ("again-2", "worn", "pba", False),
        ("again-3", "worn", "pba", False),
    ]
    assert found[0].counted == {("refills_got", 4): 11, ("splits_2m", None): 9, ("split_starvations", None): 3}
    (row,) = [row for row in _compared(BLIND, [whole, *found], [{}]) if row.quantity == "splits_2m"]
    assert (row.recorded, row.recorded_low, row.recorded_high, row.model_error) == (15, 8, 15, 8)


def test_no_seeds_are_for_pools_only(capsys):
    assert run(["replay", "validate", "--seeds", "0"]) == 2
    assert "--seeds 0 without --pools" in capsys.readouterr().err


def test_at_once_with_sequences_is_refused(folder, capsys):
    assert run(["replay", "validate", "--pools", str(folder), "--sequence", "x.jsonl"]) == 2
    assert "--sequence and --pools at once" in capsys.readouterr().err


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_is_of_a_strategy_that_the_replay_has(path):
    found = read_run(path)
    fields = strategies()[found.strategy].factory.__dataclass_fields__
    assert set(json.loads((path / "run.json").read_text())["parameters"]) <= set(fields) | {"kernel_tables"}
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 3 << 20


@pytest.mark.slow
def test_a_run_without_a_pool_predicts_the_others_of_its_cell(tmp_path, capsys):
    folders = [str(POOLS / name) for name in ("frag4-unprotected", "frag4-reserve-block")]
    status = run(
        ["replay", "validate", "--pools", *folders, "--seeds", "1", "--quiet", "--json", "--db", str(tmp_path / "none")]
    )
    rows = json.loads(capsys.readouterr().out)
    starts = {(row["run"], row["start"]) for row in rows}
    both = {(path.rpartition("/")[2], start) for path in folders for start in (EXACT, ORDINARY)}
    assert starts == both | {("frag4-reserve-block", BLIND)}
    assert status == (1 if any(row["holds"] is False for row in rows) else 0) == 1


@pytest.mark.slow
def test_the_runs_that_are_checked_in_are_off_where_misses_csv_says_and_nowhere_else():
    """Predictions from exact free lists only: drawn ones are for docs/validation.md."""
    rows = [row for found in compare_runs([read_run(path) for path in RUNS], 0) for row in found]
    assert {row.start for row in rows} == {EXACT}
    exact = {
        (row.run, row.quantity, row.page_order): row.allowed_error is None or row.model_error <= row.allowed_error
        for row in rows
    }
    with (POOLS / "misses.csv").open() as lines:
        known = {
            (row["run"], row["quantity"], int(row["order"]) if row["order"] else None) for row in csv.DictReader(lines)
        }
    assert {key for key, holds in exact.items() if holds is False} == known
    shown = {run for run, *_ in exact}
    for path in RUNS:  # of the others there is nothing to compare
        counted = read_run(path).counted
        assert path.name in shown or not any(
            value for (name, _), value in counted.items() if name != "split_starvations"
        )
