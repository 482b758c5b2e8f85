"""``--set STRATEGY.PARAM=VALUE``."""

from typing import Annotated

import typer

from ptpool.errors import UsageError

Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STRATEGY.PARAM=VALUE", help="Set a parameter; may be given several times."),
]


def settings_of(texts: list[str], known: set[str]) -> dict[str, dict[str, str]]:
    """Values by strategy and parameter.

    Raises:
        UsageError: one is of another form, or names a strategy that is not among those known.
    """
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        name, dot, parameter = target.partition(".")
        if not (equals and dot and name and parameter):
            raise UsageError(f"--set {text}: not STRATEGY.PARAM=VALUE", "example: --set reserve-block.reserve=4")
        if name not in known:
            remedy = f"those are: {', '.join(sorted(known))}"
            raise UsageError(f"--set {text}: {name} is not among the strategies to run", remedy)
        settings.setdefault(name, {})[parameter] = value
    return settings


def checked(option: str, text: str, known: list[str]) -> list[str]:
    """The names in an option's value, joined by commas; all of them for `all`.

    Raises:
        UsageError: one is unknown.
    """
    names = known if text == "all" else list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {name}: unknown", f"choose from: {', '.join(known)}, all")
    return names
