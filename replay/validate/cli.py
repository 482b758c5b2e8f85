"""The command ``replay validate``: the model compared with real machines."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Common, grouped, note, say_rows

if TYPE_CHECKING:
    from replay.validate.sequence import Sequence


@grouped(common=Common)
def validate(
    capture: Annotated[
        str, typer.Option(help="A capture by name, several joined by commas, or all that have two snapshots.")
    ] = "all",
    seeds: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Replays of each capture, with seeds 0, 1, ...: shows how much list order matters. 0 (with --pools): "
            "only from the kernel's own free lists.",
        ),
    ] = 3,
    sequence: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.jsonl[.zst]...",
            help="Files of recorded permission changes, instead of captures; several may follow.",
        ),
    ] = None,
    pools: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR...", help="Runs of pools in a real kernel (make record-pools), instead of captures."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True)] = None,
    *,
    common: Common,
) -> None:
    """Compare the model with real machines: captures with their snapshots, permission changes, pools in a kernel.

    A capture is replayed without protection. Its prediction for the moment after the recording is compared with the
    machine's snapshot, and with the prediction that nothing changed (view validation_verdict). A second replay puts
    every event at its recorded place (placement replay), and names the cause of each contradiction with the snapshots
    or within the recording. With --sequence, every recorded permission change is made on the modelled direct map, and
    splits, collapses and the walk of the page tables are compared after each. The results go into tables validation
    and contradiction of the warehouse (with --sequence and --pools only if the warehouse exists).

    With --pools, each run of a kernel with a pool is replayed with its strategy, from the kernel's own free lists
    (exact) and from what any recording tells (ordinary). A run without a pool predicts those of other strategies with
    the same workload (blind).

    Exit status 1: the error of a prediction is larger than allowed, a contradiction has no known cause, or a
    permission change differs from the recording.

    Example: ptpool replay validate --capture server-16g

    Example: ptpool replay validate --sequence data/splits/*.jsonl.zst

    Example: ptpool replay validate --pools data/pools/*/
    """
    if sequence and pools:
        raise UsageError("replay validate: --sequence and --pools at once", "validate them one after the other")
    if not seeds and not pools:
        raise UsageError(
            "replay validate: --seeds 0 without --pools", "only runs of pools have free lists to start from"
        )
    if pools:
        holds = _pools(pools + (more or []), seeds, common.db, quiet=common.quiet, as_json=common.as_json)
    elif sequence:
        holds = _sequences(sequence + (more or []), common.db, quiet=common.quiet, as_json=common.as_json)
    elif more:
        remedy = "files of permission changes follow --sequence, folders of runs --pools"
        raise UsageError(f"replay validate: unexpected argument {more[0]}", remedy)
    else:
        holds = _captures(capture, seeds, common.db, quiet=common.quiet, as_json=common.as_json)
    if not holds:
        raise typer.Exit(1)


_ROWS = """
SELECT capture, quantity, zone, page_order AS "order", recorded_before AS before, recorded_after AS after, predicted,
       null_error, model_error, allowed_error, holds, better
