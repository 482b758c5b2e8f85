"""What operations take, by architecture: replay/profiles/costs.toml, or a file of the same names."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from ptpool.errors import UsageError
from ptpool.provenance import identity
from ptpool.vocabulary import BUILT_IN
from replay import profiles

OTHER_ARCH = "x86_64"
"""Constants of this one are used for an architecture that has none of its own."""

PROVENANCE = "provenance"
"""Table of a profile that says where and how it was made; it changes nothing."""


@dataclass(frozen=True)
class Costs:
    """Constants in ns, as a replay uses them; the profile says where each comes from."""

    change_ns: int
    split_ns: int
    flush_base_ns: int
    flush_per_cpu_ns: int
    flush_all_ns: int
    receiver_ns: int
    alloc_ns: int
    hit_ns: int
    handoff_ns: int
    page_ns: int
    stall_ns: int
    fork_ns: int
    toggle_ns: int
    ipis: bool
    """Whether a flush interrupts the other CPUs; otherwise the hardware broadcasts."""
    refill_ns: int = 0
    """What a refill takes besides, before its pages are in the pool: in a guest where whole refills were timed."""

    def flush_ns(self, cpus: int) -> int:
        """One flush of a page from the TLBs of all CPUs: what its sender spends."""
        return self.flush_base_ns + self.flush_per_cpu_ns * (cpus - 1)

    def conversion_ns(self, changes: int, splits: int, flushes: int, full: int, cpus: int) -> int:
        """Permission changes with what they split and flush; `full`: flushes of everything, among the flushes.

        What the interrupted CPUs spend is not in it: that is `receiver_ns` for each.
        """
        flushed = flushes * self.flush_ns(cpus) + full * self.flush_all_ns
        return changes * self.change_ns + splits * self.split_ns + flushed


CONSTANTS = tuple(field.name for field in fields(Costs) if field.name not in ("ipis", "refill_ns"))


@dataclass(frozen=True)
class Constant:
    """A constant, ns: what a replay uses, how far it may be off, and where it comes from."""

    low: float
    typical: float
    high: float
    source: str


@dataclass(frozen=True)
class CostProfile:
    """All constants of all architectures.

    Attributes:
        name: ``built-in``, or the stem of a file and a hash of what it says.
        constants: by architecture and name.
        ipis: by architecture, see `Costs`.
    """

    name: str
    constants: Mapping[str, Mapping[str, Constant]]
    ipis: Mapping[str, bool]

    def of(self, arch: str) -> Costs:
        """What a replay of this architecture uses."""
        arch = arch if arch in self.constants else OTHER_ARCH
        typical = {name: round(constant.typical) for name, constant in self.constants[arch].items()}
        return Costs(**typical, ipis=self.ipis[arch])


@cache
def built_in() -> CostProfile:
    """The profile that comes with ptpool."""
    tables = profiles.read("costs")
    constants = {arch: {name: Constant(**table[name]) for name in CONSTANTS} for arch, table in tables.items()}
    return CostProfile(BUILT_IN, constants, {arch: table["ipis"] for arch, table in tables.items()})


def cost_profile(wanted: str) -> CostProfile:
    """The built-in profile, or one from a file; what the file leaves out is as in the built-in one.

    Args:
        wanted: ``built-in``, or the path of a TOML file.

    Raises:
        UsageError: it cannot be read, or has a name or a value that no profile has.
    """
    if wanted == BUILT_IN:
        return built_in()
    path, built = Path(wanted), built_in()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--costs {wanted}: {error.strerror}", f"{BUILT_IN}, or the path of a cost profile") from error
    except ValueError as error:
        raise UsageError(f"{wanted}: not TOML ({error})", _REMEDY) from error
    except RecursionError as error:
        raise UsageError(f"{wanted}: brackets nested too deeply", _REMEDY) from error
    constants = {arch: dict(own) for arch, own in built.constants.items()}
    ipis = dict(built.ipis)
    tables.pop(PROVENANCE, None)
    for arch, table in tables.items():
        if arch not in constants or not isinstance(table, dict):
            raise UsageError(f"{wanted}: {arch}: not an architecture", f"the tables are {', '.join(constants)}")
        for name, value in table.items():
            if name == "ipis" and isinstance(value, bool):
                ipis[arch] = value
            elif name in CONSTANTS:
                constants[arch][name] = _constant(f"{wanted}: {arch}.{name}", value, path.name)
            else:
                raise UsageError(f"{wanted}: {arch}.{name}: no constant of a cost profile", _REMEDY)
    if not tables:
        raise UsageError(f"{wanted}: no constant in it", _REMEDY)
    digest = identity(constants={arch: _plain(own) for arch, own in constants.items()}, ipis=ipis)
    return CostProfile(f"{path.stem}@{digest[:8]}", constants, ipis)


_REMEDY = f"constants: {', '.join(CONSTANTS)} (low, typical, high in ns, source), and ipis = true or false"


def _constant(place: str, value: Any, file: str) -> Constant:
    """A constant as a file gives it: a table, or a number that is exactly known."""
    table = value if isinstance(value, dict) else {"typical": value}
    if unknown := sorted(table.keys() - {"low", "typical", "high", "source"}):
        raise UsageError(f"{place}: {unknown[0]} is no part of a constant", "low, typical and high in ns, and source")
    typical = table.get("typical")
    numbers: list[Any] = [table.get("low", typical), typical, table.get("high", typical)]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < 1e15 for n in numbers):
        raise UsageError(f"{place}: not a time in ns", "low, typical and high are numbers, 0 or more")
    low, typical, high = numbers
    if not low <= typical <= high:
        order = f"low {low}, typical {typical}, high {high} are out of order"
        raise UsageError(f"{place}: {order}", "low <= typical <= high")
    return Constant(low, typical, high, str(table.get("source", f"{file}, which gives no source")))


def _plain(constants: Mapping[str, Constant]) -> dict[str, list[float]]:
    return {name: [constant.low, constant.typical, constant.high] for name, constant in constants.items()}
