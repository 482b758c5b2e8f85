"""Architectures: what their kernels are called, which page sizes they can have: ingest/architectures.toml."""

import fnmatch
import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Architecture:
    """One architecture."""

    machines: tuple[str, ...]
    bits: int
    pages: tuple[int, ...]
    huge: bool = False
    entry: tuple[str, ...] = ()


@cache
def architectures() -> list[Architecture]:
    """Those of the file, in its order."""
    document = tomllib.loads(files("ingest").joinpath("architectures.toml").read_text(encoding="utf-8"))
    return [
        Architecture(
            tuple(entry["machines"]), entry["bits"], tuple(entry["pages"]), entry.get("huge", False),
            tuple(entry.get("entry", ())),
        )
        for entry in document.values()
    ]  # fmt: skip


def architecture_of(machine: str | None) -> Architecture | None:
    """The architecture that `uname -m` names; None where it is not known."""
    return next((each for each in architectures() if machine and _any(each.machines, machine)), None)


def machine_in(words: Collection[str]) -> str | None:
    """The last word that names a machine: ``uname -a`` may have a processor, a platform and a system after it."""
    return next((word for word in reversed(list(words)) if architecture_of(word)), None)


def by_entry(functions: Collection[str]) -> str | None:
    """The machine whose kernel has these functions; None where none or several could be."""
    found = {
        each.machines[0] for each in architectures() if any(fnmatch.filter(functions, entry) for entry in each.entry)
    }
    return found.pop() if len(found) == 1 else None


def _any(patterns: Collection[str], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def in_uname(text: str) -> tuple[str | None, str | None]:
    """Release and machine in what ``uname -a`` printed; None for what it does not show.

    It is "Linux host release version machine", with processor, platform and system after it or not (coreutils, toybox,
    busybox); the host may be empty or "(none)".
    """
    match = re.match(r"(?:Linux\s+(?:\S+\s+)?)?(\d+\.\d+\S*)(?:\s+(.*))?", text.strip())
    if match is None:
        return None, None
    return match[1], machine_in((match[2] or "").split())
