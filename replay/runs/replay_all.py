"""Replays those of the wanted runs that the warehouse does not have yet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import duckdb

from replay.machine.reclaim import NONE
from replay.runs.one_run import Timed, compile_ahead, replay_timed
from replay.runs.run import Run, by_scene
from replay.runs.scene import Scenes
from replay.runs.store import kept_runs, write_costs, write_run, write_strategies
from replay.runs.workers import Failure, local_workers


@dataclass(frozen=True)
class Done:
    """A finished run, for the table a user sees."""

    run: Run
    events: int
    wall_s: float
    incidents: int
    fresh: bool


@dataclass(frozen=True)
class Failed:
    """A run that raised an exception, and where."""

    run: Run
    reason: str


def replay_all(
    connection: duckdb.DuckDBPyConnection, wanted: Iterable[Run], jobs: int, on_done: Callable[[int], None]
) -> tuple[list[Done], list[Failed]]:
    """Replay what is not in the warehouse yet, a scene at a time, and write each run as it ends.

    `on_done` is called after each run, with the number of runs that are done or have failed.

    Returns:
        Finished runs, in the order wanted, and failed ones; a failure does not affect other runs.
    """
    runs = {run.run_id: run for run in wanted}
    done: dict[str, Done] = {}
    failed: list[Failed] = []

    def settle(run_id: str, timed: Timed | Failure) -> None:
        run = runs[run_id]
        if isinstance(timed, Failure):
            failed.append(Failed(run, timed.reason))
        else:
            write_run(connection, run, timed)
            incidents = timed.result.tables.get("incident")
            done[run_id] = Done(run, timed.result.events, timed.wall_s, incidents.num_rows if incidents else 0, True)
        on_done(len(done) + len(failed))

    write_strategies(connection)
    write_costs(connection, runs.values())
    for run_id, kept in kept_runs(connection).items():
        if run_id in runs:
            done[run_id] = Done(runs[run_id], *kept, fresh=False)
    missing = [run for run_id, run in runs.items() if run_id not in done]
    if missing:
        reclaim, scenes = any(run.settings.reclaim != NONE for run in missing), Scenes(connection, jobs)
        with local_workers(min(jobs, len(missing))) as workers:
            if workers.alone or reclaim:
                compile_ahead(reclaim=reclaim)
            for group in by_scene(missing):
                for run, timed in workers.run(replay_timed, workers.share(scenes.of(group)), group):
                    settle(run.run_id, timed)
    return [done[run_id] for run_id in runs if run_id in done], failed
