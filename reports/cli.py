"""Commands of the reports stage."""

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="reports")


@app.callback()
def stage() -> None:
    """Stage reports."""
