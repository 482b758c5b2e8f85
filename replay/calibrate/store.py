"""Run the measurements, and write the results: a profile with its figures, and rows of the warehouse."""

import json
import os
import platform
import shlex
import sys
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path

from ptpool.errors import UsageError
from ptpool.files import write_whole
from ptpool.options import note
from ptpool.progress import progress
from ptpool.provenance import code_version, identity
from ptpool.text import size
from ptpool.warehouse import open_warehouse, transaction
from replay.calibrate import conversion, host, penalty, regions
from replay.calibrate.figure import figures
from replay.calibrate.profile import Calibration, text


def target(out: Path | None) -> Path:
    """Where the profile goes.

    Raises:
        UsageError: it cannot be written there.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = out or config / "ptpool" / "calibration.toml"
    remedy = "name another file with --out"
    if path.suffix != ".toml":
        raise UsageError(f"--out {path}: a profile is a .toml file", remedy)
    try:
        if not out:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent}: {error.strerror}", remedy) from error
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder", remedy)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path}: cannot be written", remedy)
    return path


def measured(memory: int, *, quiet: bool) -> Calibration:
    """Measure this machine, in about half a minute.

    Args:
        memory: bytes of the largest working set.
        quiet: show no progress.
    """
    machine = host.described()
    available = host.available_bytes()
    kinds = max(len(regions.kinds()), 1)  # a working set in each kind of page, all at once
    fits = 1 << max((available // 4 // kinds).bit_length() - 1, 0)
    if fits < penalty.SMALLEST:
        raise UsageError(f"too little free memory to measure anything: {size(available)}", "end other programs first")
    less = f", less than the {size(memory)} wanted: a quarter of the free memory" if fits < memory else ""
    memory = min(memory, fits)
    note(
        f"taking {size(kinds * memory)} of memory: {size(memory)} in each of {kinds} kinds of pages{less}", quiet=quiet
    )
    made = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": f"ptpool {code_version()}, Python {platform.python_version()}",
        "command": f"ptpool {shlex.join(sys.argv[1:])}",
    }
    with progress("calibrate", 1.0, quiet=quiet) as meter:
        loads = penalty.measure(memory, lambda share: meter(0.95 * share, "loads"))
        faults = conversion.measure(lambda share: meter(0.95 + 0.05 * share, "permission changes"))
    remarks = [*loads.remarks, *faults.remarks]
    if machine.get("virtual"):
        remarks.append(
            f"a virtual machine ({machine['virtual']}): its memory is translated twice, and its interrupts cost exits"
        )
    if float(machine.get("load_average", 0)) > 0.25 * int(machine["cpus"]):
        remarks.append(f"other work was running (load average {machine['load_average']}): repeat it on a quiet machine")
    return Calibration(machine, made, remarks, [*loads.values, *faults.values])


def write(found: Calibration, path: Path) -> list[Path]:
    """Write the profile, and next to it its CSV and its figures.

    Raises:
        UsageError: the disk is full, or the folder is gone.
    """
    files = {path: text(found).encode(), path.with_suffix(".csv"): found.csv().encode()}
    for name, images in figures(found).items():
        files |= {path.with_name(f"{path.stem}-{name}.{suffix}"): data for suffix, data in images.items()}
    for file, data in files.items():
        write_whole(file, data, "name another file with --out")
    return list(files)


def into_warehouse(found: Calibration, db: Path) -> None:
    """Put a calibration into the warehouse; it replaces an older one of the same machine and kernel."""
    machine = found.machine
    name = identity(
        8, cpu=machine["cpu"], cpus=machine["cpus"], kernel=machine["kernel"], memory=machine.get("memory_bytes")
    )
    with open_warehouse(db, write=True, create=False) as connection, transaction(connection):
        for table in ("calibration_value", "calibration"):
            connection.execute(f"DELETE FROM {table} WHERE calibration_id = ?", [name])
        facts = json.dumps({**machine, **found.made, "remarks": list(found.remarks)})
        columns = [machine["cpu"], machine["cpus"], machine["arch"], machine["kernel"], machine.get("virtual")]
        connection.execute(
            "INSERT INTO calibration VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [name, *columns, found.made["made_at"], facts]
        )
        for value in found.values:
            connection.execute(
                "INSERT INTO calibration_value VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [name, *astuple(value)]
            )