FROM validation_verdict WHERE list_contains(?, capture) AND (? OR null_error > 0 OR model_error > 0)
ORDER BY capture, quantity, zone, page_order
"""

_JUDGED = """
SELECT count(*), count(holds), count(*) FILTER (holds), count(better), count(*) FILTER (better)
FROM validation_verdict WHERE capture = ?
"""


def _captures(names: str, seeds: int, db: Path, *, quiet: bool, as_json: bool) -> bool:
    """Compare captures with their snapshots; whether all predictions hold and all contradictions have a known cause."""
    from ptpool.compiled import announce_compiling
    from ptpool.progress import progress
    from ptpool.warehouse import capture_row, open_warehouse
    from replay.validate.placement import replay_placement
    from replay.validate.snapshot import comparable, compare, keep

    with open_warehouse(db, write=True, create=False) as connection:
        wanted = comparable(connection) if names == "all" else names.split(",")
        captures = [capture_row(connection, name) for name in wanted]
        if not captures:
            raise UsageError(
                f"{db}: no capture with a snapshot from after the recording",
                "import one with the folders before/ and after/ next to its trace",
            )
        announce_compiling("replay", quiet=quiet)
        placed = {}
        with progress("validate", len(captures), quiet=quiet, unit="captures") as meter:
            for row in captures:
                comparisons = compare(connection, row, seeds)
                placed[row["name"]] = replay_placement(connection, row)
                keep(connection, row["capture_id"], comparisons, placed[row["name"]])
                meter(len(placed), f"{len(placed)} of {len(captures)} captures")
        cursor = connection.execute(_ROWS, [wanted, as_json])
        say_rows([name for name, *_ in cursor.description], cursor.fetchall(), as_json=as_json)
        all_hold = True
        for name, placement in placed.items():
            compared, judged, holding, changed, better = connection.execute(_JUDGED, [name]).fetchall()[0]
            all_hold &= holding == judged and not placement.unexplained
            contradicting = sum(item.pages for item in placement.contradictions)
            predictions = (
                f"{holding} of {judged} predictions hold; of {changed} quantities that changed by more than 32, "
                f"{better} are predicted better than by 'as before'"
                if compared
                else "no snapshot from before the recording, so nothing is predicted"
            )
            if holding < judged:
                wrong = "SELECT string_agg(DISTINCT quantity, ', ' ORDER BY quantity) FROM validation_verdict"
                ((which,),) = connection.execute(f"{wrong} WHERE NOT holds AND capture = ?", [name]).fetchall()
                predictions += f"; do not rest a finding on {which}, which came out otherwise"
            note(
                f"{name}: {predictions}. With every event at its recorded place: {contradicting:,} contradictions in "
                f"{placement.pages_touched:,} pages, {placement.unexplained:,} unexplained",
                quiet=quiet,
            )
    return all_hold


def _sequences(files: list[Path], db: Path, *, quiet: bool, as_json: bool) -> bool:
    """Repeat recorded permission changes on the model; whether everything is as recorded."""
    from ptpool.compiled import announce_compiling
    from ptpool.progress import progress
    from replay.validate.sequence import replay_sequence

    announce_compiling("replay", quiet=quiet)
    done = []
    with progress("validate", len(files), quiet=quiet, unit="files") as meter:
        for path in files:
            done.append(replay_sequence(path))
            meter(len(done), f"{len(done)} of {len(files)} files")
    columns = ["file", "kernel", "operations", "refused", "mismatches", "first_mismatch"][: None if as_json else -1]
    rows = [
        (str(item.path), item.kernel, len(item.operations), item.refused, item.mismatches, item.first_mismatch or None)
        for item in done
    ]
    say_rows(columns, [row[: len(columns)] for row in rows], as_json=as_json)
    if db.exists():
        _keep(db, done, quiet=quiet)
    for item in done:
        if item.mismatches:
            note(f"{item.path}, {item.first_mismatch}")
    return not any(item.mismatches for item in done)


def _keep(db: Path, done: "list[Sequence]", *, quiet: bool) -> None:
    """Write the counters of each file into table ``validation``, replacing those of an earlier call."""
    from ptpool.warehouse import open_warehouse, transaction

    with open_warehouse(db, write=True) as connection, transaction(connection):
        for item in done:
            connection.execute("DELETE FROM validation WHERE capture_id = ?", [item.path.name])
            connection.executemany(
                """INSERT INTO validation (capture_id, quantity, recorded_before, recorded_after, predicted,
                                           null_error, model_error) VALUES (?, ?, ?, ?, ?, ?, ?)""",
                [
                    (item.path.name, name, before, after, predicted, abs(after - before), abs(predicted - after))
                    for name, before, after, predicted in item.counters()
                ],
            )
    note(f"{len(done)} files in table validation of {db}", quiet=quiet)


_POOL_ROWS = """
SELECT run, quantity, page_order AS "order", kernel, exact, exact_allowed AS "+/-", exact_holds AS holds, ordinary,
       blind_kernel_low AS least, blind_kernel_high AS most, blind, blind_allowed AS "+/-", blind_holds AS holds
FROM pool_validation_by_quantity WHERE list_contains(?, run)
"""

_POOL_JUDGED = """
SELECT start, count(holds), count(*) FILTER (holds) FROM pool_validation
WHERE list_contains(?, run) AND holds IS NOT NULL GROUP BY start ORDER BY start DESC
"""


def _pools(folders: list[Path], seeds: int, db: Path, *, quiet: bool, as_json: bool) -> bool:
    """Hold the replay against kernels that ran pools; whether all predictions with a tolerance hold."""
    from ptpool.compiled import announce_compiling
    from ptpool.progress import progress
    from ptpool.warehouse import open_warehouse
    from replay.validate.pool_run import read_run, repeated
    from replay.validate.pools import compare_runs, keep

    runs = [read_run(folder) for folder in folders]
    announce_compiling("replay", quiet=quiet)
    comparisons = []
    with progress("validate", (many := sum(run.has_trace for run in runs)), quiet=quiet, unit="runs") as meter:
        for done, found in enumerate(compare_runs(runs + repeated(runs), seeds), 1):
            comparisons += found
            meter(done, f"{done} of {many} runs")
    with tempfile.TemporaryDirectory() as scratch:
        kept = db if db.exists() else Path(scratch) / "pools.duckdb"
        with open_warehouse(kept, write=True) as connection:
            keep(connection, comparisons)
            names = [run.name for run in runs]
            question = "FROM pool_validation WHERE list_contains(?, run)" if as_json else _POOL_ROWS
            cursor = connection.execute(question, [names])
            say_rows([name for name, *_ in cursor.description], cursor.fetchall(), as_json=as_json)
            judged = connection.execute(_POOL_JUDGED, [names]).fetchall()
    for start, promised, holding in judged:
        note(f"{start}: {holding} of {promised} predictions hold", quiet=quiet)
    return all(holding == promised for _, promised, holding in judged)
