"""Commands of the ingest stage."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Common, Db, Json, Quiet, grouped, say, say_rows

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Import page-allocation traces and the snapshots next to them.",
    epilog="Typical use: ptpool ingest trace trace.txt.zst --name boot; ptpool ingest list",
)


@app.command(epilog="Example: ptpool ingest trace data/captures/server-16g --db lab.duckdb")
@grouped(common=Common)
def trace(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Files of one trace (rotated, or one for each CPU), or bundle folders."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the capture [default: after the folder or file].")] = None,
    snapshots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with before/ and after/ [default: next to the trace].")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="auto, or a format of ptpool ingest formats.")] = "auto",
    from_: Annotated[
        str,
        typer.Option("--from", metavar="T", help="Keep events from T on, counted from the first entry: 12.5s, 900ms."),
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="T", help="Keep events up to T, counted from the first entry.")
    ] = "",
    best_effort: Annotated[
        bool, typer.Option("--best-effort/--strict", help="Count damage and use the rest, or refuse the file.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another capture of this name.")] = False,
    *,
    common: Common,
) -> None:
    """Import a trace, plain or compressed, with the snapshots next to it; ptpool ingest formats lists the formats."""
    window = _window(from_, to)
    from ingest.formats import NAMES

    if format_ not in ("auto", *NAMES):
        raise UsageError(f"--format {format_}: no such format", f"there are: auto, {', '.join(NAMES)}")
    from ingest.bundle import find_bundle
    from ingest.importer import import_capture
    from ptpool.warehouse import open_warehouse

    several = len(paths) > 1 and all(path.is_dir() for path in paths)
    if several and (name or snapshots):
        raise UsageError(
            f"{'--name' if name else '--snapshots'}: for one capture, and here are {len(paths)} bundles",
            "import them one by one",
        )
    parts = [[path] for path in paths] if several else [paths]
    bundles = [find_bundle(part, name, snapshots, format_) for part in parts]
    if len({bundle.name for bundle in bundles}) < len(bundles):
        raise UsageError("two of the bundles have the same name", "import them one by one, with --name")
    with open_warehouse(common.db, write=True) as connection:
        reports = []
        for bundle in bundles:
            done = import_capture(
                connection, bundle, window=window, best_effort=best_effort, replace=replace, quiet=common.quiet
            )
            reports.append(_found(connection, done.name, unchanged=done.unchanged))
            if not common.as_json:
                _say(reports[-1])
        if common.as_json:
            say(json.dumps(reports if several else reports[0], indent=2))


@app.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Example: ptpool ingest capture --out boot-storm -- make -j8; "
    "ptpool ingest capture --seconds 30 --redact; ptpool ingest trace boot-storm",
)
def capture(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="Command to record, after --; without it, record until Ctrl-C."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the bundle [default: capture-DATE-TIME].")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="tracefs or perf [default: the first that works, tracefs first].")
    ] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", min=0.1, help="Stop after S seconds.")] = None,
    buffer: Annotated[
        str, typer.Option(metavar="SIZE", help="Buffer per CPU: 64M [default: by memory and CPUs].")
    ] = "",
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out names of tasks, user frames, command lines and the host name.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Record every page allocation and free of this machine while COMMAND runs, or for some time (as root).

    Makes a folder that ingest trace can import: the events with kernel stacks, /proc snapshots before and after, and
    files that describe the machine. Records all processes, not only COMMAND. Ctrl-C ends the recording and keeps it.
    """
    from ingest.recorder.cli import capture_command

    capture_command(command or [], out, backend, seconds, buffer, redact=redact, quiet=quiet, as_json=as_json)


