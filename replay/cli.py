"""Commands of the replay stage."""

from enum import StrEnum
from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say, say_rows
from replay.calibrate.cli import calibrate
from replay.check.cli import check
from replay.contention.cli import contention
from replay.contract.settings import Setting, settings_of
from replay.risk.cli import exhaust, risk
from replay.sweep.cli import sweep
from replay.validate.cli import validate


class Mode(StrEnum):
    """Who decides where an allocation goes."""

    policy = "policy"
    placement = "placement"


class Frees(StrEnum):
    """When page tables are freed."""

    recorded = "recorded"
    delayed = "delayed"


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Replay captures through strategies.")


@app.command("run")
def run(
    capture: Annotated[str, typer.Option(help="A capture by name, several joined by commas, or all.")] = "all",
    strategy: Annotated[str, typer.Option(help="A strategy, several joined by commas, or all.")] = "all",
    setting: Setting = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**63 - 1,
            help="Seed of what no snapshot tells: the order of free lists as far as the recording does not show it, "
            "and addresses where only numbers of free blocks are known. Part of a run's identity.",
        ),
    ] = 0,
    machine: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help="The machine to replay on: recorded, a size such as 8G (new, only the kernel in use), or an aged "
            "one: phone-2g, laptop-16g, server-64g, server-1t. What is in use there is drawn by --seed.",
        ),
    ] = "recorded",
    mode: Annotated[
        Mode,
        typer.Option(
            help="policy: the simulated page allocator places everything, which is what strategies are judged by; "
            "placement: every event at its recorded place, what was (unprotected on the recorded machine only)."
        ),
    ] = Mode.policy,
    reclaim: Annotated[
        str,
        typer.Option(
            metavar="VARIANT",
            help="What direct reclaim, kswapd and compaction can free: none (only what a strategy's shrinker gives "
            "back), moderate, or optimistic (every movable page). Conclusions should not depend on it.",
        ),
    ] = "none",
    copies: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="How many times over the recorded processes run at once, each with memory of its own; when the others "
            "start is drawn by --seed.",
        ),
    ] = 1,
    costs: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help="What operations take: built-in, or a TOML file with the names of replay/profiles/costs.toml (those "
            "it leaves out are as built in). Waiting and latencies depend on it; part of a run's identity.",
        ),
    ] = "built-in",
    inject: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            min=0,
            max=1e6,
            help="Permission changes by others (of 1 page to 4 MiB) put in, a second of simulated time on average; "
            "drawn by --seed.",
        ),
    ] = 0,
    rcu: Annotated[
        Frees,
        typer.Option(
            help="When page tables are freed: as recorded; or delayed: in bursts after an RCU grace period, as x86 "
            "does since 6.15 and arm64 always."
        ),
    ] = Frees.recorded,
    jobs: Annotated[int | None, typer.Option(min=1, help="Replays at a time (default: one per CPU).")] = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Replay captures through strategies; runs that are in the warehouse already are kept.

    Exit status 1: a strategy failed; the others finished and are kept.

    Example: ptpool replay run --capture server-16g --strategy pba,reserve-block --set pba.reserve=8
    """
    import os

    from ptpool.progress import progress
    from ptpool.warehouse import capture_names, capture_row, open_warehouse
    from replay.contract.registry import configure, find, incomplete
    from replay.machine.reclaim import variant_of
    from replay.profiles.costs import cost_profile
    from replay.start.other_machine import profile_of

    entries = find(strategy.split(","))
    settings = settings_of(setting or [], {entry.name for entry in entries})
    profile_of(machine)
    variant_of(reclaim)
    prices = cost_profile(costs)
    chosen = ([entry.name for entry in entries], machine, reclaim, copies, costs, inject, rcu)
    if mode is Mode.placement and chosen != (["unprotected"], "recorded", "none", 1, "built-in", 0, Frees.recorded):
        raise UsageError(
            "--mode placement: it reconstructs what was, so no other strategy and no other machine can be replayed",
            "add --strategy unprotected, and leave --machine, --reclaim, --copies, --costs, --inject and --rcu out",
        )
    configured = [(entry, configure(entry, settings.get(entry.name, {}))) for entry in entries]
    with open_warehouse(db, write=True, create=False) as connection:
        from ptpool.compiled import announce_compiling
        from replay.runs.missing import replay_all
        from replay.runs.wanted import Wanted

        names = capture_names(connection) if capture == "all" else capture.split(",")
        if not names:
            raise UsageError(f"{db}: no capture to replay", "import a trace first: ptpool ingest trace FILE")
        captures = [capture_row(connection, name) for name in names]
        wanted = [
            Wanted(row, entry, configuration, seed, machine, mode.value, reclaim, copies, prices, inject, rcu.value)
            for row in captures
            for entry, configuration in configured
        ]
        workers = jobs or os.cpu_count() or 1
        note(
            f"{len(wanted)} runs of {len(captures)} captures on the machine {machine}, {workers} at a time", quiet=quiet
        )
        announce_compiling("replay", quiet=quiet)
        with progress("replay", len(wanted), quiet=quiet, unit="runs") as meter:
            done, failed = replay_all(connection, wanted, workers, lambda n: meter(n, f"{n} of {len(wanted)} runs"))
    columns = ["capture", "strategy", "run_id", "events", "wall_s", "events_per_s", "incidents", "new"]
    rows = [
        (
            item.wanted.capture["name"],
            item.wanted.entry.name,
            item.wanted.run_id,
            item.events,
            round(item.wall_s, 3),
            round(item.events / item.wall_s) if item.wall_s else 0,
            item.incidents,
            item.fresh,
        )
        for item in done
    ]
    say_rows(columns, rows, as_json=as_json)
    for run_failed in failed:
        note(f"ptpool: {run_failed.wanted.capture['name']}, {run_failed.wanted.entry.name}: {run_failed.reason}")
    if failed or incomplete(strategy.split(",")):
        raise typer.Exit(1)


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
    from replay.contract.registry import find, parameters, shown

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
        say(f"  {row['name']} = {shown(row['default'])}   [{row['rule']}] {row['meaning']}")


app.command("validate")(validate)
app.command("check")(check)
app.command("risk")(risk)
app.command("exhaust")(exhaust)
app.command("contention")(contention)
app.command("sweep")(sweep)
app.command("calibrate")(calibrate)
