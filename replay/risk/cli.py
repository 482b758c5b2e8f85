"""``ptpool replay risk`` and ``ptpool replay exhaust``."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say, say_rows
from replay.contract.settings import Setting, settings_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from replay.contract.strategy import Strategy

LEFT_OUT = ("ctor-naive",)
"""Not meant where all strategies are: it shows the recursion, on any machine, and takes long to do so."""

Capture = Annotated[str, typer.Option(help="A capture by name.")]
Strategies = Annotated[
    str, typer.Option(help="A strategy, several joined by commas, or all (but bounds and ctor-naive).")
]
Machine = Annotated[str, typer.Option(metavar="PROFILE", help="The machine, as for replay run; drawn by seed.")]
Variants = Annotated[
    str, typer.Option(metavar="VARIANT", help="Variants of reclaim, joined by commas, or all: see replay run.")
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes (default: one per CPU).")]


def risk(
    capture: Capture,
    strategy: Strategies = "all",
    setting: Setting = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Machines to draw, of each kind.")] = 8,
    machine: Machine = "recorded",
    fragmentation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How the free memory lies: fresh, moderate, severe, or as-recorded by the capture's own snapshot; "
            "several joined by commas, or all (but as-recorded).",
        ),
    ] = "fresh,severe",
    reclaim: Variants = "all",
    orders: Annotated[
        bool, typer.Option(help="Also a pool that refills with order 0, 2 or 9 only: full-reserve three times.")
    ] = True,
    jobs: Jobs = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find out at which headroom strategies run out of memory, each beside unprotected on the same machines.

    The memory of the machine is filled anew before the first event, by seed, until little is left. For each machine,
    a search over headroom finds where failures begin: usable memory over the recording's own peak net demand. A
    failure is an OOM kill, a page table that is not supplied, or NULL to a request that relies on being served.
    Printed for each strategy: the median of the least headroom at which it does not fail, with its 95 % interval.

    Example: ptpool replay risk --capture sharedmem-frag-1g --strategy pba,reserve-block --seeds 12
    """
    from replay.contract.settings import checked
    from replay.start.pressed_machine import AS_RECORDED, fragmentations

    entries, variants = _chosen(strategy, setting, machine, reclaim)
    drawn = list(fragmentations())
    kinds = drawn if fragmentation == "all" else checked("--fragmentation", fragmentation, [*drawn, AS_RECORDED])
    names, strategies = _with_orders(entries) if orders else ([name for name, _ in entries], [s for _, s in entries])
    total, workers = len(variants) * len(kinds) * seeds, _workers(jobs)
    with _studied(db, capture, "risk", total, quiet=quiet) as (connection, row, on_done):
        from replay.risk.report import risk_rows
        from replay.risk.study import study

        note(
            f"{len(strategies)} strategies on {total} machines: {seeds} seeds, fragmentation {', '.join(kinds)}, "
            f"reclaim {', '.join(variants)}; {workers} at a time",
            quiet=quiet,
        )
        failed = study(connection, row, machine, (names, strategies), (variants, kinds, seeds), workers, on_done)
        columns, rows, sentences = risk_rows(connection, row["capture_id"], machine)
    _tell(columns, rows, sentences, failed, as_json=as_json)


