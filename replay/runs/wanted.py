"""A run that is wanted: everything its identity is made of, and what it shares with others."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from ptpool.provenance import code_version, identity
from replay.contract.registry import Entry
from replay.contract.strategy import Strategy, parameters_json
from replay.demand.copies import scaled
from replay.demand.demand import Demand, load_demand
from replay.demand.inject import injected
from replay.demand.rcu import RECORDED as RECORDED_FREES
from replay.machine.reclaim import NONE
from replay.profiles.costs import CostProfile, built_in
from replay.start.other_machine import RECORDED, check_memory, other_machine, profile_of
from replay.start.recorded_machine import InitialState, Recorded, drawn, read_machine

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
    """The recorded machine, or another: see `replay.start.other_machine`."""
    mode: str = POLICY
    reclaim: str = NONE
    """What reclaim and compaction can free: see `replay.machine.reclaim`."""
    copies: int = 1
    """How many times over the recorded processes run: see `replay.demand.copies`."""
    costs: CostProfile = field(default_factory=built_in)
    """What operations take."""
    inject: float = 0
    """Permission changes by others a second that are put in: see `replay.demand.inject`."""
    rcu: str = RECORDED_FREES
    """When page tables are freed: see `replay.demand.rcu`."""

    @property
    def columns(self) -> dict[str, Any]:
        """What table `run` says of it, and what makes it another run than others; parameters with their defaults."""
        return {
            "capture_id": self.capture["capture_id"],
            "strategy": self.entry.name,
            "params": parameters_json(self.strategy),
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
    """Runs in groups that share their scene; groups of one recording stand together."""
    groups: dict[tuple[Any, ...], list[Wanted]] = {}
    recordings: dict[tuple[str, str], int] = {}
    for run in wanted:
        groups.setdefault(run.scene, []).append(run)
        recordings.setdefault(_recording(run), len(recordings))
    return sorted(groups.values(), key=lambda group: recordings[_recording(group[0])])


def _recording(wanted: Wanted) -> tuple[str, str]:
    """What is the same for all seeds, machines and copies."""
    return wanted.capture["capture_id"], wanted.rcu


class Scenes:
    """Sets the scene for groups of runs. What the recording alone tells is read once for groups in a row.

    Args:
        connection: the warehouse.
        at_a_time: how many runs go on at the same time.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, at_a_time: int) -> None:
        self._connection, self._at_a_time = connection, at_a_time
        self._last: tuple[tuple[str, str], Demand, Recorded] | None = None

    def of(self, group: list[Wanted]) -> tuple[Demand, InitialState]:
        """What the runs of a group replay, and on what.

        Raises:
            UsageError: snapshots that contradict each other or the trace, or a machine that does not fit into memory.
        """
        wanted = group[0]
        demand, recorded = self._recorded(wanted)
        if (profile := profile_of(wanted.machine)) is None:
            machine = drawn(recorded, demand, wanted.seed)
        else:
            check_memory(profile, recorded.state.geometry.page_shift, min(self._at_a_time, len(group)))
            machine = other_machine(profile, recorded.state, demand, wanted.seed)
        demand = scaled(demand, wanted.copies, wanted.seed, len(machine.mapped))
        return injected(demand, wanted.inject, machine, wanted.seed), machine

    def _recorded(self, wanted: Wanted) -> tuple[Demand, Recorded]:
        recording, last = _recording(wanted), self._last
        if last is not None and last[0] == recording and last[2].seed in (None, wanted.seed):
            return last[1:]
        demand = last[1] if last is not None and last[0] == recording else None
        self._last = last = None  # before the next is read: one machine at a time is in memory
        demand = demand or load_demand(self._connection, wanted.capture, wanted.rcu)
        recorded = read_machine(self._connection, wanted.capture, demand, wanted.seed)
        self._last = recording, demand, recorded
        return demand, recorded
