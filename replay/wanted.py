"""A run that is wanted: everything its identity is made of, and what it shares with others."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from ptpool.provenance import code_version, identity
from replay.copies import scaled
from replay.costs import CostProfile, built_in
from replay.demand import Demand, load_demand
from replay.initial.state import InitialState, recorded_machine
from replay.inject import injected
from replay.other_machine import RECORDED, check_memory, other_machine, profile_of
from replay.rcu import RECORDED as RECORDED_FREES
from replay.reclaim import NONE
from replay.registry import Entry, Strategy

POLICY, PLACEMENT = MODES = ("policy", "placement")
"""The simulated allocator places everything, or every event goes where it was recorded."""


@dataclass(frozen=True)
class Wanted:
    """One run. Every field with a default is a column of table `run`, too."""

    capture: dict[str, Any]
    """Row of table capture."""
    entry: Entry
    strategy: Strategy
    seed: int = 0
    machine: str = RECORDED
    """The recorded machine, or another: see `replay.other_machine`."""
    mode: str = POLICY
    reclaim: str = NONE
    """What reclaim and compaction can free: see `replay.reclaim`."""
    copies: int = 1
    """How many times over the recorded processes run: see `replay.copies`."""
    costs: CostProfile = field(default_factory=built_in)
    """What operations take."""
    inject: float = 0
    """Permission changes by others a second that are put in: see `replay.inject`."""
    rcu: str = RECORDED_FREES
    """When page tables are freed: see `replay.rcu`."""

    @property
    def columns(self) -> dict[str, Any]:
        """What table `run` says of it, and what makes it another run than others; parameters with their defaults."""
        return {
            "capture_id": self.capture["capture_id"],
            "strategy": self.entry.name,
            "params": json.dumps(asdict(self.strategy), sort_keys=True),
            "machine": self.machine,
            "mode": self.mode,
            "reclaim": self.reclaim,
            "costs": self.costs.name,
            "copies": self.copies,
            "inject": float(self.inject),
            "rcu": self.rcu,
            "seed": self.seed,
        }

    @property
    def is_default(self) -> bool:
        """Whether nothing was set."""
        return self == Wanted(self.capture, self.entry, self.entry.factory())

    @property
    def run_id(self) -> str:
        """Hash of everything that determines the result."""
        return identity(**self.columns, code_version=code_version())

    @property
    def scene(self) -> tuple[Any, ...]:
        """What the demand and the machine before the first event depend on: runs with the same share them."""
        return self.capture["capture_id"], self.machine, self.copies, self.inject, self.rcu, self.seed


def by_scene(wanted: Iterable[Wanted]) -> list[list[Wanted]]:
    """Runs in groups that share their scene."""
    groups: dict[tuple[Any, ...], list[Wanted]] = {}
    for run in wanted:
        groups.setdefault(run.scene, []).append(run)
    return list(groups.values())


def demand_and_machine(
    connection: duckdb.DuckDBPyConnection, wanted: Wanted, at_a_time: int
) -> tuple[Demand, InitialState]:
    """What a run and all others of its scene replay, and on what.

    Args:
        connection: the warehouse.
        wanted: one of them.
        at_a_time: how many of them will run at the same time.

    Raises:
        UsageError: snapshots that contradict each other or the trace, or a machine that does not fit into memory.
    """
    demand = load_demand(connection, wanted.capture, wanted.rcu)
    machine = recorded_machine(connection, wanted.capture, demand, wanted.seed)
    if (profile := profile_of(wanted.machine)) is not None:
        check_memory(profile, machine.geometry.page_shift, at_a_time)
        machine = other_machine(profile, machine, demand, wanted.seed)
    demand = scaled(demand, wanted.copies, wanted.seed, len(machine.mapped))
    return injected(demand, wanted.inject, machine, wanted.seed), machine
