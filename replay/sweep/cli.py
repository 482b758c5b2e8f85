"""The command ``replay sweep``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say_rows

if TYPE_CHECKING:
    from replay.runs.wanted import Wanted
    from replay.sweep.expect import Expected

_SHOWN = 10  # failures told one by one


def sweep(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="A file SPEC.toml, the name of a sweep that is shipped, or list.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell how many runs there are, and what they will take.")
    ] = False,
    executor: Annotated[
        str,
        typer.Option(metavar="local|dask:ADDRESS", help="Who runs them: processes of this machine, or a Dask cluster."),
    ] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes of this machine (default: one per CPU).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the Parquet shards here (default: beside the warehouse until the sweep is complete).",
        ),
    ] = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Replay a grid of captures, strategies, parameters, machines, copies and seeds; only metrics are kept.

    Every finished run is a Parquet shard at once. Whatever is interrupted goes on where it was when the same command is
    given again; at the end all shards go into the warehouse, where table sweep tells which runs belong together.

    Exit status 1: runs failed; the others finished and are kept.

    Example: ptpool replay sweep list

    Example: ptpool replay sweep reserve-size --dry-run
    """
    import os
    import shutil

    from ptpool.progress import progress
    from ptpool.warehouse import open_warehouse
    from replay.contract.registry import incomplete
    from replay.runs.cluster import workers_of
    from replay.runs.store import write_costs, write_strategies
    from replay.sweep.expect import expected
    from replay.sweep.run import default_folder, make_shards
    from replay.sweep.shards import merge, open_shards
    from replay.sweep.spec import read_spec, shipped_specs, strategies_of, wanted_runs

    if spec == "list":
        say_rows(["sweep", "what it asks"], [(item.name, item.title) for item in shipped_specs()], as_json=as_json)
        return
    asked = read_spec(spec)
    at_a_time = jobs or os.cpu_count() or 1
    with open_warehouse(db) as connection:
        wanted = wanted_runs(connection, asked)
        there = {run_id for (run_id,) in connection.execute("SELECT run_id FROM run").fetchall()}
        missing = [run for run in wanted if run.run_id not in there]
        left_to_do = expected(connection, missing, at_a_time)
        if dry_run:
            _tell(asked.name, wanted, missing, left_to_do, as_json=as_json)
            return
    folder = out or default_folder(db, asked.name)
    with _kept(folder), open_shards(folder, asked.name, wanted) as shards:
        whole, torn = shards.finished(missing)
        for path in torn:
            note(f"ptpool: {path}: torn; this run is made again")
            path.unlink()
        left = [run for run in missing if run.run_id not in whole]
        note(f"sweep {asked.name}: {len(wanted):,} runs, {len(left):,} of them to make", quiet=quiet)
        failed = []
        if left:
            with (
                open_warehouse(db) as connection,
                workers_of(executor, at_a_time) as workers,
                progress(f"sweep {asked.name}", len(left), quiet=quiet, unit="runs") as meter,
            ):
                failed = make_shards(
                    connection, left, shards, workers, lambda n: meter(n, f"{n:,} of {len(left):,} runs")
                )
        whole, _ = shards.finished(missing)
        made = [run.run_id for run in wanted if run.run_id in there or run.run_id in whole]
        with open_warehouse(db, write=True) as connection:
            write_strategies(connection)
            write_costs(connection, wanted)
            merge(connection, asked.name, made, list(whole.values()))
        if not failed and out is None:
            shutil.rmtree(folder)
    columns = ["sweep", "runs", "made", "torn", "failed"]
    say_rows(columns, [(asked.name, len(made), len(left) - len(failed), len(torn), len(failed))], as_json=as_json)
    for run, reason in failed[:_SHOWN]:
        note(f"ptpool: {run.capture['name']}, {run.entry.name} ({run.run_id}): {reason}")
    if len(failed) > _SHOWN:
        note(f"ptpool: and {len(failed) - _SHOWN:,} more")
    if failed or incomplete(strategies_of(asked)):
        raise typer.Exit(1)


def _tell(sweep: str, wanted: list["Wanted"], missing: list["Wanted"], left: "Expected", *, as_json: bool) -> None:
    """What a dry run says."""
    columns = ["sweep", "runs", "to_make", "captures", "memory_mib", "seconds"]
    captures = len({run.capture["capture_id"] for run in wanted})
    row = (sweep, len(wanted), len(missing), captures, round(left.memory / 2**20), round(left.seconds))
    say_rows(columns, [row], as_json=as_json)


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """What breaks a sweep off leaves the finished runs, and says so."""
    try:
        yield
    except UsageError as error:
        if shards := len(list(folder.glob("*/*.parquet"))):
            remedy = f"{shards:,} finished runs are kept in {folder}: the same command goes on from there"
            raise UsageError(error.what, f"{error.remedy}\n{remedy}") from error
        raise
