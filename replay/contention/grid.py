"""The grid that fills table contention: numbers of CPUs, times of a key change, and the demand of a capture."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from ptpool.warehouse import transaction
from replay.contention.simulate import simulate
from replay.contention.steps import steps_of
from replay.contract.registry import configure, find
from replay.contract.strategy import Strategy, parameters_json
from replay.profiles.costs import CostProfile, Costs

CPUS = (2, 4, 8, 16, 32, 64, 128, 256)
CHANGES_NS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
FREE_ORDERS = (9, 2)
"""Largest order that the page allocator has free: a 2M block for every refill, or four pages at most."""

VARIANTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("reserve-block", {}),
    ("reserve-block", {"mutex": "false"}),
    ("pba", {}),
    ("reserve-block-percpu", {"magazine_order": "2"}),
    ("reserve-block-percpu", {"magazine_order": "9"}),
)
"""Strategies and parameters: with a mutex around refills, without the one that the September mail leaves open, and with
per-CPU lists."""

TABLES_OF_A_GIB = 515
"""Page tables that fork() makes for 1 GiB in 4K pages: 512 of PTEs, one each of PMDs and PUDs, a PGD."""

_TABLES, _REFILLS, _DRAWN = 8192, 192, 256
_CYCLES = 2
"""Refills of each CPU that are simulated: CPUs that run out together refill together, which makes a cycle."""


class Demand(NamedTuple):
    """How many page tables a busy CPU asks for."""

    per_second: float
    basis: str


def demand_of(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], costs: Costs) -> Demand:
    """The busiest 10 ms of any CPU if the recording's clock is real; otherwise a CPU that only forks."""
    if capture["timing"] == "real":
        row = connection.execute(
            """SELECT max(tables) * 100.0 FROM (
                   SELECT count(*) AS tables FROM page_event
                   WHERE capture_id = ? AND kind = 'alloc' AND level IS NOT NULL GROUP BY cpu, ts_ns // 10000000)""",
            [capture["capture_id"]],
        ).fetchone()
        if row and row[0]:
            return Demand(float(row[0]), "the busiest 10 ms of one CPU of this recording")
    return Demand(TABLES_OF_A_GIB * 1e9 / costs.fork_ns, "a CPU that does nothing but fork a process of 1 GiB")


class Point(NamedTuple):
    """One simulation and its result: the columns of table contention, except those of the capture."""

    strategy: str
    params: str
    free_order: int
    cpus: int
    change_ns: int
    tables: int
    alloc_ns: float
    lock_wait_ns: float
    held_pages_mean: float
    held_pages_peak: int
    refills: int


def points(per_second: float, costs: Costs) -> Iterator[Point]:
    """Every variant on every number of CPUs, for every time of a key change, with and without free 2M blocks."""
    for name, settings in VARIANTS:
        (entry,) = find([name])
        strategy = configure(entry, settings)
        for cpus in CPUS:
            rng = np.random.default_rng(cpus)
            think = np.ceil(rng.exponential(1e9 / per_second, (cpus, _DRAWN))).astype(np.int64)
            for free_order in FREE_ORDERS:
                for change_ns in CHANGES_NS:
                    yield _point(name, strategy, free_order, change_ns, think, costs)


def _point(
    name: str, strategy: Strategy, free_order: int, change_ns: int, think: np.ndarray[Any, Any], costs: Costs
) -> Point:
    steps = steps_of(strategy, free_order, change_ns, costs)
    tables = max(_TABLES, max(_REFILLS, _CYCLES * len(think)) << free_order)
    found = simulate(steps, think, tables, costs, skipped=tables // 4)
    return Point(
        name, parameters_json(strategy), free_order, len(think), change_ns, found.tables, found.alloc_ns,
        found.lock_wait_ns, found.held_pages_mean, found.held_pages_peak, found.refills,
    )  # fmt: skip


TOTAL = len(VARIANTS) * len(CPUS) * len(FREE_ORDERS) * len(CHANGES_NS)


def contention(
    connection: duckdb.DuckDBPyConnection,
    captures: list[dict[str, Any]],
    profile: CostProfile,
    per_second: float | None,
    on_done: Callable[[int], None],
) -> None:
    """Fill table contention for captures; those with the same demand and constants share one grid.

    Args:
        connection: a warehouse open for writing.
        captures: rows of table capture.
        profile: how long operations take.
        per_second: page tables per second that a busy CPU asks for; None: see `demand_of`.
        on_done: called with the number of simulations done.
    """
    wanted: dict[tuple[Demand, Costs], list[str]] = {}
    for capture in captures:
        costs = profile.of(capture["arch"] or "")
        demand = Demand(per_second, "given") if per_second else demand_of(connection, capture, costs)
        wanted.setdefault((demand, costs), []).append(capture["capture_id"])
    done = 0
    for (demand, costs), ids in wanted.items():
        found = []
        for point in points(demand.per_second, costs):
            found.append(point)
            done += 1
            on_done(done)
        with transaction(connection):
            connection.register("points", pa.Table.from_pylist([point._asdict() for point in found]))
            connection.execute("DELETE FROM contention WHERE list_contains(?, capture_id)", [ids])
            connection.execute(
                """INSERT INTO contention BY NAME
                   SELECT *, lock_wait_ns / alloc_ns AS lock_wait_share, ? AS tables_per_s, ? AS basis, ? AS costs,
                          unnest(?) AS capture_id FROM points""",
                [demand.per_second, demand.basis, profile.name, ids],
            )
            connection.unregister("points")
