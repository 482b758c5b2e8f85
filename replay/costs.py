"""What operations take, by architecture: replay/profiles/costs.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Costs:
    """Constants of a cost profile in ns; the file says where each comes from."""

    change_ns: int
    split_ns: int
    flush_base_ns: int
    flush_per_cpu_ns: int
    ipis: bool
    """Whether a flush interrupts the other CPUs; otherwise the hardware broadcasts."""
    alloc_ns: int
    hit_ns: int
    page_ns: int
    stall_ns: int

    def flush_ns(self, cpus: int) -> int:
        """One flush of all TLBs."""
        return self.flush_base_ns + self.flush_per_cpu_ns * (cpus - 1)

    def conversion_ns(self, changes: int, splits: int, flushes: int, cpus: int) -> int:
        """Permission changes with what they split and flush."""
        return changes * self.change_ns + splits * self.split_ns + flushes * self.flush_ns(cpus)


@cache
def costs_of(arch: str) -> Costs:
    """The profile of an architecture; x86-64's where it has none."""
    profiles = tomllib.loads(files("replay").joinpath("profiles", "costs.toml").read_text(encoding="utf-8"))
    return Costs(**(profiles.get(arch) or profiles["x86_64"]))
