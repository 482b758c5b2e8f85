"""A run before it is made: everything its identity consists of."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ptpool.provenance import code_version, identity
from ptpool.run_settings import RunSettings
from replay.contract.registry import Entry
from replay.contract.strategy import Strategy, parameters_json
from replay.demand.pgds import check_pti
from replay.machine.reclaim import variant_of
from replay.profiles.costs import CostProfile, built_in, cost_profile
from replay.start.free_list_order import list_order
from replay.start.other_machine import profile_of


@dataclass(frozen=True)
class Run:
    """One capture, replayed through one strategy."""

    capture: dict[str, Any]
    """Row of table capture."""
    entry: Entry
    strategy: Strategy
    settings: RunSettings = field(default_factory=RunSettings)
    """As `checked` returns them."""
    costs: CostProfile = field(default_factory=built_in)
    """The profile that `settings.costs` names."""

    @property
    def columns(self) -> dict[str, Any]:
        """What identifies it: columns of table `run`, parameters with their defaults."""
        return {
            "capture_id": self.capture["capture_id"],
            "strategy": self.entry.name,
            "params": parameters_json(self.strategy),
            **asdict(self.settings),
        }

    @property
    def is_default(self) -> bool:
        """Whether nothing was set."""
        return self.strategy == self.entry.factory() and self.settings == RunSettings()

    @property
    def run_id(self) -> str:
        """Hash of everything that determines the result."""
        return identity(**self.columns, code_version=code_version())

    @property
    def scene(self) -> tuple[Any, ...]:
        """What the demand and the machine before the first event depend on: runs with the same share them."""
        return self.capture["capture_id"], *self.settings.scene


def checked(settings: RunSettings) -> tuple[RunSettings, CostProfile]:
    """Settings with the name of their cost profile instead of its path, and the profile.

    Raises:
        UsageError: there is no such machine, variant of reclaim, order of free lists, cost profile or value of
            `pti`.
    """
    profile_of(settings.machine)
    variant_of(settings.reclaim)
    list_order(settings.free_list_order)
    check_pti(settings.pti)
    costs = cost_profile(settings.costs)
    return replace(settings, costs=costs.name, inject=float(settings.inject)), costs


def by_scene(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs in groups that share their scene; groups of one recording follow each other."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    recordings: dict[str, int] = {}
    for run in runs:
        groups.setdefault(run.scene, []).append(run)
        recordings.setdefault(run.capture["capture_id"], len(recordings))
    return sorted(groups.values(), key=lambda group: recordings[group[0].capture["capture_id"]])
