"""Commands of the reports stage."""

from pathlib import Path
from typing import Annotated

import typer

from ptpool.options import DEFAULT_DB, Common, Db, Json, Quiet, grouped, note, say

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write reports on what the warehouse holds: HTML and Markdown with figures, or plain text for a mail.",
)

Capture = Annotated[str, typer.Option("--capture", metavar="NAME", help="A capture, or all.")]


@app.command()
@grouped(common=Common)
def build(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the report.")] = Path("report"),
    capture: Capture = "all",
    *,
    common: Common,
) -> None:
    """Write one page per capture and an index: HTML for any browser, Markdown, figures (SVG and PNG), and the CSV.

    Example: ptpool report build --out report
    """
    import json

    from ptpool.progress import progress
    from ptpool.warehouse import open_warehouse
    from reports.build import build as build_report
    from reports.build import replayed

    with open_warehouse(common.db) as connection:
        pages = len(replayed(connection, capture))
        with progress("report", pages, quiet=common.quiet, unit="pages") as tell:
            files = build_report(connection, out, capture, tell)
    if common.as_json:
        say(json.dumps([path.as_posix() for path in files], indent=2))
    else:
        say((out / "index.html").as_posix())
        note(f"{len(files)} files", quiet=common.quiet)


@app.command()
def text(capture: Capture = "all", db: Db = DEFAULT_DB, quiet: Quiet = False, as_json: Json = False) -> None:  # noqa: ARG001
    """Print the report as plain text of at most 76 columns, to paste into a mail.

    Example: ptpool report text --capture server-16g
    """
    import json

    from ptpool.warehouse import open_warehouse
    from reports.build import replayed
    from reports.mail import mail

    with open_warehouse(db) as connection:
        mails = {name: mail(connection, name) for name in replayed(connection, capture)}
    if as_json:
        say(json.dumps([{"capture": name, "text": body} for name, body in mails.items()], indent=2))
    else:
        say("\n\n".join(mails.values()).rstrip("\n"))


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Warehouse from before the change.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Warehouse from after the change.")],
    capture: Capture = "all",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two warehouses, from before and after a change of a strategy, its parameters or ptpool.

    Runs are paired by recording, strategy, machine and seed. With several seeds, each difference has an interval and
    the p of a sign test. With one seed, a replay is deterministic and the plain difference is shown.

    Exit status 1: something differs.

    Example: ptpool report compare before.duckdb after.duckdb --capture server-16g
    """
    import json
    from dataclasses import asdict

    from reports.compare import compare_warehouses
    from reports.compare_text import compared_text

    comparison = compare_warehouses(before, after, capture)
    say(json.dumps(asdict(comparison), indent=2) if as_json else compared_text(comparison, markdown=markdown))
    raise typer.Exit(1 if comparison.differences else 0)
