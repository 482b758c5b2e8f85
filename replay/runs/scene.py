"""What the runs of a group replay, and on what: their demand, and the machine before the first event."""

from contextlib import nullcontext
from pathlib import Path

import duckdb

from ptpool.warehouse import open_warehouse
from replay.demand.copies import scaled
from replay.demand.demand import Demand, load_demand
from replay.demand.inject import injected
from replay.demand.pgds import OFF, without_pti
from replay.runs.run import Run
from replay.start.free_list_order import RECORDED_ORDER
from replay.start.other_machine import check_memory, other_machine, profile_of
from replay.start.recorded_machine import InitialState, Recorded, drawn, read_machine

Scene = tuple[Demand, InitialState]
"""What the runs of a group share and only read."""


class Scenes:
    """Sets the scene for groups of runs. What the recording alone determines is read once for groups in a row.

    Args:
        source: the warehouse: open, or its path, if it is to be open only while a recording is read.
        at_a_time: how many runs go on at the same time.
    """

    def __init__(self, source: duckdb.DuckDBPyConnection | Path, at_a_time: int) -> None:
        self._source, self._at_a_time = source, at_a_time
        self._last: tuple[tuple[str, bool], Demand, Recorded] | None = None

    def of(self, group: list[Run]) -> Scene:
        """The scene of a group.

        Raises:
            UsageError: snapshots that contradict each other or the trace, or a machine that does not fit into memory.
        """
        settings = group[0].settings
        demand, recorded = self.recorded(group[0])
        if (profile := profile_of(settings.machine)) is None:
            machine = drawn(recorded, demand, settings.seed, settings.free_list_order)
        else:
            check_memory(profile, recorded.state.geometry.page_shift, min(self._at_a_time, len(group)))
            machine = other_machine(profile, recorded.state, demand, settings.seed, settings.free_list_order)
        demand = without_pti(demand) if settings.pti == OFF else demand
        demand = scaled(demand, settings.copies, settings.seed, len(machine.mapped))
        place = (machine.mapped, machine.cpus, machine.geometry)
        return injected(demand, settings.inject, *place, settings.seed), machine

    def recorded(self, run: Run) -> tuple[Demand, Recorded]:
        """What a run replays, and the machine that it was recorded on."""
        capture_id, seed, last = run.capture["capture_id"], run.settings.seed, self._last
        read = capture_id, run.settings.free_list_order == RECORDED_ORDER
        if last is not None and last[0] == read and last[2].seed in (None, seed):
            return last[1:]
        demand = last[1] if last is not None and last[0][0] == capture_id else None
        self._last = last = None  # before the next is read: one machine at a time is in memory
        with open_warehouse(self._source) if isinstance(self._source, Path) else nullcontext(self._source) as source:
            demand = demand or load_demand(source, run.capture)
            recorded = read_machine(source, run.capture, demand, seed, with_lists=read[1])
        self._last = read, demand, recorded
        return demand, recorded
