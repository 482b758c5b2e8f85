"""``ptpool replay check``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Json, Quiet, note, say
from replay.contract.set_option import Setting, settings_of


def check(
    strategy: Annotated[
        list[str] | None, typer.Argument(metavar="[STRATEGY]...", help="Strategies by name (default: all).")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, max=4, help="Search with this many tasks (default: with 1 and with 2).")
    ] = None,
    depth: Annotated[
        int, typer.Option(min=1, max=1000, help="Steps searched; one is an event or an action of a decision.")
    ] = 14,
    setting: Setting = None,
    named: Annotated[
        str, typer.Option("--strategy", help="A strategy, several joined by commas, or all: as the argument.")
    ] = "",
    db: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="PTPOOL_DB",
            help="Keep what is found in this warehouse, for the report; what it holds is not searched again.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search a small machine exhaustively for the shortest sequence of events that breaks a strategy.

    An adversary chooses what happens next: whether the page allocator has a block and under which leaf it lies, which
    task goes on, when the shrinker is entered, and how many tables others need. The search looks for a split without a
    keyed table, a table used without its key, a deadlock, and a page lost or in two places. It knows single-page tables
    only.

    Exit status 1: a strategy breaks, or its file cannot be imported.

    Example: ptpool replay check reserve-block pba --cpus 2 --set reserve-block.mutex=false
    """
    from ptpool.progress import progress
    from replay.check import searches
    from replay.check.store import Kept
    from replay.contract.registry import find, incomplete

    strategy = [*(strategy or []), *(named.split(",") if named else [])]
    entries = [entry for entry in find(strategy or ["all"]) if not entry.factory.bound]
    if not entries:
        raise UsageError("replay check: a bound cannot break", "name other strategies (ptpool replay list)")
    settings = settings_of(setting or [], {entry.name for entry in entries})
    strategies = [(entry.name, searches.toy_strategy(entry, settings.get(entry.name, {}))) for entry in entries]
    tasks = [cpus] if cpus else [1, 2]
    numbers = " and ".join(map(str, tasks))
    note(f"{len(entries)} strategies, {numbers} tasks, up to {depth} steps, blocks of 8 pages", quiet=quiet)
    usual = [searches.toy_strategy(entry, {}) for entry in entries]
    kept = Kept(db, {name for (name, chosen), default in zip(strategies, usual, strict=True) if chosen != default})
    total = len(entries) * len(searches.scenarios(tasks))
    with progress("check", total, quiet=quiet, unit="searches") as meter:
        found = searches.check(strategies, tasks, depth, lambda n: meter(n, f"{n} of {total} searches"), kept.verdict)
    kept.write(strategies, found)
    if as_json:
        rows = [
            {
                "strategy": item.strategy,
                "tasks": item.verdict.scenario.tasks,
                "outside_tables": item.verdict.scenario.outside,
                "holds": not item.verdict.kind,
                "complete": item.verdict.complete,
                "depth": item.verdict.depth,
                "states": item.verdict.states,
                "kind": item.verdict.kind or None,
                "steps": item.verdict.steps,
            }
            for items in found
            for item in items
        ]
        say(json.dumps(rows, indent=2))
    else:
        say("\n\n".join("\n".join(searches.lines(items)) for items in found))
    if any(item.verdict.kind for items in found for item in items) or incomplete(strategy or ["all"]):
        raise typer.Exit(1)
