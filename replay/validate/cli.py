"""The command ``replay validate``: the model against real machines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say_rows

if TYPE_CHECKING:
    from replay.validate.sequence import Sequence


def validate(
    capture: Annotated[
        str, typer.Option(help="A capture by name, several joined by commas, or all that have two snapshots.")
    ] = "all",
    seeds: Annotated[
        int,
        typer.Option(min=1, max=100, help="Replays of each capture, with seeds 0, 1, ...: what list order matters."),
    ] = 3,
    sequence: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.jsonl[.zst]...",
            help="Recorded permission changes instead of captures; several files may follow.",
        ),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True)] = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Hold the model against real machines: captures against their own snapshots, or recorded permission changes.

    A capture is replayed without protection; what the replay predicts for the moment after it is compared with the
    machine's snapshot, beside the prediction that nothing changed. And every event is put at its recorded place
    (placement replay): where that contradicts the snapshots or itself, the cause is named. With --sequence every
    permission change is made anew on the modelled direct map, and splits, collapses and the walk of the page tables are
    compared after each. The results go into tables validation and contradiction of the warehouse (with --sequence only
    where there is one).

    Exit status 1: a prediction is further off than is allowed, a contradiction has no known cause, or something is not
    as recorded.

    Example: ptpool replay validate --capture server-16g

    Example: ptpool replay validate --sequence data/splits/*.jsonl.zst
    """
    if sequence:
        holds = _sequences(sequence + (more or []), db, quiet=quiet, as_json=as_json)
    elif more:
        raise UsageError(f"replay validate: {more[0]} is no option", "files of permission changes follow --sequence")
    else:
        holds = _captures(capture, seeds, db, quiet=quiet, as_json=as_json)
    if not holds:
        raise typer.Exit(1)


def _captures(names: str, seeds: int, db: Path, *, quiet: bool, as_json: bool) -> bool:
    """Compare captures with their snapshots; whether everything that has a target is within it."""
    from ptpool.compiled import announce_compiling
    from ptpool.progress import progress
    from ptpool.warehouse import capture_row, open_warehouse
    from replay.validate.placement import replay_placement
    from replay.validate.snapshot import ALLOWED_BLOCKS, comparable, compare, keep

    with open_warehouse(db, write=True, create=False) as connection:
        wanted = comparable(connection) if names == "all" else names.split(",")
        captures = [capture_row(connection, name) for name in wanted]
        if not captures:
            raise UsageError(
                f"{db}: no capture with a snapshot from after the recording",
                "import one with folders before/ and after/ beside its trace",
            )
        announce_compiling("replay", quiet=quiet)
        done, placed = {}, {}
        with progress("validate", len(captures), quiet=quiet, unit="captures") as meter:
            for row in captures:
                done[row["name"]] = compare(connection, row, seeds)
                placed[row["name"]] = replay_placement(connection, row)
                keep(connection, row["capture_id"], done[row["name"]], placed[row["name"]])
                meter(len(done), f"{len(done)} of {len(captures)} captures")
    columns = ["capture", "quantity", "zone", "order", "before", "after", "predicted"]
    columns += ["null_error", "model_error", "allowed_error", "holds"]
    rows = [
        (
            name,
            item.quantity,
            item.zone,
            item.page_order,
            item.recorded_before,
            item.recorded_after,
            item.predicted,
            item.null_error,
            item.model_error,
            item.allowed_error,
            item.holds,
        )
        for name, items in done.items()
        for item in items
        if as_json or item.null_error or item.model_error
    ]
    say_rows(columns, rows, as_json=as_json)
    for name, items in done.items():
        bound = [item for item in items if item.allowed_error is not None]
        changed = [item for item in items if item.null_error > ALLOWED_BLOCKS]
        better = sum(item.model_error < item.null_error for item in changed)
        policy = (
            f"{sum(item.holds for item in bound)} of {len(bound)} predictions hold; of {len(changed)} quantities that "
            f"changed, {better} are predicted better than by 'as before'"
            if items
            else "no snapshot from before the recording, so nothing is predicted"
        )
        placement = placed[name]
        contradicting = sum(item.pages for item in placement.contradictions)
        note(
            f"{name}: {policy}. At their recorded places: {contradicting:,} contradictions in "
            f"{placement.pages_touched:,} pages, {placement.unexplained:,} unexplained",
            quiet=quiet,
        )
    unexplained = sum(placement.unexplained for placement in placed.values())
    return unexplained == 0 and all(item.holds for items in done.values() for item in items)


def _sequences(files: list[Path], db: Path, *, quiet: bool, as_json: bool) -> bool:
    """Make recorded permission changes anew; whether everything is as recorded."""
    from ptpool.compiled import announce_compiling
    from ptpool.progress import progress
    from replay.validate.sequence import replay_sequence

    announce_compiling("replay", quiet=quiet)
    done = []
    with progress("validate", len(files), quiet=quiet, unit="files") as meter:
        for path in files:
            done.append(replay_sequence(path))
            meter(len(done), f"{len(done)} of {len(files)} files")
    rows = [
        (str(item.path), item.kernel, len(item.operations), item.refused, item.mismatches, item.first_mismatch or None)
        for item in done
    ]
    columns = ["file", "kernel", "operations", "refused", "mismatches"]
    if as_json:
        say_rows([*columns, "first_mismatch"], rows, as_json=True)
    else:
        say_rows(columns, [row[:-1] for row in rows])
    if db.exists():
        _keep(db, done, quiet=quiet)
    for item in done:
        if item.mismatches:
            note(f"{item.path}, {item.first_mismatch}")
    return not any(item.mismatches for item in done)


def _keep(db: Path, done: "list[Sequence]", *, quiet: bool) -> None:
    """Put the counters of each file into table ``validation``, in place of what an earlier call put there."""
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
