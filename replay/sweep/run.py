"""The runs of a sweep: workers make those that are missing, and each becomes a shard as soon as it has finished."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import duckdb

from replay.machine.reclaim import NONE
from replay.runs.one_run import compile_ahead, replay_timed
from replay.runs.run import Run, by_scene
from replay.runs.scene import Scene, Scenes
from replay.runs.workers import Failure, Shared, Workers
from replay.sweep.shards import Shards


def make_shards(
    connection: duckdb.DuckDBPyConnection,
    missing: list[Run],
    shards: Shards,
    workers: Workers,
    on_done: Callable[[int], None],
) -> list[tuple[Run, Failure]]:
    """Replay runs and write a shard for each; returns those that failed, each with its reason.

    Args:
        connection: the warehouse, which is only read.
        missing: runs.
        shards: where they go.
        workers: they replay the runs.
        on_done: called after each run with the number that have ended.
    """
    reclaim = any(run.settings.reclaim != NONE for run in missing)
    if workers.alone or reclaim:
        compile_ahead(reclaim=reclaim)
    failed: list[tuple[Run, Failure]] = []
    left: dict[tuple[object, ...], int] = {}
    shared: dict[tuple[object, ...], Shared[Scene]] = {}

    def groups() -> Iterator[tuple[Shared[Scene], list[Run]]]:
        scenes = Scenes(connection, workers.at_a_time)
        for group in by_scene(missing):
            scene = group[0].scene
            shared[scene] = workers.share(scenes.of(group))
            left[scene] = len(group)
            yield shared[scene], group

    for nth, (run, timed) in enumerate(workers.run_groups(partial(replay_timed, metrics_only=True), groups()), 1):
        if isinstance(timed, Failure):
            failed.append((run, timed))
        else:
            shards.write(run, timed)
        left[run.scene] -= 1
        if left[run.scene] == 0:
            workers.forget(shared.pop(run.scene))
        on_done(nth)
    return failed


def default_folder(db: Path, sweep: str) -> Path:
    """Where shards wait until all of them are merged: next to the warehouse."""
    return db.with_name(f"{db.name}.{sweep}.shards")
