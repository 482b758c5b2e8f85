"""The command ``replay risk``."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Common, grouped, note, say, say_rows
from replay.contract.set_option import Setting, settings_of

if TYPE_CHECKING:
    from replay.contract.strategy import Strategy

LEFT_OUT = ("ctor-naive",)
"""Not among all strategies here: it recurses on every machine, and takes long to do so."""


@grouped(common=Common)
def risk(
    capture: Annotated[str, typer.Option(help="A capture by name.")],
    strategy: Annotated[
        str, typer.Option(help="A strategy, several joined by commas, or all (except bounds and ctor-naive).")
    ] = "pba,reserve-block,pte-mapped,buddy-reserve",
    setting: Setting = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Machines to draw of each kind [default: 6, or fewer]."),
    ] = None,
    machine: Annotated[str, typer.Option(metavar="PROFILE", help="The machine, as for replay run.")] = "recorded",
    fragmentation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How the free memory lies: a number from 0 to 1 (the kernel's unusable index at order 2), fresh, "
            "moderate, severe, or as-recorded (by the capture's own snapshot); several joined by commas "
            "[default: 0.15,0.8].",
        ),
    ] = None,
    holes: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Of what kind the pages are that free memory lies between: unmovable, movable (compaction can move "
            "them), or both joined by a comma [default: unmovable].",
        ),
    ] = None,
    reclaim: Annotated[
        str | None,
        typer.Option(
            metavar="VARIANT", help="Variants of reclaim, joined by commas, or all: see replay run [default: moderate]."
        ),
    ] = None,
    table_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of page tables in the pages that are allocated: the others of the recording are pages of users "
            "instead [default: as recorded].",
        ),
    ] = None,
    orders: Annotated[
        bool, typer.Option(help="Also run one pool (full-reserve) with refills of order 0, 2 and 9 only.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per CPU).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many machines there are and what time they take.")
    ] = False,
    *,
    common: Common,
) -> None:
    """Find the headroom at which each strategy runs out of memory, compared with unprotected on the same machines.

    Before the first event the memory of the machine is filled, by seed, until little is left. A search over headroom
    then finds where failures begin on each machine. Headroom is usable memory over the recording's own peak net
    demand. A failure is an OOM kill, a page table that is not supplied, or NULL for a request that relies on being
    served. The command prints the smallest headroom at which each strategy does not fail: the median over the seeds
    with its 95 % interval (view risk_summary).

    For a large recording, fewer machines are drawn unless --seeds, --fragmentation or --reclaim says otherwise. Every
    machine is kept as soon as it is done. After an interruption, run the same command again to make the rest.

    What the order of refills does: --strategy unprotected --orders --fragmentation 0.05,0.15,0.4,0.8.

    Example: ptpool replay risk --capture sharedmem-frag-1g --strategy pba,reserve-block --seeds 12
    """
    from ptpool.progress import progress
    from ptpool.warehouse import capture_row, open_warehouse
    from replay.contract.set_option import checked
    from replay.machine.reclaim import variants
    from replay.risk.extent import SEEDS, USUAL, seconds
    from replay.risk.extent import chosen as chosen_extent
    from replay.start.pressed_machine import HOLES

    chosen = _chosen(strategy, setting, machine, orders=orders)
    names, strategies = [name for name, _ in chosen], [configured for _, configured in chosen]
    kinds = (
        _fragmentations(fragmentation) if fragmentation else None,
        checked("--holes", holes, list(HOLES)) if holes else None,
        checked("--reclaim", reclaim, list(variants())) if reclaim else None,
    )
    workers = jobs or os.cpu_count() or 1
    with open_warehouse(common.db) as connection:
        row = capture_row(connection, capture)
    size = (len(strategies), row["events"], row["total_pages"] or 0)
    extent, fewer = chosen_extent(seeds, kinds, *size)
    total, took = extent.machines, seconds(extent, *size) / min(workers, extent.machines)
    if dry_run:
        say_rows(
            ["capture", "strategies", "machines", "seeds", "fragmentation", "holes", "reclaim", "seconds"],
            [(capture, len(strategies), total, extent.seeds, *map(",".join, extent[1:]), round(took))],
            as_json=common.as_json,
        )
        return
    from ptpool.compiled import announce_compiling
    from replay.risk.printed import risk_rows
    from replay.risk.study import About, run_study

    announce_compiling("replay", quiet=common.quiet)
    note(
        f"{len(strategies)} strategies on {total} machines: {extent.seeds} seeds, "
        f"fragmentation {', '.join(extent.fragmentations)}, holes between {' and '.join(extent.holes)} pages, "
        f"reclaim {', '.join(extent.reclaim)}; {workers} at a time, "
        f"about {max(took / 60, 1):,.0f} min",
        quiet=common.quiet,
    )
    if fewer:
        hours = seconds(USUAL, *size) / min(workers, USUAL.machines) / 3600
        note(
            f"that is less than usual, because the recording is large; all: --seeds {SEEDS}, about {hours:,.1f} h",
            quiet=common.quiet,
        )
    with progress("risk", total, quiet=common.quiet, unit="machines") as meter:
        failed = run_study(
            common.db, About(row, machine, table_share), (names, strategies), extent, workers,
            lambda done: meter(done, f"{done} of {total} machines"),
        )  # fmt: skip
    with open_warehouse(common.db) as connection:
        columns, rows, sentences = risk_rows(connection, row["capture_id"], machine)
    say_rows(columns, rows, as_json=common.as_json)
    for sentence in [] if common.as_json else sentences:
        say(sentence)
    for reason in failed:
        note(f"ptpool: {reason}")
    if failed:
        raise typer.Exit(1)


def _fragmentations(text: str) -> list[str]:
    """Names and numbers, joined by commas; `all`: those that the profile has a name for."""
    from replay.start.pressed_machine import AS_RECORDED, fragmentations

    names = [*fragmentations(), AS_RECORDED]

    def one(asked: str) -> str:
        if asked in names:
            return asked
        with suppress(ValueError):
            if 0 <= float(asked) <= 1:
                return f"{float(asked):g}"
        raise UsageError(f"--fragmentation {asked}: unknown", f"a number from 0 to 1, or one of {', '.join(names)}")

    return list(dict.fromkeys(map(one, fragmentations() if text == "all" else text.split(","))))


def _chosen(strategy: str, setting: list[str] | None, machine: str, *, orders: bool) -> list[tuple[str, "Strategy"]]:
    """The strategies with their parameters, `unprotected` first, and if wanted the pool with refills of one order."""
    from replay.contract.registry import configure, find
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
    return _with_orders(configured) if orders else configured


def _with_orders(chosen: list[tuple[str, "Strategy"]]) -> list[tuple[str, "Strategy"]]:
    """The strategies, and one pool three times, with refills of a single order: nothing else differs between them.

    The pool is full-reserve, because its reserve covers every split; with another, the cost of refills would count as
    well.
    """
    from replay.contract.registry import configure, find

    (pool,) = find(["full-reserve"])
    single = [configure(pool, {"refill_orders": str(order)}) for order in (0, 2, 9)]
    return chosen + [(pool.name, each) for each in single if each not in [known for _, known in chosen]]
