"""The command ``replay contention``."""

from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import Common, grouped, note, say_rows


@grouped(common=Common)
def contention(
    capture: Annotated[str, typer.Option(help="A capture by name, several joined by commas, or all.")] = "all",
    rate: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e7,
            metavar="TABLES",
            help="Page tables per second that a busy CPU asks for (default: the busiest 10 ms of one CPU if the "
            "recording's clock is real, otherwise a CPU that only forks).",
        ),
    ] = None,
    costs: Annotated[
        str,
        typer.Option(metavar="PROFILE", help="How long operations take: built-in, or a TOML file as for replay run."),
    ] = "built-in",
    *,
    common: Common,
) -> None:
    """Simulate 2 to 256 CPUs that take page tables from one pool: what its locks cost, and what per-CPU lists save.

    Each CPU runs one task in a closed loop: it thinks, takes a page table off the list under its lock, and refills as
    the strategy decides. Every table stays in use, so every table has to come from a refill. The grid covers key
    changes of 100 ns to 1 ms, with and without free 2M blocks, and goes into table contention. The command prints the
    smallest simulated number of CPUs from which on waiting for locks takes more than 5 % of page-table allocation time
    (view contention_limit), and the memory held unused.

    Example: ptpool replay contention --capture server-16g --rate 50000
    """
    from ptpool.progress import progress
    from ptpool.warehouse import capture_names, capture_row, open_warehouse
    from replay.contention import grid
    from replay.profiles.costs import cost_profile

    profile = cost_profile(costs)
    with open_warehouse(common.db, write=True, create=False) as connection:
        names = capture_names(connection) if capture == "all" else capture.split(",")
        if not names:
            raise UsageError(f"{common.db}: no capture", "import a trace first: ptpool ingest trace FILE")
        captures = [capture_row(connection, name) for name in names]
        note(f"{grid.TOTAL} simulations for each different demand of the captures", quiet=common.quiet)
        with progress("contention", grid.TOTAL * len(captures), quiet=common.quiet, unit="simulations") as meter:
            grid.contention(connection, captures, profile, rate, lambda n: meter(n, f"{n} simulations"))
        cursor = connection.execute(
            """SELECT capture, strategy, variant, refills_of, round(tables_per_s) AS tables_per_s, cpus_at_1_us,
                      cpus_at_10_us, cpus_at_100_us, held_by_16_bytes, held_by_64_bytes, held_by_256_bytes
               FROM contention_limit WHERE list_contains(?, capture)
               ORDER BY capture, free_order DESC, variant LIKE '%percpu%', variant""",
            [names],
        )
        columns, rows = [name for name, *_ in cursor.description], cursor.fetchall()
    say_rows(columns, rows, as_json=common.as_json)
