"""All draws of a study: run in other processes, written to the warehouse."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import duckdb

from ptpool.errors import UsageError
from replay.contract.strategy import Strategy
from replay.demand.demand import load_demand
from replay.risk.search import Draw, Study, Thresholds, search
from replay.risk.store import write_risk
from replay.runs.one_run import compile_ahead
from replay.runs.store import write_strategies
from replay.runs.workers import Failure, local_workers
from replay.start.other_machine import check_memory, other_machine, profile_of
from replay.start.pressed_machine import AS_RECORDED, fragmentations, peak_net_demand
from replay.start.recorded_machine import recorded_machine

CHECK_EVERY = 4
"""Every fourth seed also checks that more headroom does not hurt."""

Named = tuple[Sequence[str], Sequence[Strategy]]
"""Names and strategies; the others are compared with the first."""


def run_study(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    machine: str,
    named: Named,
    grid: tuple[Sequence[str], Sequence[str], int],
    jobs: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """Search every draw, and write each variant and fragmentation once all its seeds are done.

    Args:
        connection: a warehouse open for writing.
        capture: row of table capture.
        machine: the machine whose memory is filled.
        named: the strategies.
        grid: variants of reclaim, fragmentations, number of seeds.
        jobs: processes.
        on_done: called with the number of draws that have ended.

    Returns:
        Draws that broke off, each with its reason; their variant and fragmentation are written without them.

    Raises:
        UsageError: fragmentation as recorded, but no snapshot shows it; or the machine is unknown or too large.
    """
    variants, kinds, seeds = grid
    if AS_RECORDED in kinds:
        _check_snapshot(connection, capture)
    study = study_of(connection, capture, machine, jobs)
    draws = [
        Draw(kind, variant, seed, tuple(named[1]), seed % CHECK_EVERY == 0)
        for kind in kinds
        for variant in variants
        for seed in range(seeds)
    ]
    found: dict[tuple[str, str], list[tuple[Draw, Thresholds]]] = {}
    ended: dict[tuple[str, str], int] = {}
    guesses: dict[tuple[str, str], tuple[int, ...]] = {}
    failed: list[str] = []
    write_strategies(connection)  # view strategy_label compares parameters with their defaults
    compile_ahead(reclaim=True)
    with local_workers(min(jobs, len(draws))) as workers:
        shared = workers.share(study)
        for draw, result in chain.from_iterable(
            workers.run(search, shared, [draw._replace(guesses=guesses.get(draw[:2], ())) for draw in part])
            for part in ([draw for draw in draws if not draw.seed], [draw for draw in draws if draw.seed])
        ):
            if not draw.seed and isinstance(result, Thresholds):  # where the other draws of its kind begin
                guesses[draw[:2]] = tuple(result.steps)
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


def study_of(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], machine: str, jobs: int) -> Study:
    """What all draws share: the recording, and the machine it is replayed on."""
    demand = load_demand(connection, capture)
    recorded = start = recorded_machine(connection, capture, demand)
    if (profile := profile_of(machine)) is not None:
        check_memory(profile, recorded.geometry.page_shift, jobs)
        start = other_machine(profile, recorded, demand, 0)
    return Study(demand, recorded, start, max(peak_net_demand(recorded, demand), 1))


def _check_snapshot(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> None:
    known = connection.execute(
        "SELECT count(*) FROM free_blocks WHERE capture_id = ? AND moment = 'before'", [capture["capture_id"]]
    ).fetchall()[0][0]
    if not known:
        raise UsageError(
            f"--fragmentation {AS_RECORDED}: {capture['name']} has no snapshot of its free memory before the recording",
            f"record one (ptpool ingest capture), or choose one of {', '.join(fragmentations())}",
        )


def _seed(pair: tuple[Draw, Thresholds]) -> int:
    return pair[0].seed
