"""The registry of strategies: found by name, set from text, and named again from their parameters."""

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from ptpool.errors import UsageError, named
from replay.contract.strategy import Strategy, parameters_json


@dataclass(frozen=True)
class Entry:
    """A strategy as it is listed."""

    name: str
    title: str
    source: str
    factory: type[Strategy]


_REGISTRY: dict[str, Entry] = {}
S = TypeVar("S", bound=type[Strategy])


def strategy(name: str, *, title: str, source: str) -> Callable[[S], S]:
    """Register a strategy; the class's docstring is what ``replay describe`` prints."""

    def register(cls: S) -> S:
        _REGISTRY[name] = Entry(name, title, source, cls)
        return cls

    return register


@cache
def strategies() -> dict[str, Entry]:
    """All strategies by name: every module of ``replay.strategies``."""
    package = importlib.import_module("replay.strategies")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def find(names: Iterable[str]) -> list[Entry]:
    """The strategies named; ``all`` names all of them.

    Raises:
        UsageError: one is unknown.
    """
    known = strategies()
    wanted: list[Entry] = []
    for name in names:
        if name == "all":
            wanted.extend(known.values())
        elif name in known:
            wanted.append(known[name])
        else:
            raise UsageError(f"no strategy named {name}", named(name, list(known)))
    return list(dict.fromkeys(wanted))


def parameters(entry: Entry) -> list[dict[str, Any]]:
    """Name, type, default, meaning and rule of each parameter, the strategy's own first."""
    fields = dataclasses.fields(entry.factory)
    common = {field.name for field in dataclasses.fields(Strategy)}
    own = [field for field in fields if field.name not in common]
    return [
        {"name": field.name, "default": field.default, **field.metadata}
        for field in own + [field for field in fields if field.name in common]
    ]


def changed_parameters(name: str, params: str) -> dict[str, Any]:
    """The parameters that differ from the strategy's defaults, by name; all of them when no strategy has this name.

    Args:
        name: of a strategy.
        params: all its parameters as JSON.
    """
    entry = strategies().get(name)
    defaults = json.loads(parameters_json(entry.factory())) if entry else {}
    given = json.loads(params)
    return {key: given[key] for key in sorted(given) if key not in defaults or defaults[key] != given[key]}


def label(name: str, params: str) -> str:
    """A strategy's name and the parameters that differ from its defaults: ``pba refill_orders=9+4 reserve=8``."""
    return " ".join([name, *(f"{key}={shown(value)}" for key, value in changed_parameters(name, params).items())])


def shown(value: Any) -> str:
    """A parameter's value as ``--set`` takes it."""
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def configure(entry: Entry, settings: dict[str, str]) -> Strategy:
    """The strategy with parameters set from text.

    Raises:
        UsageError: an unknown parameter, or a value of the wrong type.
    """
    known = {parameter["name"]: parameter["default"] for parameter in parameters(entry)}
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in known:
            raise UsageError(f"{entry.name} has no parameter {name}", f"it has: {', '.join(known)}")
        values[name] = _parse(f"{entry.name}.{name}", text, known[name])
    try:
        return entry.factory(**values)
    except ValueError as error:
        raise UsageError(
            f"{entry.name}: {error}", f"ptpool replay describe {entry.name} tells what its parameters mean"
        ) from error


def _parse(name: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(int(part) for part in text.split("+"))
        return type(default)(text)
    except (KeyError, ValueError):
        shape = "9+4+2" if isinstance(default, tuple) else type(default).__name__
        raise UsageError(
            f"{name}={text}: not a value of this parameter", f"it takes the form {shape}; its default is {default}"
        ) from None
