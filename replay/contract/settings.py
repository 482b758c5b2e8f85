"""Options of commands that replay: the settings of a run, and ``--set STRATEGY.PARAM=VALUE``."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, cast

import typer

from ptpool.errors import UsageError
from ptpool.run_settings import FIELDS, RunSettings

Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STRATEGY.PARAM=VALUE", help="Set a parameter; may be given several times."),
]


_BY_NAME = inspect.Parameter.KEYWORD_ONLY


def with_run_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting of a run; it receives them as `settings`."""
    options = []
    for field in FIELDS:
        more, annotated = field.metadata, cast(Any, Annotated)
        option = typer.Option(
            metavar=more.get("metavar"), min=more.get("least"), max=more.get("most"), help=more["help"]
        )
        kind = annotated[type(field.default), option]
        options.append(inspect.Parameter(field.name, _BY_NAME, default=field.default, annotation=kind))
    signature = inspect.signature(command, eval_str=True)
    own = [each.replace(kind=_BY_NAME) for name, each in signature.parameters.items()]
    place = list(signature.parameters).index("settings")

    @wraps(command)
    def with_options(**values: Any) -> None:
        settings = RunSettings(**{field.name: values.pop(field.name) for field in FIELDS})
        command(**values, settings=settings)

    parameters = [*own[:place], *options, *own[place + 1 :]]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


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
