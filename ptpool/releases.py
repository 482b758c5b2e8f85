"""What the kernel's numbers mean, by its release: ptpool/releases.toml."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple


class Numbers(NamedTuple):
    """The meaning of numbers in one release; see releases.toml."""

    migratetypes: tuple[str, ...]
    free_tails: bool
    tables_marked: bool


def version_of(release: str | None) -> tuple[int, int] | None:
    """Version and patch level of a release (`uname -r`); None where it has none."""
    match = re.match(r"(\d{1,6})\.(\d{1,6})", release or "")
    return (int(match[1]), int(match[2])) if match else None


@cache
def numbers_of(release: str | None) -> Numbers:
    """The numbers of a release; those of the newest where it is not known."""
    version = version_of(release)
    values: dict[str, Any] = {}
    for change in _changes():
        if version is None or not values or (version_of(change["from"]) or (0, 0)) <= version:
            values |= change
    return Numbers(tuple(values["migratetypes"]), values["free_tails"], values["tables_marked"])


@cache
def _changes() -> list[dict[str, Any]]:
    document = tomllib.loads(files("ptpool").joinpath("releases.toml").read_text(encoding="utf-8"))
    changes: list[dict[str, Any]] = document["change"]
    return changes
