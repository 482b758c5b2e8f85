"""One capture: the facts behind its sentences, tables and figures."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import duckdb

from reports.formats import LEAF_NAMES, count
from reports.questions import Answers

Metrics = dict[str, Any]

_FAILURES = (
    ("ptp_nulls", "page table not supplied", "page tables not supplied"),
    ("split_starvations", "split without a protected table", "splits without a protected table"),
    ("deadlocks", "deadlock", "deadlocks"),
    ("oom_kills", "call of the OOM killer", "calls of the OOM killer"),
)


class Look(NamedTuple):
    """A strategy's kind, and how figures draw it: a row of table ``strategy``."""

    family: str = "pool"
    """baseline, bound, per table (one key change per table) or pool; what is unknown is a pool."""
    colour: str = "#222222"
    line: str = "solid"
    marker: str = "o"


@dataclass(frozen=True)
class Case:
    """One capture with the runs of every strategy at default parameters.

    Attributes:
        capture: the row of ``capture.sql``.
        metrics: by strategy, the row of ``strategy_summary``.
        looks: by strategy, its family and look.
        answers: every answer, by the name of its question.
    """

    capture: dict[str, Any]
    metrics: dict[str, Metrics]
    looks: dict[str, Look] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)  # type: ignore[assignment]

    @property
    def all_4k(self) -> bool:
        """Whether the direct map was all 4K before the first event, whatever the strategy."""
        start = [m["pte_share_start"] for name, m in self.metrics.items() if self.family(name) != "per table"]
        return bool(start) and all(share is not None and share > 0.995 for share in start)

    @property
    def block_pages(self) -> int:
        """Pages that one page table of 8-byte entries maps: 512 with 4K pages."""
        return int(self.capture["page_size"]) // 8

    @property
    def leaf_names(self) -> dict[str, str]:
        """Sizes of this machine's leaves, by their names with 4K pages."""
        return LEAF_NAMES.get(self.capture["page_size"], LEAF_NAMES[4096])

    @property
    def time_unit(self) -> str:
        """What the time axes count."""
        return "emulated seconds" if self.capture["timing"] == "emulated" else "seconds"

    def family(self, strategy: str) -> str:
        """Kind of a strategy: see `Look`."""
        return self.looks.get(strategy, Look()).family

    @property
    def protecting(self) -> list[str]:
        """Strategies that give page tables a key (not today's kernel, and no bound) and supplied everything."""
        kinds = ("baseline", "bound")
        return [name for name in self.metrics if self.family(name) not in kinds and not self.failures(name)]

    def over(self, metric: str) -> dict[str, float]:
        """A metric of the strategies that protect page tables, where it is known."""
        found = {name: self.metrics[name].get(metric) for name in self.protecting}
        return {name: value for name, value in found.items() if value is not None}

    def run_time_splits(self, strategy: str) -> float | None:
        """Splits of 1G and 2M leaves after the first event."""
        known = [n for leaf in ("1g", "2m") if (n := self.metrics[strategy][f"splits_{leaf}"]) is not None]
        return sum(known) if known else None

    def failures(self, strategy: str) -> list[str]:
        """What a strategy failed to supply, by kind."""
        mine = self.metrics[strategy]
        return [count(mine[metric], one, many) for metric, one, many in _FAILURES if mine[metric]]


def load_case(connection: duckdb.DuckDBPyConnection, capture: str) -> Case:
    """Load the facts of one capture.

    Args:
        connection: an open warehouse.
        capture: name of a capture with at least one run at default parameters.
    """
    answers = Answers(connection, capture=capture)
    metrics = {row["strategy"]: row for row in answers["facts"].records()}
    return Case(answers["capture"].records()[0], metrics, looks(answers), answers)


def looks(answers: Answers) -> dict[str, Look]:
    """Every strategy's family and look."""
    return {name: Look(*look) for name, *look in answers["looks"].rows}
