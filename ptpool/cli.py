"""The root command: the only file that knows all stages."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ingest.cli import app as ingest_app
from ptpool import __version__
from ptpool.errors import UsageError
from ptpool.sql import sql
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


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 does not hold, 2 unusable input or arguments."""
    try:
        status = app(list(arguments) if arguments is not None else None, standalone_mode=False)
    except UsageError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        return _refuse(f"{error.format_message()}\nptpool --help lists commands and options")
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _refuse("interrupted; nothing half-written was kept", status=130)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return status if isinstance(status, int) else 0


def _refuse(message: str, status: int = 2) -> int:
    lines = [line for line in message.splitlines() if line.strip()][:3]
    sys.stderr.write("ptpool: " + "\n  ".join(lines) + "\n")
    return status


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(run())
