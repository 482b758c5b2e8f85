"""One capture: the facts behind its sentences, tables and figures."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import duckdb

from reports.formats import LEAF_NAMES
from reports.questions import Answer, Answers

Metrics = dict[str, Any]


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
        refills: by strategy and page order, requests of its refills and those of them that got nothing.
        splits: by strategy, leaf and cause, the number of splits (``warm_up``: before the first event).
        failed_allocations: by strategy, requests of any order that got nothing.
        quality: by name, counts of the import.
        reserve: by strategy, the pages that its parameters keep for splits.
        modelled: pairs of strategy and metric that the replay wrote, including NULL.
        agreement: counts of the recorded machine before and after, and of the replay of `unprotected`.
        answers: every answer, by the name of its question.
    """

    capture: dict[str, Any]
    metrics: dict[str, Metrics]
    looks: dict[str, Look] = field(default_factory=dict)
    refills: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    splits: dict[str, dict[tuple[str, str], int]] = field(default_factory=dict)
    failed_allocations: dict[str, int] = field(default_factory=dict)
    quality: dict[str, int] = field(default_factory=dict)
    reserve: dict[str, int] = field(default_factory=dict)
    modelled: frozenset[tuple[str, str]] = frozenset()
    agreement: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

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
    def pools(self) -> list[str]:
        """Strategies with a pool whose refills were counted."""
        return [s for s, m in self.metrics.items() if self.family(s) == "pool" and m["refills"] is not None]

    @property
    def time_unit(self) -> str:
        """What the time axes count."""
        return "emulated seconds" if self.capture["timing"] == "emulated" else "seconds"

    @property
    def described(self) -> frozenset[str]:
        """Metrics that the glossary describes."""
        return frozenset(row["metric"] for row in self.answers["glossary"].records())

    def family(self, strategy: str) -> str:
        """Kind of a strategy: see `Look`."""
        return self.looks.get(strategy, Look()).family

    def value(self, strategy: str, metric: str) -> Any:
        """A metric of a strategy; None: NULL in the warehouse."""
        return self.metrics[strategy].get(metric)

    def run_time_splits(self, strategy: str) -> float | None:
        """Splits of 1G and 2M leaves after the first event."""
        splits = [self.metrics[strategy][leaf] for leaf in ("splits_1g", "splits_2m")]
        known = [number for number in splits if number is not None]
        return sum(known) if known else None

    def missing(self, strategy: str, metric: str) -> str:
        """Why a metric is NULL: it does not apply, or the replay does not model it yet."""
        return "n/a" if (strategy, metric) in self.modelled else "not modelled yet"


def load_case(connection: duckdb.DuckDBPyConnection, capture: str) -> Case:
    """Load the facts of one capture.

    Args:
        connection: an open warehouse.
        capture: name of a capture with at least one run at default parameters.
    """
    answers = Answers(connection, capture=capture)
    refills: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in answers["refills"].records():
        refills[row["strategy"]][row["page_order"]] = (row["refill_attempts"], row["refill_failures"])
    splits: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for row in answers["splits"].records():
        splits[row["strategy"]][row["leaf"], row["cause"]] = row["splits"]
    failed: Counter[str] = Counter()
    for row in answers["run_order"].records():
        failed[row["strategy"]] += row["failures"]
    quality: Counter[str] = Counter()
    for row in answers["data_quality"].records():  # a row per CPU, or one for all
        quality[row["what"]] += row["value"]
    return Case(
        capture=answers["capture"].records()[0],
        metrics={row["strategy"]: row for row in answers["facts"].records()},
        looks=looks(answers),
        refills=dict(refills),
        splits=dict(splits),
        failed_allocations=dict(failed),
        quality=dict(quality),
        reserve=_reserves(answers["provenance"]),
        modelled=frozenset((s, m) for s, m in answers["modelled"].rows),
        agreement=answers["agreement"].records(),
        answers=answers,
    )


def looks(answers: Answers) -> dict[str, Look]:
    """Every strategy's family and look."""
    return {name: Look(*look) for name, *look in answers["looks"].rows}


def _reserves(provenance: Answer) -> dict[str, int]:
    found = {}
    for row in provenance.records():
        value = json.loads(row["params"]).get("reserve")
        if isinstance(value, int) and value > 0:
            found[row["strategy"]] = value
    return found
