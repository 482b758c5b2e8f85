"""``ptpool replay calibrate``."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say_rows

_UNITS = {"K": 10, "M": 20, "G": 30}


def calibrate(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The profile to write (default: ptpool/calibration.toml in your configuration folder)."
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Largest working set, a power of two; at most a quarter of what is free."),
    ] = "2G",
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Measure nothing: put this profile, of whatever machine, into the warehouse."
        ),
    ] = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure what translation and permission changes cost on this machine; needs no root, and takes half a minute.

    Two things: how much longer random loads take in small pages than in huge ones (a proxy for the kernel's own
    accesses to its direct map, not a measurement of them), and what one permission change of the direct map costs, by
    faults of memfd_secret memory. The profile is for --costs of ptpool replay run; figures and a CSV are put beside it.
    If the warehouse exists, the numbers go there too, and reports show them beside what was published.

    Example: ptpool replay calibrate --out server.toml
    """
    from ptpool.warehouse import open_warehouse
    from replay.calibrate import store
    from replay.calibrate.profile import COLUMNS, load

    if not sys.platform.startswith("linux"):
        raise UsageError("replay calibrate: measures Linux only", "run it on the machine in question")
    if db.exists():  # said before half a minute is spent
        with open_warehouse(db):
            pass
    if profile:
        found = load(profile)
    else:
        wanted = _bytes(memory)
        target = store.target(out)
        found = store.measured(wanted, quiet=quiet)
        for path in store.write(found, target):
            note(f"wrote {path}", quiet=quiet)
        note(f"use it: ptpool replay run --costs {target}", quiet=quiet)
    if profile or db.exists():
        store.into_warehouse(found, db)
        note(f"{db}: reports show it from now on", quiet=quiet)
    for remark in found.remarks:
        note(remark, quiet=quiet)
    rows = [[getattr(value, column) for column in COLUMNS] for value in found.values]
    used = [
        i for i, column in enumerate(COLUMNS) if as_json or column == "quantity" or any(r[i] is not None for r in rows)
    ]
    say_rows([COLUMNS[i] for i in used], [[row[i] for i in used] for row in rows], as_json=as_json)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG])", text)
    size = int(match[1]) << _UNITS[match[2]] if match else 0
    if size < 1 << 20 or size & (size - 1):
        raise UsageError(f"--memory {text}: no size to measure", "a power of two, 1M or more: 512M, 2G, 8G")
    return size
