"""The settings of a run, each declared once.

The command line, sweep specifications, a run's identity, the columns of table `run` and of the views that compare runs
follow from this file. What a setting does is in `replay/runs/scene.py` or `replay/runs/one_run.py`.
"""

import dataclasses
from typing import Any

from ptpool.vocabulary import BUILT_IN


def _setting(default: Any, sql: str, comment: str, text: str, **more: Any) -> Any:
    """Declare a setting.

    Args:
        default: its default.
        sql: DuckDB's type.
        comment: of its column.
        text: help of its option.
        more: `metavar`; `least` and `most` of a number; `scene`: whether the machine before the first event, or the
            demand, depends on it (True where it is left out).
    """
    return dataclasses.field(default=default, metadata={"sql": sql, "comment": comment, "help": text, **more})


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a run is made with, apart from capture, strategy and the strategy's parameters."""

    machine: str = _setting(
        "recorded",
        "VARCHAR",
        "Machine: recorded (as the snapshots show it), a size such as 8G (new), or the name of an aged one",
        "The machine to replay on: recorded, a size such as 8G (new, only the kernel in use), or an aged one: "
        "phone-2g, laptop-16g, server-64g, server-1t. What is in use there is drawn by --seed.",
        metavar="PROFILE",
    )
    reclaim: str = _setting(
        "none",
        "VARCHAR",
        "What direct reclaim, kswapd and compaction can free: none (only what a strategy's shrinker gives back), "
        "moderate, optimistic",
        "What direct reclaim, kswapd and compaction can free: none (only what a strategy's shrinker gives back), "
        "moderate, or optimistic (every movable page). Conclusions should not depend on it.",
        metavar="VARIANT",
        scene=False,
    )
    costs: str = _setting(
        BUILT_IN,
        "VARCHAR",
        "Cost profile: built-in, or the stem of a file and a hash of its constants; see cost_constant",
        "What operations take: built-in, or a TOML file with the names of replay/profiles/costs.toml (names that it "
        "leaves out keep their built-in values). Waiting times and latencies depend on it.",
        metavar="PROFILE",
        scene=False,
    )
    copies: int = _setting(
        1,
        "INTEGER",
        "Copies of the recorded processes replayed at once",
        "How many copies of the recorded processes run at once, each with memory of its own; when the others start is "
        "drawn by --seed.",
        least=1,
        most=1000,
    )
    inject: float = _setting(
        0.0,
        "DOUBLE",
        "Injected permission changes by others, per second of simulated time on average",
        "Permission changes by others (of 1 page to 4 MiB) to inject, per second of simulated time on average; drawn "
        "by --seed.",
        metavar="RATE",
        least=0,
        most=1e6,
    )
    seed: int = _setting(
        0,
        "BIGINT",
        "Seed of everything drawn at random",
        "Seed for anything the snapshots do not show: the order of free lists where the recording does not show it, "
        "and addresses where only the numbers of free blocks are known.",
        least=0,
        most=2**63 - 1,
    )

    @property
    def scene(self) -> tuple[Any, ...]:
        """The values that the machine before the first event and the demand depend on."""
        return tuple(getattr(self, field.name) for field in FIELDS if field.metadata.get("scene", True))


FIELDS = dataclasses.fields(RunSettings)
DEFAULTS = {field.name: field.default for field in FIELDS}
"""Default of each setting, by name."""
