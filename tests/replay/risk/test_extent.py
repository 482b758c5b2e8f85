"""How much a study does where nobody says."""

import pytest

from replay.risk.extent import Extent, chosen, seconds

USUAL = Extent(8, ("fresh", "severe"), ("optimistic", "moderate", "none"))


def test_a_small_recording_is_studied_whole():
    assert chosen(None, None, None, 19, 50_000, 1 << 18) == (USUAL, False)


@pytest.mark.parametrize("events", [1_000_000, 3_600_000, 30_000_000])
def test_a_large_one_ends_in_minutes(events):
    extent, fewer = chosen(None, None, None, 19, events, 1 << 20)
    assert fewer
    assert extent.machines < USUAL.machines
    assert seconds(extent, 19, events, 1 << 20) < seconds(USUAL, 19, events, 1 << 20) / 2
    assert events > 5_000_000 or seconds(extent, 19, events, 1 << 20) <= 900


def test_what_is_asked_for_is_done():
    extent, fewer = chosen(8, None, None, 19, 30_000_000, 1 << 20)
    assert (extent, fewer) == (USUAL, False)
    assert chosen(None, ["severe"], None, 19, 30_000_000, 1 << 20)[0] == Extent(8, ("severe",), USUAL.reclaim)
