"""What a sweep is to run: grids in a TOML file, with the names of the options of ``replay run``."""

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from ptpool.errors import UsageError
from ptpool.warehouse import capture_names, capture_row
from replay.costs import cost_profile
from replay.other_machine import profile_of
from replay.rcu import DELAYED, RECORDED
from replay.reclaim import variant_of
from replay.registry import Strategy, configure, find
from replay.wanted import Wanted

SHIPPED = files("replay").joinpath("sweep", "specs")
_AXES = {"seed": int, "machine": str, "reclaim": str, "copies": int, "costs": str, "inject": float, "rcu": str}
_RANGE = {"seed": (0, 2**63 - 1), "copies": (1, 1000), "inject": (0, 1e6)}
_FITS: dict[type, tuple[type, ...]] = {object: (str, int, float, bool), int: (int,), float: (int, float), str: (str,)}
_WORDS: dict[type, str] = {object: "a number or a text", int: "a whole number", float: "a number", str: "a text"}
_KEYS = ("capture", "strategy", "set", *_AXES)


class Spec(NamedTuple):
    """A sweep that was asked for."""

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
        UsageError: no such file or name, not TOML, or it says what no specification says.
    """
    if Path(name).suffix != ".toml":
        for spec in shipped_specs():
            if spec.name == name:
                return spec
        raise UsageError(
            f"{name}: no sweep of that name",
            f"there are: {', '.join(spec.name for spec in shipped_specs())}; or name a file SPEC.toml",
        )
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: cannot be read ({error})", "name a TOML file, or a sweep by its name") from error
    return _parsed(name, text)


def _parsed(source: str, text: str) -> Spec:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {error}", "docs/sweeps.md shows what a specification says") from error
    grids, title = tables.pop("grid", None), tables.pop("title", "")
    if tables:
        raise UsageError(f"{source}: {next(iter(tables))}: unknown", "a specification has a title and [[grid]] tables")
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids) or not grids:
        raise UsageError(f"{source}: no [[grid]] in it", "docs/sweeps.md shows what a specification says")
    for nth, grid in enumerate(grids, 1):
        if unknown := sorted(grid.keys() - set(_KEYS)):
            raise UsageError(f"{source}, grid {nth}: {unknown[0]}: unknown", f"a grid has: {', '.join(_KEYS)}")
        if not isinstance(grid.get("set", {}), dict):
            raise UsageError(f"{source}, grid {nth}: set: not a table", 'for example: set.reserve = [2, 8, "32"]')
    return Spec(Path(source).stem, str(title), [{"source": f"{source}, grid {n}", **g} for n, g in enumerate(grids, 1)])


def wanted_runs(connection: duckdb.DuckDBPyConnection, spec: Spec) -> list[Wanted]:
    """All runs of a specification, each once.

    Raises:
        UsageError: a grid is empty, or names something that there is not.
    """
    runs: dict[str, Wanted] = {}
    for grid in spec.grids:
        place = grid["source"]
        names = _values(grid, "capture", ["all"], str)
        captures = capture_names(connection) if names == ["all"] else names
        if not captures:
            raise UsageError("no capture to replay", "import a trace first: ptpool ingest trace FILE")
        rows = [capture_row(connection, name) for name in captures]
        entries = find(_values(grid, "strategy", ["all"], str))
        axes = {name: _values(grid, name, None, kind) for name, kind in _AXES.items() if name in grid}
        try:
            for machine in axes.get("machine", []):
                profile_of(machine)
            for variant in axes.get("reclaim", []):
                variant_of(variant)
            if unknown := sorted(set(axes.get("rcu", [])) - {RECORDED, DELAYED}):
                raise UsageError(f"rcu = {unknown[0]}: unknown", f"{RECORDED} or {DELAYED}")
            if "costs" in axes:
                axes["costs"] = [cost_profile(name) for name in axes["costs"]]
            strategies = [(entry, strategy) for entry in entries for strategy in _configured(entry, grid)]
        except UsageError as error:
            raise UsageError(f"{place}: {error.what}", error.remedy) from error
        for row, (entry, strategy), values in product(rows, strategies, product(*axes.values())):
            run = Wanted(row, entry, strategy, **dict(zip(axes, values, strict=True)))
            runs[run.run_id] = run
    return list(runs.values())


def _configured(entry: Any, grid: Mapping[str, Any]) -> Iterator[Strategy]:
    settings = {name: _values(grid["set"], name, None, object, grid["source"]) for name in grid.get("set", {})}
    for values in product(*settings.values()):
        yield configure(entry, {name: _text(value) for name, value in zip(settings, values, strict=True)})


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(grid: Mapping[str, Any], key: str, default: list[Any] | None, kind: type, place: str = "") -> list[Any]:
    """One value or a list of them."""
    place = place or grid["source"]
    value = grid.get(key, default)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{place}: {key} has no value: there is nothing to run", "give it at least one")
    for each in values:
        if type(each) not in _FITS[kind]:
            raise UsageError(f"{place}: {key}: {each!r} is not {_WORDS[kind]}", "give one value, or a list of values")
        least, most = _RANGE.get(key, (None, None)) if kind is not object else (None, None)
        if least is not None and most is not None and not least <= each <= most:
            raise UsageError(f"{place}: {key} = {each}: too small or too large", f"it is {least:,} to {most:,}")
    return values
