"""Scenes of runs in a row: each is as if it were set alone, and what does not depend on the seed is read once."""

import numpy as np
import pytest

from ptpool.run_settings import RunSettings
from ptpool.warehouse import capture_row
from replay.contract.registry import strategies
from replay.demand.demand import load_demand
from replay.runs.run import Run
from replay.runs.scene import Scenes
from replay.start.other_machine import RECORDED, other_machine, profile_of
from replay.start.recorded_machine import read_machine, recorded_machine

FRAG, BOOT = "sharedmem-frag-1g", "boot-512m"


def machine_of(connection, name=FRAG, seed=0):
    capture = capture_row(connection, name)
    return recorded_machine(connection, capture, load_demand(connection, capture), seed)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [True, False], ids=["page flags", "buddyinfo"])
@pytest.mark.parametrize("size", [None, "64M"], ids=["recorded", "64M"])
def test_scenes_in_a_row_are_those_that_are_set_alone(connection, flags, size):
    """What is read once for all seeds is left as it was by every draw."""
    if not flags:
        connection.execute("DELETE FROM page_flags")
    scenes, entry = Scenes(connection, 1), strategies()["unprotected"]
    for name, seed in [(FRAG, 1), (FRAG, 2), (BOOT, 2), (FRAG, 2), (FRAG, 1)]:
        wanted = Run(
            capture_row(connection, name), entry, entry.factory(), RunSettings(seed=seed, machine=size or RECORDED)
        )
        _, machine = scenes.of([wanted])
        alone = machine_of(connection, name, seed)
        if size:
            demand = load_demand(connection, wanted.capture)
            alone = other_machine(profile_of(size), alone, demand, seed)
        for one, other in zip(machine.allocator, alone.allocator, strict=True):
            assert np.array_equal(one, other)
        assert (machine.level == alone.level).all()
        assert machine.assumptions == alone.assumptions


def test_what_does_not_depend_on_the_seed_is_read_once(connection, monkeypatch):
    read = []
    monkeypatch.setattr(
        "replay.runs.scene.read_machine", lambda *args, **named: read.append(args) or read_machine(*args, **named)
    )
    scenes, entry = Scenes(connection, 1), strategies()["unprotected"]
    for machine, seed in [(RECORDED, 0), (RECORDED, 1), ("64M", 2)]:
        scenes.of([Run(capture_row(connection, FRAG), entry, entry.factory(), RunSettings(seed=seed, machine=machine))])
    assert len(read) == 1
