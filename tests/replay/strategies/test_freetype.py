"""Blocks that are flipped for tables and back, by hand on a toy machine."""

from accounts import metrics
from toy_machine import OTHER, demand_of, finished, machine_of, tables

from replay.kernel import direct_map as maps
from replay.strategies.freetype import Freetype


def test_freetype_flips_a_block_back_before_a_request_stalls():
    """Two blocks flipped, all tables freed: memory for others comes from the flipped block, without a stall."""
    script = tables(5) + [("free", page, 0, OTHER) for page in range(5)]
    script += [("alloc", 100 + page, 0, OTHER) for page in range(3)]
    start = machine_of(64, free=[page < 10 for page in range(64)], level=maps.PMD)
    machine = finished(start, demand_of(script), Freetype(block_order=2, pcp_batch=0))
    values = metrics(machine)

    assert values["stalls"] == 0
    assert values["shrunk_pages"] == 4
    assert values["unplaced_allocations"] == 0
    assert values["refills"] == 2


def test_freetype_has_no_smaller_fallback_than_a_block():
    start = machine_of(64, free=[page % 2 == 0 for page in range(64)])
    values = metrics(finished(start, demand_of(tables(1)), Freetype(block_order=2, pcp_batch=0)))
    assert values["ptp_nulls"] == 1
