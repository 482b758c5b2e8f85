"""How much a study does where nobody says."""

import pytest

from replay.risk.extent import Extent, chosen, seconds

USUAL = Extent(6, ("0.15", "0.8"), ("unmovable",), ("moderate",))

NOTHING = (None, None, None)


def test_a_small_recording_is_studied_whole():
    assert chosen(None, NOTHING, 5, 110_000, 1 << 18) == (USUAL, False)


@pytest.mark.parametrize("events", [1_000_000, 3_600_000, 30_000_000])
def test_a_large_one_ends_in_minutes(events):
    extent, fewer = chosen(None, NOTHING, 5, events, 1 << 20)
    assert fewer
    assert extent.machines < USUAL.machines
    assert seconds(extent, 5, events, 1 << 20) < seconds(USUAL, 5, events, 1 << 20) / 2
    assert events > 1_000_000 or seconds(extent, 5, events, 1 << 20) <= 600


def test_what_is_asked_for_is_done():
    extent, fewer = chosen(6, NOTHING, 19, 30_000_000, 1 << 20)
    assert (extent, fewer) == (USUAL, False)
    asked = (["0", "severe"], ["movable"], None)
    found, _ = chosen(None, asked, 19, 30_000_000, 1 << 20)
    assert found == Extent(6, ("0", "severe"), ("movable",), USUAL.reclaim)
    assert len(set(found.kinds)) == 2