def exhaust(
    capture: Capture,
    strategy: Strategies = "all",
    setting: Setting = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Draws of when copies start.")] = 3,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Copies to try at most.")] = 64,
    machine: Machine = "recorded",
    reclaim: Variants = "none,moderate",
    jobs: Jobs = None,
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Raise the number of copies of the recorded processes until each strategy fails, and tell when it does.

    Seeds draw when the copies start; the machine is the same for all. A failure is what it is for replay risk. Printed
    for each strategy: the least number of copies with which it fails, and after how many seconds; beside that, when it
    fails with as many copies as make unprotected fail. No strategy is tried with more than twice as many copies as make
    unprotected fail. That more copies never help is an assumption; runs that contradict it are counted. Takes two to
    ten runs a strategy, of the recording times the copies: docs/load.md says how long. Reclaim optimistic takes
    longest, since nearly everything can be reclaimed.

    Example: ptpool replay exhaust --capture sharedmem-frag-1g --reclaim moderate
    """
    entries, variants = _chosen(strategy, setting, machine, reclaim)
    names, strategies = [name for name, _ in entries], [configured for _, configured in entries]
    workers = _workers(jobs)
    with _studied(db, capture, "exhaust", len(variants) * seeds, quiet=quiet) as (connection, row, on_done):
        from replay.risk.report import exhaustion_rows
        from replay.risk.study import study_copies

        note(
            f"{len(strategies)} strategies, {seeds} draws of when copies start, reclaim {', '.join(variants)}, up to "
            f"{most} copies; {workers} draws at a time",
            quiet=quiet,
        )
        failed = study_copies(connection, row, machine, (names, strategies), (variants, seeds, most), workers, on_done)
        columns, rows, sentences = exhaustion_rows(connection, row["capture_id"], machine)
    _tell(columns, rows, sentences, failed, as_json=as_json)


def _chosen(
    strategy: str, setting: list[str] | None, machine: str, reclaim: str
) -> tuple[list[tuple[str, "Strategy"]], list[str]]:
    """The strategies with their parameters, `unprotected` first, and the variants of reclaim."""
    from replay.contract.registry import configure, find
    from replay.contract.settings import checked
    from replay.machine.reclaim import variants
    from replay.start.other_machine import profile_of

    named = strategy.split(",")
    entries = [
        entry for entry in find(named) if "all" not in named or entry.name in named or entry.name not in LEFT_OUT
    ]
    for entry in entries:
        if entry.factory.bound and entry.name in named:
            raise UsageError(f"--strategy {entry.name}: a bound has nothing that could fail", "leave it out")
    entries = [entry for entry in entries if not entry.factory.bound]
    settings = settings_of(setting or [], {entry.name for entry in entries})
    profile_of(machine)
    (first,) = find(["unprotected"])
    ordered = [first] + [entry for entry in entries if entry is not first]
    configured = [(entry.name, configure(entry, settings.get(entry.name, {}))) for entry in ordered]
    return configured, checked("--reclaim", reclaim, list(variants()))


def _with_orders(entries: list[tuple[str, "Strategy"]]) -> tuple[list[str], list["Strategy"]]:
    """The strategies, and the same pool with refills of one order only: nothing else differs between the three.

    full-reserve, because its reserve covers every split: with another, what a refill costs would count, too. PGDs of
    two pages go past it, because a pool of single pages could not serve them.
    """
    from replay.contract.registry import configure, find

    (pool,) = find(["full-reserve"])
    single = [configure(pool, {"refill_orders": str(order), "pgd": "bypass"}) for order in (0, 2, 9)]
    every = entries + [(pool.name, each) for each in single if each not in [known for _, known in entries]]
    return [name for name, _ in every], [configured for _, configured in every]


@contextmanager
def _studied(
    db: Path, capture: str, title: str, machines: int, *, quiet: bool
) -> "Iterator[tuple[DuckDBPyConnection, dict[str, Any], Callable[[int], None]]]":
    """The warehouse open for writing, the capture's row, and what is to be told how many machines are done."""
    from ptpool.progress import progress
    from ptpool.warehouse import capture_row, open_warehouse

    with open_warehouse(db, write=True, create=False) as connection:
        from ptpool.compiled import announce_compiling

        row = capture_row(connection, capture)
        announce_compiling("replay", quiet=quiet)
        with progress(title, machines, quiet=quiet, unit="machines") as meter:
            yield connection, row, lambda done: meter(done, f"{done} of {machines} machines")


def _workers(jobs: int | None) -> int:
    return jobs or os.cpu_count() or 1


def _tell(
    columns: list[str], rows: list[tuple[Any, ...]], sentences: list[str], failed: list[str], *, as_json: bool
) -> None:
    """Print what a study has found, and what of it broke off: exit status 1."""
    say_rows(columns, rows, as_json=as_json)
    for sentence in [] if as_json else sentences:
        say(sentence)
    for reason in failed:
        note(f"ptpool: {reason}")
    if failed:
        raise typer.Exit(1)
