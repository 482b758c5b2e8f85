"""Replays those of the wanted runs that the warehouse does not have yet."""

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ptpool.warehouse import InUseError, open_warehouse
from replay.machine.reclaim import NONE
from replay.runs.one_run import Timed, compile_ahead, replay_timed
from replay.runs.progress import Watch
from replay.runs.run import Run, by_scene
from replay.runs.scene import Scenes
from replay.runs.store import kept_runs, write_costs, write_run, write_strategies
from replay.runs.workers import Failure, local_workers

_EVERY_S = 2.0  # between two writes
_PATIENCE_S, _LAST_PATIENCE_S = 1.0, 600.0  # time to wait for readers; at the end


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
    """A run that was refused, or that raised an exception, and where."""

    run: Run
    reason: str
    refused: bool = False


def replay_all(
    db: Path,
    wanted: Iterable[Run],
    jobs: int,
    on_done: Callable[[float, int], None],
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[Done], list[Failed]]:
    """Replay what is not in the warehouse yet, a scene at a time.

    The warehouse is open only while a recording is read or finished runs are written, so that others can read it
    meanwhile. Finished runs are kept, whatever ends this.

    Args:
        db: the warehouse.
        wanted: runs.
        jobs: how many go on at the same time.
        on_done: called every second with how far the work has come, in runs, and the number of runs that have ended.
        say: takes remarks: a run that will take long, a warehouse that cannot be written now.

    Returns:
        Finished runs, in the order wanted, and failed ones; a failure does not affect other runs.
    """
    runs = {run.run_id: run for run in wanted}
    with open_warehouse(db, write=True, create=False, patience=_LAST_PATIENCE_S) as connection:
        write_strategies(connection)
        write_costs(connection, runs.values())
        kept = kept_runs(connection)
    done = {run_id: Done(runs[run_id], *kept[run_id], fresh=False) for run_id in runs if run_id in kept}
    missing = [run for run_id, run in runs.items() if run_id not in done]
    if not missing:
        return [done[run_id] for run_id in runs], []
    reclaim, scenes, results = any(run.settings.reclaim != NONE for run in missing), Scenes(db, jobs), _Results(db, say)
    with (
        tempfile.TemporaryDirectory(prefix="ptpool-") as folder,
        local_workers(min(jobs, len(missing))) as workers,
        closing(results),  # before the workers end, which may take long
    ):
        watch = Watch(Path(folder), runs, say)

        def look() -> None:
            ended = len(done) + len(results.failed)
            on_done(ended + watch.look(time.monotonic()), ended)
            results.write_some()

        workers.while_waiting = look
        if workers.alone or reclaim:
            compile_ahead(reclaim=reclaim)
        for group in by_scene(missing):
            work = partial(replay_timed, folder=Path(folder))
            for run, timed in workers.run(work, workers.share(scenes.of(group)), group):
                watch.ended(run.run_id)
                if not isinstance(timed, Failure):
                    incidents = timed.result.tables.get("incident")
                    number = incidents.num_rows if incidents else 0
                    done[run.run_id] = Done(run, timed.result.events, timed.wall_s, number, True)
                results.add(run, timed)
                look()
    gone = {failure.run.run_id for failure in results.failed}
    return [done[run_id] for run_id in runs if run_id in done and run_id not in gone], results.failed


class _Results:
    """Finished runs on their way into the warehouse, which is open only for the moment of a write."""

    def __init__(self, db: Path, say: Callable[[str], None]) -> None:
        self._db, self._say = db, say
        self._waiting: list[tuple[Run, Timed]] = []
        self._due, self._said = 0.0, False
        self.failed: list[Failed] = []

    def add(self, run: Run, timed: Timed | Failure) -> None:
        if isinstance(timed, Failure):
            self.failed.append(Failed(run, timed.reason, timed.refused))
        else:
            self._waiting.append((run, timed))

    def write_some(self) -> None:
        """Write what waits, every few seconds; if another process has the warehouse open, later."""
        if self._waiting and time.monotonic() >= self._due:
            try:
                self._write(_PATIENCE_S)
            except InUseError as error:
                if not self._said:
                    self._say(f"{error.what}: finished runs wait until it closes it")
                self._said = True
            self._due = time.monotonic() + _EVERY_S

    def _write(self, patience: float) -> None:
        with open_warehouse(self._db, write=True, create=False, patience=patience) as connection:
            while self._waiting:
                run, timed = self._waiting[0]
                if not write_run(connection, run, timed):
                    self.failed.append(Failed(run, "its capture was removed or replaced meanwhile"))
                self._waiting.pop(0)

    def close(self) -> None:
        """Write the rest, whatever happened before."""
        if self._waiting:
            self._write(_LAST_PATIENCE_S)
