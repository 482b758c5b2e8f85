"""The runs of a sweep: those that are missing, by workers, each a shard as soon as it has ended."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from replay.execute import Failure, Shared, Workers
from replay.one_run import Scene, compile_ahead, replay_metrics
from replay.other_machine import bytes_needed, profile_of
from replay.reclaim import NONE
from replay.sweep.shards import Shards
from replay.wanted import Wanted, by_scene, demand_and_machine

_EVENTS_PER_S, _SCENE_S = 1.5e6, 2.0
"""What is expected where nothing was run yet: events a second, and seconds to set a scene."""


class Expected(NamedTuple):
    """What a sweep will take."""

    seconds: float
    memory: int
    """Bytes at most at any time, of all workers."""


def expected(connection: duckdb.DuckDBPyConnection, missing: list[Wanted], at_a_time: int) -> Expected:
    """Time and memory that runs will take, by what runs of the same strategies took before."""
    known = dict(
        connection.execute(
            "SELECT strategy, median(events_per_s) FROM run JOIN run_timing USING (run_id) GROUP BY strategy"
        ).fetchall()
    )
    seconds = sum(
        run.capture["events"] * run.copies / known.get(run.entry.name, _EVENTS_PER_S) for run in missing
    ) / max(at_a_time, 1)
    groups = by_scene(missing)
    memory = 0
    for group in groups:
        profile, capture = profile_of(group[0].machine), group[0].capture
        pages = profile.size // capture["page_size"] if profile else capture["total_pages"] or 0
        memory = max(memory, bytes_needed(pages, min(at_a_time, len(group))))
    return Expected(seconds + _SCENE_S * len(groups), memory)


def make_shards(
    connection: duckdb.DuckDBPyConnection,
    missing: list[Wanted],
    shards: Shards,
    workers: Workers,
    on_done: Callable[[int], None],
) -> list[tuple[Wanted, str]]:
    """Replay runs and write a shard for each; what fails is returned with its reason.

    Args:
        connection: the warehouse, which is only read.
        missing: runs.
        shards: where they go.
        workers: who makes them.
        on_done: told how many have ended, after each.
    """
    compile_ahead(reclaim=any(run.reclaim != NONE for run in missing))
    failed: list[tuple[Wanted, str]] = []
    left: dict[tuple[object, ...], int] = {}
    where: dict[tuple[object, ...], Shared[Scene]] = {}

    def groups() -> Iterator[tuple[Shared[Scene], list[Wanted]]]:
        for group in by_scene(missing):
            scene = group[0].scene
            where[scene] = workers.share(demand_and_machine(connection, group[0], min(workers.at_a_time, len(group))))
            left[scene] = len(group)
            yield where[scene], group

    for nth, (run, timed) in enumerate(workers.run_groups(replay_metrics, groups()), 1):
        if isinstance(timed, Failure):
            failed.append((run, timed.reason))
        else:
            shards.write(run, timed)
        left[run.scene] -= 1
        if left[run.scene] == 0:
            workers.forget(where.pop(run.scene))
        on_done(nth)
    return failed


def default_folder(db: Path, sweep: str) -> Path:
    """Where shards wait until all of them are merged: beside the warehouse."""
    return db.with_name(f"{db.name}.{sweep}.shards")
