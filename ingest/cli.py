"""Commands of the ingest stage."""

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="ingest")


@app.callback()
def stage() -> None:
    """Stage ingest."""
