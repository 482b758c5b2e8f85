"""What a sweep will take: time by what runs took before, memory by the machines it simulates."""

from typing import NamedTuple

import duckdb

from replay.runs.wanted import Wanted, by_scene
from replay.start.other_machine import bytes_needed, check_memory, pages_of, profile_of

_EVENTS_PER_S, _NS_A_PAGE = 2e6, 30
"""A run where nothing like it was run yet: its events a second, and what each simulated page takes."""
_START_S, _RECORDING_S, _SCENE_S, _SCENE_NS_A_PAGE = 6.0, 1.0, 0.02, 20
"""The start of it all; reading a recording; setting a scene on it, and what each of its pages takes."""
_PROCESS = 450 << 20
"""Bytes of a process with everything loaded: compiled code, the capture, its events."""


class Expected(NamedTuple):
    """What a sweep will take."""

    seconds: float
    memory: int
    """Bytes at most at any time, of all workers."""


def expected(connection: duckdb.DuckDBPyConnection, missing: list[Wanted], at_a_time: int) -> Expected:
    """Time and memory that runs will take on a machine that does nothing else.

    Runs are expected to be as fast as the median of those of the same capture, machine, reclaim and strategy; failing
    that, as those of any strategy, or as the machine's size lets expect.

    Raises:
        UsageError: a machine that does not fit into the memory of this one, so many replays at a time.
    """
    rates = dict(connection.execute(_RATES).fetchall())
    seconds, memory = _RECORDING_S * len({run.capture["capture_id"] for run in missing}), 0
    for group in by_scene(missing):
        capture, scene = group[0].capture, group[0]
        profile, page_shift = profile_of(scene.machine), capture["page_size"].bit_length() - 1
        together = min(at_a_time, len(group))
        if profile is not None:
            check_memory(profile, page_shift, together)
        pages = pages_of(profile, page_shift) if profile else capture["total_pages"] or 0
        ahead = bytes_needed(pages, 0) if at_a_time > 1 else 0  # the next scene is set while the last runs go on
        memory = max(memory, bytes_needed(pages, together) + ahead)
        events = capture["events"] * scene.copies
        as_ever = events / _EVENTS_PER_S + pages * _NS_A_PAGE * 1e-9
        seconds += _SCENE_S + pages * _SCENE_NS_A_PAGE * 1e-9
        for run in group:
            like_it = f"{capture['capture_id']} {run.machine} {run.reclaim}"
            rate = rates.get(f"{like_it} {run.entry.name}") or rates.get(like_it)
            seconds += (events / rate if rate else as_ever) / together
    processes = at_a_time + (at_a_time > 1)
    return Expected(seconds + (_START_S if missing else 0), memory + processes * _PROCESS)


_RATES = """
    SELECT concat_ws(' ', capture_id, machine, reclaim, strategy), median(events_per_s)
    FROM run JOIN run_timing USING (run_id)
    GROUP BY GROUPING SETS ((capture_id, machine, reclaim, strategy), (capture_id, machine, reclaim))
"""
