"""Counts of an import, with their severity and meaning, as rows of import_stat."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Stat = tuple[str, str, int | None, int, str]
"""Name, severity, cpu, value, explanation: a row of import_stat without its capture."""


@cache
def meanings() -> dict[str, dict[str, Any]]:
    """The catalogue: ingest/quality.toml."""
    return tomllib.loads(files("ingest").joinpath("quality.toml").read_text(encoding="utf-8"))


def stat(name: str, value: int, totals: Mapping[str, int], cpu: int | None = None, *, lost: bool = True) -> Stat:
    """One count with its severity.

    Args:
        name: a name of the catalogue.
        value: the count.
        totals: what shares are taken of: ``allocations`` and ``frees``.
        cpu: the CPU it concerns; None: all.
        lost: whether the recording lost events; some counts are errors only then.
    """
    entry = meanings()[name]
    severity: str = entry["severity"]
    few = "share_of" in entry and value <= entry["more_than"] * totals[entry["share_of"]]
    if value == 0:
        severity = "info"
    elif few and not (lost and entry.get("only_if_lost")):
        severity = "notice"
    return name, severity, cpu, int(value), entry["meaning"]
