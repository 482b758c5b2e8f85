"""All draws of a study: run in other processes, written to the warehouse."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.contract.strategy import Strategy
from replay.demand.demand import load_demand
from replay.demand.pgds import without_pti
from replay.demand.table_share import table_share, with_table_share
from replay.risk.extent import Extent
from replay.risk.kept import KeptDraws
from replay.risk.search import Draw, Kind, Study, Thresholds, search
from replay.risk.store import Where, write_risk
from replay.runs.one_run import compile_ahead
from replay.runs.store import write_strategies
from replay.runs.workers import Failure, local_workers
from replay.start.other_machine import check_memory, other_machine, profile_of
from replay.start.pressed_machine import AS_RECORDED, fragmentations, peak_net_demand
from replay.start.recorded_machine import recorded_machine

_EVERY_S = 5.0  # between two writes
_PATIENCE_S = 600.0  # time to wait for a reader of the warehouse

CHECK_EVERY = 4
"""Every fourth seed also checks that more headroom does not hurt."""

Found = tuple[Draw, Thresholds | Failure]

Named = tuple[Sequence[str], Sequence[Strategy]]
"""Names and strategies; the others are compared with the first."""


class About(NamedTuple):
    """What a study is of."""

    capture: dict[str, Any]
    """Row of table capture."""
    machine: str
    """The machine whose memory is filled."""
    table_share: float | None = None
    """Share of page tables in what is allocated (`replay.demand.table_share`); None: as recorded."""


def run_study(
    db: Path,
    about: About,
    named: Named,
    extent: Extent,
    jobs: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """Search every draw that is not kept from an interrupted study, and write each as it ends.

    The warehouse is open only while the recording is read or results are written.

    Args:
        db: the warehouse.
        about: what is replayed.
        named: the strategies.
        extent: what is drawn.
        jobs: processes.
        on_done: called with the number of draws that have ended.

    Returns:
        Draws that broke off, each with its reason; their variant and fragmentation are written without them.

    Raises:
        UsageError: fragmentation as recorded, but no snapshot shows it; or the machine is unknown or too large.
    """
    with open_warehouse(db) as connection:
        if AS_RECORDED in extent.fragmentations:
            _check_snapshot(connection, about.capture)
        study = study_of(connection, about, jobs)
    with open_warehouse(db, write=True, create=False, patience=_PATIENCE_S) as connection:
        write_strategies(connection)  # view strategy_label compares parameters with their defaults
    draws = [
        Draw(*kind, seed, tuple(named[1]), seed % CHECK_EVERY == 0)
        for seed in range(extent.seeds)
        for kind in extent.kinds
    ]
    where = (about.capture["capture_id"], about.machine, study.table_share)
    kept, failed, ended = KeptDraws(db, *where), [], 0
    guesses: dict[Kind, tuple[int, ...]] = {}
    written = _Written(db, where, named[0])
    compile_ahead(reclaim=True)
    with local_workers(min(jobs, len(draws))) as workers, closing(written):
        shared = workers.share(study)
        for part in (draws[: len(extent.kinds)], draws[len(extent.kinds) :]):
            known = [draw._replace(guesses=guesses.get(draw.kind, ())) for draw in part]
            found = [(draw, kept.find(draw)) for draw in known]
            there = [(draw, whole) for draw, whole in found if whole is not None]
            left = [draw for draw, whole in found if whole is None]
            for draw, result in chain(there, _keeping(kept, workers.run(search, shared, left))):
                ended += 1
                if isinstance(result, Failure):
                    failed.append(f"{', '.join(draw.kind)}, seed {draw.seed}: {result.reason}")
                else:
                    written.add(draw, result)
                    if not draw.seed:  # where the other draws of its kind begin
                        guesses[draw.kind] = tuple(result.steps)
                on_done(ended)
    kept.remove()
    return failed


def _keeping(kept: KeptDraws, results: Iterable[Found]) -> Iterator[Found]:
    """Results as they come; those that are whole are kept."""
    for draw, result in results:
        if not isinstance(result, Failure):
            kept.keep(draw, result)
        yield draw, result


class _Written:
    """Results on their way into the warehouse, which is open only for the moment of a write."""

    def __init__(self, db: Path, where: Where, names: Sequence[str]) -> None:
        self._db, self._where, self._names, self._due = db, where, names, 0.0
        self._found: dict[Kind, list[tuple[Draw, Thresholds]]] = {}
        self._new: set[Kind] = set()

    def add(self, draw: Draw, result: Thresholds) -> None:
        self._found.setdefault(draw.kind, []).append((draw, result))
        self._new.add(draw.kind)
        if time.monotonic() >= self._due:
            self.close()
            self._due = time.monotonic() + _EVERY_S

    def close(self) -> None:
        """Write the rest, whatever happened before."""
        if self._new:
            with open_warehouse(self._db, write=True, create=False, patience=_PATIENCE_S) as connection:
                for kind in self._new:
                    draws = sorted(self._found[kind], key=lambda pair: pair[0].seed)
                    write_risk(connection, self._where, self._names, draws)
            self._new.clear()


def study_of(connection: duckdb.DuckDBPyConnection, about: About, jobs: int) -> Study:
    """What all draws share: the recording, and the machine it is replayed on."""
    demand = load_demand(connection, about.capture)
    if about.table_share is not None:
        demand = with_table_share(demand, about.table_share)
    recorded = start = recorded_machine(connection, about.capture, demand)
    if (profile := profile_of(about.machine)) is not None:
        check_memory(profile, recorded.geometry.page_shift, jobs)
        start = other_machine(profile, recorded, demand, 0)
    demand = without_pti(demand)
    share = table_share(demand) if about.table_share is None else about.table_share
    return Study(demand, recorded, start, max(peak_net_demand(recorded, demand), 1), round(share, 4))


def _check_snapshot(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> None:
    known = connection.execute(
        "SELECT count(*) FROM free_blocks WHERE capture_id = ? AND moment = 'before'", [capture["capture_id"]]
    ).fetchall()[0][0]
    if not known:
        raise UsageError(
            f"--fragmentation {AS_RECORDED}: {capture['name']} has no snapshot of its free memory before the recording",
            f"record one (ptpool ingest capture), or choose one of {', '.join(fragmentations())}",
        )
