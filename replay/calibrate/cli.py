"""The command ``replay calibrate``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Common, grouped, note, say_rows
from ptpool.text import bytes_of


@grouped(common=Common)
def calibrate(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The profile to write (default: ptpool/calibration.toml in your configuration folder)."
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="Largest working set, a power of two. At most a quarter of the free memory is used."
        ),
    ] = "2G",
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure nothing; put this profile of any machine into the warehouse."),
    ] = None,
    *,
    common: Common,
) -> None:
    """Measure what translation and permission changes cost on this machine. It takes half a minute and needs no root.

    Two things are measured: how much longer random loads take in small pages than in huge ones (a proxy for the
    kernel's own accesses to its direct map), and what one permission change of the direct map costs, from page faults
    of memfd_secret memory. Pass the profile to ptpool replay run --costs; figures and a CSV are written next to it. If
    the warehouse exists, it gets the numbers as well, and reports compare them with published ones.

    Example: ptpool replay calibrate --out server.toml
    """
    from ptpool.warehouse import open_warehouse
    from replay.calibrate import store
    from replay.calibrate.estimate import COLUMNS
    from replay.calibrate.profile import load

    if not sys.platform.startswith("linux"):
        raise UsageError("replay calibrate: runs on Linux only", "run it on the machine in question")
    if common.db.exists():  # a file that is no warehouse is refused before anything is measured
        with open_warehouse(common.db):
            pass
    if profile:
        found = load(profile)
    else:
        wanted = _bytes(memory)
        target = store.target(out)
        found = store.measured(wanted, quiet=common.quiet)
        for path in store.write(found, target):
            note(f"wrote {path}", quiet=common.quiet)
        note(f"use it: ptpool replay run --costs {target}", quiet=common.quiet)
    if profile or common.db.exists():
        store.into_warehouse(found, common.db)
        note(f"{common.db}: reports now show this calibration", quiet=common.quiet)
    for remark in found.remarks:
        note(remark, quiet=common.quiet)
    rows = [[getattr(value, column) for column in COLUMNS] for value in found.values]
    used = [
        i
        for i, column in enumerate(COLUMNS)
        if common.as_json or column == "quantity" or any(r[i] is not None for r in rows)
    ]
    say_rows([COLUMNS[i] for i in used], [[row[i] for i in used] for row in rows], as_json=common.as_json)


def _bytes(text: str) -> int:
    size = bytes_of(text) or 0
    if size < 1 << 20 or size & (size - 1):
        raise UsageError(f"--memory {text}: no size to measure", "give a power of two, 1M or more: 512M, 2G, 8G")
    return size
