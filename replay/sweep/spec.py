"""Which runs a sweep consists of: grids in a TOML file, whose keys are named like the options of ``replay run``."""

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from ptpool.errors import UsageError, named
from ptpool.run_settings import DEFAULTS, RANGES, RunSettings
from ptpool.warehouse import capture_names, capture_row
from replay.contract.registry import Entry, configure, find
from replay.contract.strategy import Strategy
from replay.runs.run import Run, checked

SHIPPED = files("replay").joinpath("sweep", "specs")
_FITS: dict[type, tuple[type, ...]] = {object: (str, int, float, bool), int: (int,), float: (int, float), str: (str,)}
_WORDS: dict[type, str] = {object: "a number or a text", int: "a whole number", float: "a number", str: "a text"}
_KEYS = ("capture", "strategy", "set", *DEFAULTS)
_MOST_RUNS = 100_000
_REMEDY = "docs/sweeps.md describes the format of a specification"


class Spec(NamedTuple):
    """What a specification asks for."""

    name: str
    title: str
    grids: list[dict[str, Any]]


def shipped_specs() -> list[Spec]:
    """The specifications that come with ptpool, by name."""
    paths = [item for item in SHIPPED.iterdir() if item.name.endswith(".toml")]
    return [_parsed(path.name, path.read_text(encoding="utf-8")) for path in sorted(paths, key=lambda item: item.name)]


def read_spec(name: str) -> Spec:
    """A specification from a file, or one that comes with ptpool.

    Raises:
        UsageError: no such file or name, not TOML, or not a specification.
    """
    if Path(name).suffix != ".toml":
        known = {spec.name: spec for spec in shipped_specs()}
        if name in known:
            return known[name]
        raise UsageError(
            f"{name or 'SPEC'}: no sweep of that name", f"{named(name, list(known))}; or name a file SPEC.toml"
        )
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}", "name a TOML file, or a sweep by its name") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8, at byte {error.start}", "save it as UTF-8, as TOML requires") from error
    return _parsed(name, text)


def _parsed(source: str, text: str) -> Spec:
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number or date that Python cannot hold
        raise UsageError(f"{source}: not TOML: {error}", _REMEDY) from error
    except RecursionError as error:
        raise UsageError(f"{source}: brackets nested too deeply", _REMEDY) from error
    grids, title = tables.pop("grid", None), tables.pop("title", "")
    if tables:
        raise UsageError(f"{source}: {next(iter(tables))}: unknown", "a specification has a title and [[grid]] tables")
    if not isinstance(title, str):
        raise UsageError(f"{source}: title: not a text", 'for example: title = "How many pages to keep?"')
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids) or not grids:
        raise UsageError(f"{source}: no [[grid]] in it", _REMEDY)
    for nth, grid in enumerate(grids, 1):
        if unknown := sorted(grid.keys() - set(_KEYS)):
            raise UsageError(f"{source}, grid {nth}: {unknown[0]}: unknown", f"a grid has: {', '.join(_KEYS)}")
        if not isinstance(grid.get("set", {}), dict):
            raise UsageError(f"{source}, grid {nth}: set: not a table", 'for example: set.reserve = [2, 8, "32"]')
    return Spec(Path(source).stem, title, [{"source": f"{source}, grid {n}", **g} for n, g in enumerate(grids, 1)])


def strategies_of(spec: Spec) -> list[str]:
    """The names that its grids give, `all` among them."""
    return [name for grid in spec.grids for name in _values(grid, "strategy", str, ["all"])]


def wanted_runs(connection: duckdb.DuckDBPyConnection, spec: Spec) -> list[Run]:
    """All runs of a specification, each once.

    Raises:
        UsageError: a grid is empty or far too large, or names something that does not exist.
    """
    runs: dict[str, Run] = {}
    for grid in spec.grids:
        try:
            runs |= {run.run_id: run for run in _runs_of(connection, grid, _MOST_RUNS - len(runs))}
        except UsageError as error:
            raise UsageError(f"{grid['source']}: {error.what}", error.remedy) from error
    return list(runs.values())


def _runs_of(connection: duckdb.DuckDBPyConnection, grid: Mapping[str, Any], most: int) -> Iterator[Run]:
    """Every combination of a grid, if there are at most `most`."""
    entries = find(_values(grid, "strategy", str, ["all"]))
    axes = {name: _values(grid, name, type(default)) for name, default in DEFAULTS.items() if name in grid}
    parameters = {name: _values(grid["set"], name, object) for name in grid.get("set", {})}
    captures = _captures(connection, _values(grid, "capture", str, ["all"]))
    count = len(captures) * len(entries) * prod(map(len, [*axes.values(), *parameters.values()]))
    if count > most:
        raise UsageError(
            f"{count:,} combinations: too many for a sweep, which has at most {_MOST_RUNS:,} runs",
            "give fewer values, or split it into several sweeps",
        )
    strategies = [(entry, strategy) for entry in entries for strategy in _configured(entry, parameters)]
    settings = [checked(RunSettings(**dict(zip(axes, values, strict=True)))) for values in product(*axes.values())]
    for row, (entry, strategy), (with_settings, costs) in product(captures, strategies, settings):
        yield Run(row, entry, strategy, with_settings, costs)


def _captures(connection: duckdb.DuckDBPyConnection, names: list[str]) -> list[dict[str, Any]]:
    there = capture_names(connection)
    if not there:
        raise UsageError("no capture to replay", "import a trace first: ptpool ingest trace FILE")
    wanted = [each for name in names for each in (there if name == "all" else [name])]
    return [capture_row(connection, name) for name in dict.fromkeys(wanted)]


def _configured(entry: Entry, parameters: Mapping[str, list[Any]]) -> Iterator[Strategy]:
    for values in product(*parameters.values()):
        yield configure(entry, {name: _text(value) for name, value in zip(parameters, values, strict=True)})


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(grid: Mapping[str, Any], key: str, kind: type, default: list[Any] | None = None) -> list[Any]:
    """One value or a list of them."""
    value = grid.get(key, default)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{key} has no value: there is nothing to run", "give it at least one value")
    least, most = RANGES.get(key, (None, None)) if kind is not object else (None, None)
    for each in values:
        if type(each) not in _FITS[kind]:
            raise UsageError(f"{key}: {each!r:.60} is not {_WORDS[kind]}", "give one value, or a list of values")
        if least is not None and most is not None and not least <= each <= most:
            raise UsageError(f"{key} = {each}: too small or too large", f"allowed: {least:,} to {most:,}")
    return values
