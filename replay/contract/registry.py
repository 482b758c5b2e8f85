"""The registry of strategies: finds them by name, and sets their parameters from text."""

import colorsys
import dataclasses
import importlib
import importlib.util
import linecache
import pkgutil
import random
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from ptpool.errors import UsageError, named
from ptpool.options import note
from replay.contract.strategy import Strategy

FAMILIES = ("baseline", "bound", "per table", "pool")
"""Nothing is keyed; a bound, not a strategy; the key is set for each page table; there is a pool."""
LINES = ("solid", "dashed", "dashdot", "dotted")
MARKERS = "oDs^v<>dpPhHxX*"
"""Line styles and markers of matplotlib that a strategy can have."""


@dataclass(frozen=True)
class Entry:
    """A strategy as it is listed, and how it looks in figures."""

    name: str
    title: str
    source: str
    factory: type[Strategy]
    family: str
    colour: str
    line: str
    marker: str
    toy: dict[str, Any] = field(hash=False)
    """Parameters that fit the toy machine of ``replay check``."""


_REGISTRY: dict[str, Entry] = {}
S = TypeVar("S", bound=type[Strategy])


def strategy(
    name: str,
    *,
    title: str,
    source: str,
    family: str = "",
    colour: str = "",
    line: str = "",
    marker: str = "",
    toy: dict[str, Any] | None = None,
) -> Callable[[S], S]:
    """Register a strategy; the class's docstring has its rules, which ``replay describe`` prints.

    Args:
        name: what ``--strategy`` calls it.
        title: what it is, in one line.
        source: the posting or code that it follows.
        family: one of `FAMILIES`; left out, it follows from the fast path.
        colour: ``#rrggbb``, in every figure. A look that is left out is chosen by the name.
        line: one of `LINES`.
        marker: one of `MARKERS`.
        toy: parameters that ``replay check`` needs to be smaller, since its machine has blocks of 8 pages. Orders above
            a block's become a block's by themselves.

    Raises:
        ValueError: the name is taken, or the family or a part of the look is not one of those.
    """

    def register(cls: S) -> S:
        drawn = _look(name)
        look = colour or drawn[0], line or drawn[1], marker or drawn[2]
        entry = Entry(name, title, source, cls, family or _family(cls()), *look, toy or {})
        if name in _REGISTRY:
            raise ValueError(f"{_REGISTRY[name].factory.__module__} already has a strategy {name}")
        if not re.fullmatch("#[0-9a-fA-F]{6}", entry.colour):
            raise ValueError(f"colour {colour} is not of the form #rrggbb")
        for given, known in ((entry.family, FAMILIES), (entry.line, LINES), (entry.marker, tuple(MARKERS))):
            if given not in known:
                raise ValueError(f"{given} is none of: {', '.join(known)}")
        _REGISTRY[name] = entry
        return cls

    return register


def _family(made: Strategy) -> str:
    fast = made.fast_path()
    return "bound" if made.bound else "pool" if fast.pooled else "per table" if fast.key_each else "baseline"


def _look(name: str) -> tuple[str, str, str]:
    """Colour, line and marker, drawn by the name: dark enough to be read on white."""
    drawn = random.Random(name)
    red, green, blue = colorsys.hls_to_rgb(drawn.random(), drawn.uniform(0.3, 0.5), drawn.uniform(0.4, 0.9))
    colour = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
    return colour, drawn.choice(LINES), drawn.choice(MARKERS)


AUTO = "auto"
"""The value of a parameter that is left to the machine's page size."""

_BROKEN: dict[str, str] = {}
"""Why a file cannot be used, by the names of its strategies."""


@cache
def strategies() -> dict[str, Entry]:
    """All strategies by name: those of every module of ``replay.strategies`` that can be imported."""
    package = importlib.import_module("replay.strategies")
    _BROKEN.clear()
    for module in pkgutil.iter_modules(package.__path__):
        name = f"{package.__name__}.{module.name}"
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever is wrong with it, the others run
            spec = importlib.util.find_spec(name)
            path = (spec and spec.origin) or name
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
            line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
            text = next(iter(str(error).splitlines()), "")
            names = re.findall(r'@strategy\(\s*"([^"]+)"', "".join(linecache.getlines(path)))
            for each in names or [module.name.replace("_", "-")]:
                _BROKEN[each] = f"{path}{f', line {line}' if line else ''}: {type(error).__name__}: {text}"
    return dict(sorted(_REGISTRY.items()))


def incomplete(names: Iterable[str]) -> bool:
    """Whether `all` strategies are asked for, and a file of theirs is broken."""
    return "all" in names and bool(strategies() and _BROKEN)


def find(names: Iterable[str]) -> list[Entry]:
    """The strategies named; ``all`` names all of them. Says once which files are broken.

    Raises:
        UsageError: one is unknown, or its file is broken.
    """
    known = strategies()
    wanted: list[Entry] = []
    for name in names:
        if name == "all":
            wanted.extend(known.values())
        elif name in known:
            wanted.append(known[name])
        elif name in _BROKEN:
            raise UsageError(_BROKEN[name], f"mend the file, or move it away: {name} cannot be used")
        else:
            raise UsageError(f"no strategy named {name}", named(name, list(known)))
    for reason in _BROKEN.values():
        _note_once(f"ptpool: {reason}; this file is left out")
    return list(dict.fromkeys(wanted))


@cache
def _note_once(text: str) -> None:
    note(text)


def parameters(entry: Entry) -> list[dict[str, Any]]:
    """Name, default, meaning and rule of each parameter, the strategy's own first.

    A default of None depends on the machine's pages: `granules` has it for 4K, 16K and 64K.
    """
    common = {field.name for field in dataclasses.fields(Strategy)}
    own_first = sorted(dataclasses.fields(entry.factory), key=lambda field: field.name in common)
    return [{"name": field.name, "default": field.default, **field.metadata} for field in own_first]


def shown(value: Any) -> str:
    """A parameter's value as ``--set`` takes it."""
    if value is None:
        return AUTO
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def configure(entry: Entry, settings: dict[str, str]) -> Strategy:
    """The strategy with parameters set from text.

    Raises:
        UsageError: an unknown parameter, or a value of the wrong type.
    """
    known = {parameter["name"]: parameter for parameter in parameters(entry)}
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in known:
            raise UsageError(f"{entry.name} has no parameter {name}", f"it has: {', '.join(known)}")
        values[name] = _parse(f"{entry.name}.{name}", text, known[name])
    try:
        return entry.factory(**values)
    except ValueError as error:
        remedy = f"ptpool replay describe {entry.name} shows what its parameters mean"
        raise UsageError(f"{entry.name}: {error}", remedy) from error


def default_of(parameter: dict[str, Any]) -> str:
    """A parameter's default, in words where it depends on the machine's pages."""
    granules = dict(zip(("4K", "16K", "64K"), parameter.get("granules", ()), strict=False))
    return ", ".join(f"{shown(value)} ({pages})" for pages, value in granules.items()) or shown(parameter["default"])


def _parse(name: str, text: str, parameter: dict[str, Any]) -> Any:
    default = parameter["default"]
    if "granules" in parameter:
        if text == AUTO:
            return None
        default = parameter["granules"][0]
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(int(part) for part in text.split("+"))
        return type(default)(text)
    except (KeyError, ValueError):
        shape = "9+4+2" if isinstance(default, tuple) else type(default).__name__
        remedy = f"it takes the form {shape}; its default is {default_of(parameter)}"
        raise UsageError(f"{name}={text}: not a value of this parameter", remedy) from None
