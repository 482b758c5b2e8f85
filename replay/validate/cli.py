"""The command ``replay validate``: the model against real machines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say_rows

if TYPE_CHECKING:
    from replay.validate.sequence import Sequence


def validate(
    sequence: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.jsonl[.zst]...", help="Recorded permission changes; several files may follow."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True)] = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Hold the model against real kernels: every recorded permission change is made anew on the modelled direct map.

    Compared after each operation: splits, collapses, and the walk of the page tables; a line a file. Needs no
    warehouse; where there is one (--db), the counters go into its table validation under the file's name.

    Exit status 1: something is not as recorded; the first such operation is told in words.

    Example: ptpool replay validate --sequence data/splits/*.jsonl.zst
    """
    if not sequence:
        raise UsageError(
            "replay validate: nothing to validate", "example: ptpool replay validate --sequence data/splits/*.jsonl.zst"
        )
    from ptpool.compiled import is_cached
    from ptpool.progress import progress
    from replay.validate.sequence import replay_sequence

    files = sequence + (more or [])
    if not is_cached("replay"):
        note("compiling the direct map: a few seconds, once for each version", quiet=quiet)
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
    if any(item.mismatches for item in done):
        raise typer.Exit(1)


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
