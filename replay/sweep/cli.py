"""The command ``replay sweep``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Common, grouped, note, say_rows

if TYPE_CHECKING:
    from replay.runs.run import Run
    from replay.runs.workers import Failure
    from replay.sweep.expect import Expected
    from replay.sweep.shards import Shards

_SHOWN = 10  # failures reported one by one


@grouped(common=Common)
def sweep(
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", help="A file SPEC.toml, the name of a sweep that comes with ptpool, or list."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many runs there are and what time and memory they take.")
    ] = False,
    executor: Annotated[
        str,
        typer.Option(metavar="local|dask:ADDRESS", help="Where runs are made: on this machine, or on a Dask cluster."),
    ] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes on this machine (default: one per CPU).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the Parquet shards here (default: next to the warehouse, until the sweep is complete).",
        ),
    ] = None,
    *,
    common: Common,
) -> None:
    """Replay a grid of captures, strategies, parameters, machines, copies and seeds, and keep only the metrics.

    Every run becomes a Parquet shard as soon as it has finished. After an interruption, run the same command again to
    make what is missing. At the end all shards go into the warehouse; table sweep lists the runs of each sweep.

    Exit status 1: some runs failed; the others are kept. Strategies that do not fit a machine are counted as refused.

    Example: ptpool replay sweep list

    Example: ptpool replay sweep reserve-size --dry-run
    """
    import os
    import shutil

    from ptpool.warehouse import open_warehouse
    from replay.contract.registry import incomplete
    from replay.sweep.expect import expected
    from replay.sweep.run import default_folder
    from replay.sweep.shards import open_shards
    from replay.sweep.spec import read_spec, shipped_specs, strategies_of, wanted_runs

    if spec == "list":
        say_rows(["sweep", "question"], [(item.name, item.title) for item in shipped_specs()], as_json=common.as_json)
        return
    asked = read_spec(spec)
    at_a_time = jobs or os.cpu_count() or 1
    with open_warehouse(common.db) as connection:
        wanted = wanted_runs(connection, asked)
        there = {run_id for (run_id,) in connection.execute("SELECT run_id FROM run").fetchall()}
        missing = [run for run in wanted if run.run_id not in there]
        costs = expected(connection, missing, at_a_time)
    if dry_run:
        _say_expected(asked.name, wanted, missing, costs, as_json=common.as_json)
        return
    folder = out or default_folder(common.db, asked.name)
    with _finished_runs_kept(folder), open_shards(folder, asked.name, wanted) as shards:
        damaged = _remove_damaged(shards, missing)
        finished = shards.finished(missing).whole
        left = [run for run in missing if run.run_id not in finished]
        note(f"sweep {asked.name}: {len(wanted):,} runs, {len(left):,} of them to make", quiet=common.quiet)
        failed = _make(common.db, left, shards, executor, at_a_time, quiet=common.quiet) if left else []
        total = _merge(common.db, asked.name, wanted, there, shards)
        broken = sum(not failure.refused for _, failure in failed)
        if not broken and out is None:
            shutil.rmtree(folder)
    row = (asked.name, total, len(left) - len(failed), damaged, broken, len(failed) - broken)
    say_rows(["sweep", "runs", "made", "damaged", "failed", "refused"], [row], as_json=common.as_json)
    _report_failures(failed)
    if broken or incomplete(strategies_of(asked)):
        raise typer.Exit(1)


def _say_expected(sweep: str, wanted: list["Run"], missing: list["Run"], costs: "Expected", *, as_json: bool) -> None:
    columns = ["sweep", "runs", "to_make", "captures", "memory_mib", "seconds"]
    captures = len({run.capture["capture_id"] for run in wanted})
    row = (sweep, len(wanted), len(missing), captures, round(costs.memory / 2**20), round(costs.seconds))
    say_rows(columns, [row], as_json=as_json)


def _remove_damaged(shards: "Shards", missing: list["Run"]) -> int:
    """Report shards that are truncated or otherwise not what was written, and remove them; returns how many."""
    damaged = shards.finished(missing).damaged
    for path in damaged:
        note(f"ptpool: {path}: damaged; its run is repeated")
        path.unlink()
    return len(damaged)


def _make(
    db: Path, left: list["Run"], shards: "Shards", executor: str, at_a_time: int, *, quiet: bool
) -> list[tuple["Run", "Failure"]]:
    """Make the runs that are left; returns those that failed, each with its reason."""
    from ptpool.progress import progress
    from ptpool.warehouse import open_warehouse
    from replay.runs.cluster import workers_of
    from replay.sweep.run import make_shards

    with (
        open_warehouse(db) as connection,
        workers_of(executor, at_a_time) as workers,
        progress(f"sweep {shards.sweep}", len(left), quiet=quiet, unit="runs") as meter,
    ):
        return make_shards(connection, left, shards, workers, lambda n: meter(n, f"{n:,} of {len(left):,} runs"))


def _merge(db: Path, sweep: str, wanted: list["Run"], there: set[str], shards: "Shards") -> int:
    """Put the finished runs into the warehouse; returns how many runs the sweep has now."""
    from ptpool.warehouse import open_warehouse
    from replay.runs.store import write_costs, write_strategies
    from replay.sweep.shards import merge

    finished = shards.finished(run for run in wanted if run.run_id not in there).whole
    run_ids = [run.run_id for run in wanted if run.run_id in there or run.run_id in finished]
    with open_warehouse(db, write=True, folders=[shards.folder]) as connection:
        write_strategies(connection)
        write_costs(connection, wanted)
        merge(connection, sweep, run_ids, list(finished.values()))
    return len(run_ids)


def _report_failures(failed: list[tuple["Run", "Failure"]]) -> None:
    for run, failure in failed[:_SHOWN]:
        note(f"ptpool: {run.capture['name']}, {run.entry.name} ({run.run_id}): {failure.reason}")
    if len(failed) > _SHOWN:
        note(f"ptpool: and {len(failed) - _SHOWN:,} more")


@contextmanager
def _finished_runs_kept(folder: Path) -> Iterator[None]:
    """An error that stops a sweep also says where the finished runs are."""
    try:
        yield
    except UsageError as error:
        if shards := len(list(folder.glob("*/*.parquet"))):
            remedy = f"{shards:,} finished runs are kept in {folder}; run the same command again to make the rest"
            raise UsageError(error.what, f"{error.remedy}\n{remedy}") from error
        raise
