"""Commands of the replay stage."""

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="replay")


@app.callback()
def stage() -> None:
    """Stage replay."""