@app.command("list", epilog="Example: ptpool ingest list --json")
def list_(db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """List the captures of a warehouse."""
    from ptpool.warehouse import open_warehouse

    with open_warehouse(db) as connection:
        cursor = connection.execute(
            "SELECT name, format, kernel_release AS kernel, arch, cpus, events, lost_events AS lost, timing,"
            " round((last_ns - first_ns) / 1e9, 3) AS seconds FROM capture ORDER BY name"
        )
        columns = [column[0] for column in cursor.description]
        say_rows(columns, cursor.fetchall(), as_json=as_json)


@app.command(epilog="Example: ptpool ingest remove server-16g")
def remove(
    name: Annotated[str, typer.Argument(help="Name of the capture.")], db: Db = DEFAULT_DB, quiet: Quiet = False
) -> None:
    """Remove a capture and everything computed from it."""
    from ptpool.warehouse import capture_row, delete_capture, open_warehouse, transaction

    with open_warehouse(db, write=True, create=False) as connection:
        row = capture_row(connection, name)
        with transaction(connection):
            delete_capture(connection, row["capture_id"])
    if not quiet:
        say(f"removed {name}")


@app.command(epilog="Example: ptpool ingest export fleet/host=web1 --capture boot")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the folders capture=NAME.")],
    capture: Annotated[str, typer.Option(help="NAME,... or all.")] = "all",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite folders that exist.")] = False,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
) -> None:
    """Write captures as Parquet: one folder capture=NAME each, one file per table; ingest fleet reads them.

    DIR may name the machine, as hive partitions do: fleet/host=web1. Any tool that reads Parquet can read the files.
    """
    from ingest.fleet import export_captures
    from ptpool.warehouse import capture_names, open_warehouse

    with open_warehouse(db, folders=[folder]) as connection:
        names = capture_names(connection) if capture == "all" else capture.split(",")
        if not names:
            raise UsageError(f"{db}: no capture to export", "import a trace first: ptpool ingest trace FILE")
        for written in export_captures(connection, names, folder, replace=replace):
            if not quiet:
                say(str(written))


@app.command(epilog="Example: ptpool ingest fleet fleet --db fleet.duckdb; ptpool replay sweep fleet --db fleet.duckdb")
@grouped(common=Common)
def fleet(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with [KEY=VALUE/...]capture=NAME in it.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace other captures of these names.")] = False,
    *,
    common: Common,
) -> None:
    """Import the captures of many machines, as ingest export wrote them: hive-partitioned Parquet.

    A capture is named after the values of its keys: host=web1/capture=boot becomes web1-boot.
    """
    from ingest.fleet import find_captures, import_fleet
    from ptpool.progress import progress
    from ptpool.warehouse import open_warehouse

    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "write captures into one with ptpool ingest export")
    with open_warehouse(common.db, write=True, folders=[folder]) as connection:
        found = find_captures(connection, folder)
        with progress(f"reading {folder.name}", len(found), quiet=common.quiet, unit="captures") as meter:
            done = import_fleet(connection, found, replace=replace, on_done=meter)
    rows = [(one.name, item.events, one.unchanged) for item, one in zip(found, done, strict=True)]
    say_rows(["capture", "events", "unchanged"], rows, as_json=common.as_json)


@app.command(epilog="Example: ptpool ingest formats")
def formats(as_json: Json = False) -> None:
    """List the trace formats."""
    from ingest.formats import FORMATS

    say_rows(["format", "what it is"], [(form.name, form.about) for form in FORMATS], as_json=as_json)


_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def _window(since: str, until: str) -> tuple[int | None, int | None]:
    first = _duration("--from", since) if since else None
    last = _duration("--to", until) if until else None
    if last is not None and last <= (first or 0):
        raise UsageError(
            f"--to {until} is not after --from {since or '0s'}", "both count from the first entry of the trace"
        )
    return first, last


def _duration(option: str, text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|ms|us|ns)", text)
    if match is None:
        raise UsageError(f"{option} {text}: not a time", "write it like 12.5s or 900ms, counted from the first entry")
    return round(float(match[1]) * _UNITS[match[2]])


def _found(connection: Any, name: str, *, unchanged: bool) -> dict[str, Any]:
    """What was imported, and its findings."""
    events, tables, lost = connection.execute(
        """SELECT events, count(*) FILTER (kind = 'alloc' AND consumer IN
               ('pgtable_user', 'pgtable_kernel', 'direct_map_split', 'kvm', 'iommu')), any_value(lost_events)
           FROM capture LEFT JOIN page_event USING (capture_id) WHERE name = ? GROUP BY events""",
        [name],
    ).fetchone()
    findings = connection.execute(
        """SELECT severity, what, sum(value)::BIGINT AS value, any_value(explanation) FROM data_quality
           WHERE capture = ? AND severity <> 'info' GROUP BY severity, what ORDER BY severity DESC, what""",
        [name],
    ).fetchall()
    keys = ("severity", "name", "value", "explanation")
    return {
        "name": name,
        "unchanged": unchanged,
        "events": events,
        "ptp_allocations": tables,
        "lost_events": lost,
        "findings": [dict(zip(keys, row, strict=True)) for row in findings],
    }


def _say(found: dict[str, Any]) -> None:
    held = f"{_counted(found['events'], 'event')}, {_counted(found['ptp_allocations'], 'page-table allocation')}"
    say(f"{found['name']}: {'unchanged, ' if found['unchanged'] else ''}{held}")
    for each in found["findings"]:
        say(f"  {each['severity']}: {each['name']} {each['value']:,}: {each['explanation']}")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
