"""The root command: the only file that knows all stages."""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli import app as ingest_app
from ptpool import __version__
from ptpool.errors import UsageError
from ptpool.sql import sql, tables
from ptpool.text import tell
from replay.cli import app as replay_app
from reports.cli import app as report_app

app = typer.Typer(
    name="ptpool",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Replay page-allocation traces through every proposed way of supplying specially-mapped page-table pages.",
    epilog="Typical use: ptpool ingest trace trace.txt.zst; ptpool replay run; ptpool report build",
)
app.add_typer(ingest_app, name="ingest")
app.add_typer(replay_app, name="replay")
app.add_typer(report_app, name="report")
app.command("sql")(sql)
app.command("tables")(tables)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ptpool {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the stage."""


_INTERRUPTED = "interrupted; nothing half-written was kept"
_PATIENCE_S = 3.0
_interrupts: list[int] = []


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 does not hold, 2 unusable input or arguments.

    An interrupt ends with 130, whichever exception the interrupted library raises.
    """
    try:
        status = app(list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        return _refuse(f"{error.format_message()}\nptpool --help lists commands and options")
    except typer.Exit as stop:
        status = stop.exit_code
    except SystemExit:  # typer raises it for a closed pipe: the reader has stopped, which is no failure of ours
        status = 0
    except MemoryError as error:
        return _refuse(f"not enough memory: {error}\nreplay a smaller machine, or fewer at a time with --jobs 1")
    except PermissionError as error:
        return _refuse(f"{error.filename}: permission denied\nread it as its owner, or copy it")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _refuse("the output cannot be written: no space left on the device")
    except BaseException:
        if not _interrupts:
            raise
    if _interrupts:
        return _refuse(_INTERRUPTED, status=128 + _interrupts[0])
    return status if isinstance(status, int) else 0


def _watch_interrupts() -> None:
    """Note every Ctrl-C and SIGTERM; if a library swallows it, end the process a few seconds later.

    The database undoes uncommitted transactions when it is next opened.
    """

    def note(number: int, _frame: object) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    def insist() -> None:
        os.read(reader, 1)
        time.sleep(_PATIENCE_S)
        _refuse(_INTERRUPTED)
        os._exit(128 + (_interrupts or [signal.SIGINT])[0])

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=insist, daemon=True).start()


def _refuse(message: str, status: int = 2) -> int:
    lines = [line for line in message.splitlines() if line.strip()][:3]
    tell("ptpool: " + "\n  ".join(lines))
    return status


def main() -> None:
    """Entry point of the installed command."""
    while (spare := os.open(os.devnull, os.O_RDWR)) < 3:  # one that is closed would become the next file opened
        pass
    os.close(spare)
    sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    _watch_interrupts()
    sys.exit(run())
