"""The time and memory that a sweep will take: time from earlier runs, memory from the machines it simulates."""

from typing import NamedTuple

import duckdb

from replay.kernel.geometry import ASSUMED_PAGE
from replay.runs.run import Run, by_scene
from replay.start.checks import bytes_needed
from replay.start.other_machine import check_memory, pages_of, profile_of

_EVENTS_PER_S, _NS_A_PAGE = 2e6, 30
"""For a run unlike any earlier one: its events per second, and the time for each simulated page."""
_START_S, _RECORDING_S, _SCENE_S, _SCENE_NS_A_PAGE = 6.0, 1.0, 0.02, 20
"""Time to start; to read a recording; to build a machine and demand from it, and for each page of that machine."""
_PROCESS = 450 << 20
"""Bytes of a process with everything loaded: compiled code, the capture, its events."""


class Expected(NamedTuple):
    """What a sweep will take."""

    seconds: float
    memory: int
    """Peak of all workers together, bytes."""


def expected(connection: duckdb.DuckDBPyConnection, missing: list[Run], at_a_time: int) -> Expected:
    """Time and memory that runs will take on an otherwise idle machine.

    A run is expected to be as fast as the median of earlier runs of the same capture, machine, reclaim and strategy. If
    there are none, those of any strategy count; if there are none of these either, the machine's size does.

    Raises:
        UsageError: so many replays at a time of a machine do not fit into the memory of this one.
    """
    rates = dict(connection.execute(_RATES).fetchall())
    seconds, memory = _RECORDING_S * len({run.capture["capture_id"] for run in missing}), 0
    for group in by_scene(missing):
        capture, settings = group[0].capture, group[0].settings
        profile, page_shift = profile_of(settings.machine), (capture["page_size"] or ASSUMED_PAGE).bit_length() - 1
        together = min(at_a_time, len(group))
        if profile is not None:
            check_memory(profile, page_shift, together)
        pages = pages_of(profile, page_shift) if profile else capture["total_pages"] or 0
        ahead = bytes_needed(pages, 0) if at_a_time > 1 else 0  # the next scene is built during the last runs
        memory = max(memory, bytes_needed(pages, together) + ahead)
        events = capture["events"] * settings.copies
        guess = events / _EVENTS_PER_S + pages * _NS_A_PAGE * 1e-9
        seconds += _SCENE_S + pages * _SCENE_NS_A_PAGE * 1e-9
        for run in group:
            key = f"{capture['capture_id']} {settings.machine} {run.settings.reclaim}"
            rate = rates.get(f"{key} {run.entry.name}") or rates.get(key)
            seconds += (events / rate if rate else guess) / together
    processes = at_a_time + (at_a_time > 1)
    return Expected(seconds + (_START_S if missing else 0), memory + processes * _PROCESS)


_RATES = """
    SELECT concat_ws(' ', capture_id, machine, reclaim, strategy), median(events_per_s)
    FROM run JOIN run_timing USING (run_id)
    GROUP BY GROUPING SETS ((capture_id, machine, reclaim, strategy), (capture_id, machine, reclaim))
"""
