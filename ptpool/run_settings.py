"""The settings of a run, each declared once.

The command line, sweep specifications, a run's identity, the columns of table `run` and of the views that compare runs
follow from this file. What a setting does is in `replay/runs/scene.py` or `replay/runs/one_run.py`.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple, get_type_hints

from typer import Option

from ptpool.vocabulary import BUILT_IN


class Column(NamedTuple):
    """How a setting stands in the warehouse, and what depends on it."""

    sql: str
    """DuckDB's type."""
    comment: str
    scene: bool = True
    """Whether the machine before the first event, or the demand, depends on it."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a run is made with, apart from capture, strategy and the strategy's parameters."""

    machine: Annotated[
        str,
        Column(
            "VARCHAR",
            "Machine: recorded (as the snapshots show it), a size such as 8G (new), or the name of an aged one",
        ),
        Option(
            metavar="PROFILE",
            help="The machine to replay on: recorded, a size such as 8G (new, only the kernel in use), or an aged one: "
            "phone-2g, laptop-16g, server-64g, server-64g-superpageblocks, server-1t. What is in use there is drawn by "
            "--seed.",
        ),
    ] = "recorded"
    reclaim: Annotated[
        str,
        Column(
            "VARCHAR",
            "What direct reclaim, kswapd and compaction can free: none (only what a strategy's shrinker gives back), "
            "moderate, optimistic",
            scene=False,
        ),
        Option(
            metavar="VARIANT",
            help="What direct reclaim, kswapd and compaction can free: none (only what a strategy's shrinker gives "
            "back), moderate, or optimistic (every movable page). Conclusions should not depend on it.",
        ),
    ] = "none"
    costs: Annotated[
        str,
        Column(
            "VARCHAR",
            "Cost profile: built-in, or the stem of a file and a hash of its constants; see cost_constant",
            scene=False,
        ),
        Option(
            metavar="PROFILE",
            help="What operations take: built-in, or a TOML file with the names of replay/profiles/costs.toml (names "
            "that it leaves out keep their built-in values). Waiting times and latencies depend on it.",
        ),
    ] = BUILT_IN
    copies: Annotated[
        int,
        Column("INTEGER", "Copies of the recorded processes replayed at once"),
        Option(
            min=1,
            max=1000,
            help="How many copies of the recorded processes run at once, each with memory of its own; when the others "
            "start is drawn by --seed.",
        ),
    ] = 1
    inject: Annotated[
        float,
        Column("DOUBLE", "Injected permission changes by others, per second of simulated time on average"),
        Option(
            metavar="RATE",
            min=0,
            max=1e6,
            help="Permission changes by others (of 1 page to 4 MiB) to inject, per second of simulated time on "
            "average; drawn by --seed.",
        ),
    ] = 0.0
    free_list_order: Annotated[
        str,
        Column(
            "VARCHAR",
            "Order of free blocks on their lists at the start: recorded (as the recorder read the lists; worn where it "
            "did not), worn, random, clustered",
        ),
        Option(
            metavar="ORDER",
            help="How free blocks lie on their lists at the start: recorded (as the recorder read the lists; worn "
            "where it did not), worn (drawn as real kernels' lists lie), random (small refills split most), or "
            "clustered by 2M block (they split least). Conclusions should not depend on it.",
        ),
    ] = "recorded"
    pti: Annotated[
        str,
        Column(
            "VARCHAR",
            "Page-table isolation of the modelled kernel: off (a PGD is one page), recorded (as many as were recorded)",
        ),
        Option(
            metavar="PTI",
            help="Page-table isolation of the modelled kernel: off (a PGD is one page), or recorded (a PGD has as many "
            "pages as it was recorded with: two where that kernel was built with it).",
        ),
    ] = "off"
    seed: Annotated[
        int,
        Column("BIGINT", "Seed of everything drawn at random"),
        Option(
            min=0,
            max=2**63 - 1,
            help="Seed for anything the snapshots do not show: the order of free lists where the recording does not "
            "show it, and addresses where only the numbers of free blocks are known.",
        ),
    ] = 0

    @property
    def scene(self) -> tuple[Any, ...]:
        """The values that the machine before the first event and the demand depend on."""
        return tuple(getattr(self, name) for name, column in COLUMNS.items() if column.scene)


_HINTS = {name: hint.__metadata__ for name, hint in get_type_hints(RunSettings, include_extras=True).items()}
COLUMNS: dict[str, Column] = {name: column for name, (column, _) in _HINTS.items()}
DEFAULTS = {field.name: field.default for field in dataclasses.fields(RunSettings)}
RANGES = {name: (option.min, option.max) for name, (_, option) in _HINTS.items() if option.max is not None}
"""Smallest and largest value of each setting that is a number."""
