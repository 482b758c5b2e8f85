"""Commands of the replay stage."""

from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Common, Json, grouped, note, say, say_rows
from ptpool.run_settings import RunSettings
from replay.calibrate.cli import calibrate
from replay.check.cli import check
from replay.contention.cli import contention
from replay.contract.set_option import Setting, settings_of
from replay.risk.cli import risk
from replay.sweep.cli import sweep
from replay.validate.cli import validate

if TYPE_CHECKING:
    from replay.runs.replay_all import Failed

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Replay captures through strategies.")


@app.command("run")
@grouped(settings=RunSettings, common=Common)
def run(
    capture: Annotated[str, typer.Option(help="A capture by name, several joined by commas, or all.")] = "all",
    strategy: Annotated[str, typer.Option(help="A strategy, several joined by commas, or all.")] = "all",
    setting: Setting = None,
    *,
    settings: RunSettings,
    jobs: Annotated[int | None, typer.Option(min=1, help="Replays at a time (default: one per CPU).")] = None,
    common: Common,
) -> None:
    """Replay captures through strategies; runs that are in the warehouse already are kept.

    Exit status 1: a strategy failed, or does not fit a machine; the others finished and are kept.

    Example: ptpool replay run --capture server-16g --strategy pba,reserve-block --set pba.reserve=8
    """
    import os

    from ptpool.progress import progress
    from ptpool.warehouse import capture_names, capture_row, open_warehouse
    from replay.contract.registry import configure, find, incomplete
    from replay.runs.run import Run, checked

    entries = find(strategy.split(","))
    parameters = settings_of(setting or [], {entry.name for entry in entries})
    configured = [(entry, configure(entry, parameters.get(entry.name, {}))) for entry in entries]
    settings, costs = checked(settings)
    with open_warehouse(common.db) as connection:
        names = capture_names(connection) if capture == "all" else capture.split(",")
        if not names:
            raise UsageError(f"{common.db}: no capture to replay", "import a trace first: ptpool ingest trace FILE")
        captures = [capture_row(connection, name) for name in names]
    from ptpool.compiled import announce_compiling
    from replay.runs.replay_all import replay_all

    runs = [Run(row, *each, settings, costs) for row in captures for each in configured]
    workers = jobs or os.cpu_count() or 1
    on = f"on the machine {settings.machine}, {workers} at a time"
    note(f"{len(runs)} runs of {len(captures)} captures {on}", quiet=common.quiet)
    announce_compiling("replay", quiet=common.quiet)
    with progress("replay", len(runs), quiet=common.quiet, unit="runs") as meter:
        done, failed = replay_all(
            common.db, runs, workers,
            lambda come, ended: meter(come, f"{ended} of {len(runs)} runs"),
            lambda text: note(text, quiet=common.quiet),
        )  # fmt: skip
    columns = ["capture", "strategy", "run_id", "events", "wall_s", "events_per_s", "incidents", "new"]
    rows = [
        (
            item.run.capture["name"],
            item.run.entry.name,
            item.run.run_id,
            item.events,
            round(item.wall_s, 3),
            round(item.events / item.wall_s) if item.wall_s else 0,
            item.incidents,
            item.fresh,
        )
        for item in done
    ]
    if len(failed) == len(runs) == 1 and failed[0].refused:
        raise UsageError(_what(failed[0]), "take a larger machine (--machine), or another strategy")
    say_rows(columns, rows, as_json=common.as_json)
    if done:
        note(
            "events: of the recording without failed allocations and tables of the recorded kernel's own splits, and "
            "with the allocations that frees of unknown pages imply",
            quiet=common.quiet,
        )
    for run_failed in failed:
        note(f"ptpool: {_what(run_failed)}")
    if refused := sum(run_failed.refused for run_failed in failed):
        note(f"ptpool: {refused} of {len(runs)} runs refused")
    if failed or incomplete(strategy.split(",")):
        raise typer.Exit(1)


def _what(failed: "Failed") -> str:
    return f"{failed.run.capture['name']}, {failed.run.entry.name}: {failed.reason}"


@app.command("list")
def list_strategies(as_json: Json = False) -> None:
    """List the strategies.

    Example: ptpool replay list
    """
    from replay.contract.registry import find

    rows = [(entry.name, entry.title) for entry in find(["all"])]
    say_rows(["strategy", "what it is"], rows, as_json=as_json)


@app.command("describe")
def describe(
    name: Annotated[str, typer.Argument(metavar="STRATEGY", help="A strategy's name; all with --markdown.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page of Markdown: docs/strategies.md.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what a strategy does, rule by rule, and what its parameters are.

    Example: ptpool replay describe reserve-block
    """
    import inspect
    import json

    from replay.contract.document import page
    from replay.contract.registry import default_of, find, parameters

    if markdown:
        say(page(find([name])).rstrip())
        return
    if name == "all":
        raise UsageError("replay describe takes one strategy", "all of them: ptpool replay describe all --markdown")
    (entry,) = find([name])
    rows = parameters(entry)
    rules = inspect.getdoc(entry.factory) or ""
    if as_json:
        described = {
            "strategy": entry.name,
            "title": entry.title,
            "source": entry.source,
            "rules": rules,
            "parameters": rows,
        }
        say(json.dumps(described, indent=2))
        return
    say(
        f"{entry.name}: {entry.title}\n\nSource: {entry.source}\n\n{rules}\n\n"
        f"Parameters (--set {entry.name}.NAME=VALUE)"
    )
    for row in rows:
        say(f"  {row['name']} = {default_of(row)}   [{row['rule']}] {row['meaning']}")


app.command("validate")(validate)
app.command("check")(check)
app.command("risk")(risk)
app.command("contention")(contention)
app.command("sweep")(sweep)
app.command("calibrate")(calibrate)
