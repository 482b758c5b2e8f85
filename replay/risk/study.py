"""All draws of a study, in other processes, and their way into the warehouse."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import duckdb

from ptpool.errors import UsageError
from replay.contract.strategy import Strategy
from replay.demand.demand import load_demand
from replay.risk.exhaustion import Load, exhaust
from replay.risk.search import Draw, Found, Ground, search
from replay.risk.store import parameters_of, write_exhaustion, write_risk
from replay.runs.one_run import compile_ahead
from replay.runs.workers import Failure, local_workers
from replay.start.other_machine import check_memory, other_machine, profile_of
from replay.start.pressed_machine import AS_RECORDED, fragmentations, peak_net_demand
from replay.start.recorded_machine import recorded_machine

CHECK_EVERY = 4
"""Monotonicity is checked on every fourth seed."""

Named = tuple[Sequence[str], Sequence[Strategy]]
"""Strategies and their names, what the others are held against first."""


def study(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    machine: str,
    named: Named,
    grid: tuple[Sequence[str], Sequence[str], int],
    jobs: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """Search every draw, and write each variant and fragmentation when all its seeds are there.

    Args:
        connection: a warehouse open for writing.
        capture: row of table capture.
        machine: whose memory is filled anew.
        named: the strategies.
        grid: variants of reclaim, fragmentations, number of seeds.
        jobs: processes.
        on_done: told how many draws have ended.

    Returns:
        Draws that broke off, each with its reason; the variant and fragmentation they belong to go without them.

    Raises:
        UsageError: memory is to lie as recorded, and no snapshot tells how it did; see also `ground_of`.
    """
    variants, kinds, seeds = grid
    if AS_RECORDED in kinds:
        _check_snapshot(connection, capture)
    ground = ground_of(connection, capture, machine, jobs)
    draws = [
        Draw(kind, variant, seed, tuple(named[1]), seed % CHECK_EVERY == 0)
        for kind in kinds
        for variant in variants
        for seed in range(seeds)
    ]
    found: dict[tuple[str, str], list[tuple[Draw, Found]]] = {}
    ended: dict[tuple[str, str], int] = {}
    guesses: dict[tuple[str, str], tuple[int, ...]] = {}
    failed: list[str] = []
    compile_ahead(reclaim=True)
    with local_workers(min(jobs, len(draws))) as workers:
        shared = workers.share(ground)
        for draw, result in chain.from_iterable(
            workers.run(search, shared, [draw._replace(guesses=guesses.get(draw[:2], ())) for draw in part])
            for part in ([draw for draw in draws if not draw.seed], [draw for draw in draws if draw.seed])
        ):
            if not draw.seed and isinstance(result, Found):  # the others of its kind begin where it ended
                guesses[draw[:2]] = tuple(result.thresholds)
            key = (draw.reclaim, draw.fragmentation)
            ended[key] = ended.get(key, 0) + 1
            if isinstance(result, Failure):
                failed.append(f"{draw.fragmentation}, {draw.reclaim}, seed {draw.seed}: {result.reason}")
            else:
                found.setdefault(key, []).append((draw, result))
            if ended[key] == seeds and key in found:
                setting = (capture["capture_id"], machine, draw.reclaim)
                write_risk(connection, setting, draw.fragmentation, named[0], sorted(found[key], key=_seed))
            on_done(sum(ended.values()))
    return failed


def study_copies(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    machine: str,
    named: Named,
    grid: tuple[Sequence[str], int, int],
    jobs: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """Raise the number of copies for every variant of reclaim and seed; see `study`. Grid: variants, seeds, copies."""
    ground = ground_of(connection, capture, machine, jobs)
    variants, seeds, most = grid
    loads = [Load(variant, seed, most, tuple(named[1])) for variant in variants for seed in range(seeds)]
    rows: list[list[Any]] = []
    failed: list[str] = []
    compile_ahead(reclaim=True)
    with local_workers(min(jobs, len(loads))) as workers:
        for done, (load, result) in enumerate(workers.run(exhaust, workers.share(ground), loads), 1):
            on_done(done)
            if isinstance(result, Failure):
                failed.append(f"{load.reclaim}, seed {load.seed}: {result.reason}")
                continue
            for (place, copies), outcome in result.items():
                name, strategy = named[0][place], named[1][place]
                when = None if outcome.failed is None else outcome.at_ns - ground.demand.first_ns
                key = [capture["capture_id"], name, parameters_of(strategy), machine, load.reclaim, load.seed]
                rows.append([*key, copies, outcome.failed, outcome.page_order, when])
    if rows:
        write_exhaustion(connection, rows)
    return failed


def ground_of(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], machine: str, jobs: int) -> Ground:
    """What all draws share: the recording, and the machine it is replayed on."""
    demand = load_demand(connection, capture)
    recorded = start = recorded_machine(connection, capture, demand)
    if (profile := profile_of(machine)) is not None:
        check_memory(profile, recorded.geometry.page_shift, jobs)
        start = other_machine(profile, recorded, demand, 0)
    return Ground(demand, recorded, start, max(peak_net_demand(recorded, demand), 1))


def _check_snapshot(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> None:
    known = connection.execute(
        "SELECT count(*) FROM free_blocks WHERE capture_id = ? AND moment = 'before'", [capture["capture_id"]]
    ).fetchall()[0][0]
    if not known:
        raise UsageError(
            f"--fragmentation {AS_RECORDED}: {capture['name']} has no snapshot of its free memory from before",
            f"record one (ptpool ingest capture), or take one of {', '.join(fragmentations())}",
        )


def _seed(pair: tuple[Draw, Found]) -> int:
    return pair[0].seed
