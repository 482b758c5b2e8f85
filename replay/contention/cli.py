"""The command ``replay contention``."""

from typing import Annotated

import typer

from ptpool.errors import UsageError
from ptpool.options import DEFAULT_DB, Db, Json, Quiet, note, say_rows


def contention(
    capture: Annotated[str, typer.Option(help="A capture by name, several joined by commas, or all.")] = "all",
    rate: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e7,
            metavar="TABLES",
            help="Page tables that a busy CPU asks for in a second (default: the busiest 10 ms of one CPU where the "
            "recording's clock is real, otherwise a CPU that does nothing but fork).",
        ),
    ] = None,
    costs: Annotated[
        str, typer.Option(metavar="PROFILE", help="What operations take: built-in, or a TOML file as for replay run.")
    ] = "built-in",
    db: Db = DEFAULT_DB,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Simulate 2 to 256 CPUs that fill their page tables from one pool: where locks cost, and what lists per CPU save.

    A closed loop: each CPU's task thinks, takes a page table off the list under its lock, and refills as the strategy's
    own decision says; every table stays in use, so every refill has to be paid. For key changes of 100 ns to 1 ms, with
    and without free 2M blocks. Into table contention of the warehouse; what is printed is the least number of CPUs at
    which waiting for locks is more than 5 % of page-table allocation time.

    Example: ptpool replay contention --capture server-16g --rate 50000
    """
    from ptpool.progress import progress
    from ptpool.warehouse import capture_names, capture_row, open_warehouse
    from replay.contention import grid
    from replay.profiles.costs import cost_profile

    profile = cost_profile(costs)
    with open_warehouse(db, write=True, create=False) as connection:
        names = capture_names(connection) if capture == "all" else capture.split(",")
        if not names:
            raise UsageError(f"{db}: no capture", "import a trace first: ptpool ingest trace FILE")
        captures = [capture_row(connection, name) for name in names]
        note(f"{grid.TOTAL} simulations for each demand that the captures have", quiet=quiet)
        with progress("contention", grid.TOTAL * len(captures), quiet=quiet, unit="simulations") as meter:
            grid.contention(connection, captures, profile, rate, lambda n: meter(n, f"{n} simulations"))
        found = connection.execute(
            """SELECT capture.name AS capture, strategy, params::VARCHAR, if(free_order = 9, '2M', 'four pages'),
                      round(tables_per_s) AS tables_per_s,
                      min(contention.cpus) FILTER (lock_wait_share > 0.05 AND change_ns = 1000),
                      min(contention.cpus) FILTER (lock_wait_share > 0.05 AND change_ns = 10000),
                      min(contention.cpus) FILTER (lock_wait_share > 0.05 AND change_ns = 100000)
               FROM contention JOIN capture USING (capture_id) WHERE list_contains(?, capture.name)
               GROUP BY capture.name, strategy, params::VARCHAR, free_order, contention.tables_per_s
               ORDER BY capture.name, free_order DESC, strategy, params::VARCHAR""",
            [names],
        ).fetchall()
    columns = ["capture", "strategy", "variant", "refills_of", "tables_per_s"]
    columns += [f"cpus_at_{us}_us" for us in (1, 10, 100)]
    rows = [(name, strategy, grid.variant(strategy, params), *rest) for name, strategy, params, *rest in found]
    say_rows(columns, rows, as_json=as_json)
