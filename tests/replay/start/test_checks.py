"""What no machine has is refused before anything is built from it; what looks odd and exists is not."""

import duckdb
import numpy as np
import pytest

from ptpool.errors import UsageError
from ptpool.warehouse import create_schema
from replay.kernel.geometry import X86_64, assumptions_of, geometry_of, recorded_geometry
from replay.kernel.mmzone import ZONE_NORMAL, page_allocator
from replay.start.checks import check_snapshots
from replay.start.zones import Zones, zone_arrays

ZONES = {  # node, zone: start_pfn, spanned, present, managed
    (0, "DMA"): (1, 4095, 3998, 3840),
    (0, "DMA32"): (4096, 61398, 61398, 50599),
}
CAPTURE = {
    "capture_id": "c", "name": "mine", "arch": "x86_64", "page_size": 4096, "max_order": 10, "pageblock_order": 9,
    "total_pages": 65396, "kernel_release": "6.12.1",
}  # fmt: skip


@pytest.fixture
def warehouse():
    with duckdb.connect(":memory:") as connection:
        create_schema(connection)
        yield connection


def record(connection, zones=ZONES, watermark=10):
    rows = []
    for (node, zone), pages in zones.items():
        names = ("start_pfn", "spanned", "present", "managed", "min", "low", "high", "protection[0]")
        values = (*pages, watermark, watermark, watermark, 0)
        rows += [(f"Node {node}, zone {zone}, {name}", value) for name, value in zip(names, values, strict=True)]
    connection.executemany("INSERT INTO snapshot_value VALUES ('c', 'before', 'zoneinfo', ?, ?)", rows)


def test_a_sound_machine_passes(warehouse):
    record(warehouse)
    warehouse.execute("INSERT INTO free_blocks VALUES ('c', 'before', 0, 'DMA', NULL, 10, 3)")
    warehouse.execute("INSERT INTO pageset VALUES ('c', 'before', 0, 'DMA', 0, 'high', 7)")
    check_snapshots(warehouse, CAPTURE, "before", 65000)


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        (
            {(0, "DMA"): (1, 9_999_999_999, 3998, 3840)},
            "10,000,000,000 pages, by zoneinfo before the recording, zone DMA",
        ),
        ({(0, "DMA"): (1, 10**13, 10**13, 10**13)}, "521,541 GiB of memory are needed"),
        ({(0, "DMA"): (-5, 4095, 3998, 3840)}, "zone DMA of node 0 has start_pfn -5"),
        ({(0, "DMA"): (1, -1, 3998, 3840)}, "spanned -1"),
        ({(0, "DMA"): (1, 4095, 9999, 3840)}, "present 9,999, but spanned 4,095"),
        ({(0, "DMA"): (1, 4095, 3998, 5000)}, "managed 5,000, but spanned 4,095"),
        ({(0, "DMA"): (1 << 62, 1 << 62, 3998, 3840)}, "has start_pfn 4,611,686,018,427,387,904"),
    ],
)
def test_zones_that_no_machine_has(warehouse, zones, says):
    record(warehouse, ZONES | zones)
    with pytest.raises(UsageError, match=says):
        check_snapshots(warehouse, CAPTURE, "before", 65000)


@pytest.mark.parametrize(
    ("insert", "says"),
    [
        ("free_blocks VALUES ('c', 'before', 0, 'DMA', NULL, 3, -1)", "buddyinfo before the recording: zone DMA"),
        ("free_blocks VALUES ('c', 'before', 0, 'DMA', NULL, 10, 1000)", "1,000 free blocks of order 10"),
        (
            "free_blocks VALUES ('c', 'before', 0, 'DMA', 'CMA', 0, 1::BIGINT << 60)",
            "pagetypeinfo before the recording",
        ),
        ("pageblocks VALUES ('c', 'before', 0, 'DMA', 'Movable', -3)", "-3 pageblocks"),
        ("pageset VALUES ('c', 'before', 0, 'DMA', 5, 'batch', 1::BIGINT << 40)", "for CPU 5"),
        ("pageset VALUES ('c', 'before', 0, 'DMA', 5, 'count', -9)", "count -9"),
        (
            "snapshot_value VALUES ('c', 'before', 'vmstat', 'nr_page_table_pages', 70000)",
            "vmstat before the recording",
        ),
    ],
)
def test_counts_that_memory_has_no_room_for(warehouse, insert, says):
    record(warehouse)
    warehouse.execute(f"INSERT INTO {insert}")
    with pytest.raises(UsageError, match=says) as refused:
        check_snapshots(warehouse, CAPTURE, "before", 65000)
    assert len(str(refused.value).splitlines()) == 2


def test_only_the_moment_that_is_used_is_checked(warehouse):
    record(warehouse)
    warehouse.execute("INSERT INTO free_blocks VALUES ('c', 'after', 0, 'DMA', NULL, 3, -1)")
    check_snapshots(warehouse, CAPTURE, "before", 65000)


def test_a_page_frame_number_of_the_trace_can_be_too_large(warehouse):
    with pytest.raises(UsageError, match="by the trace"):
        check_snapshots(warehouse, CAPTURE, "before", 1 << 31)


def spans(zones):
    return [(row.node, row.zone, row.first, row.last) for row in zones.rows]


def test_nodes_that_take_turns_lie_one_after_the_other(warehouse):
    record(warehouse, {(0, "Normal"): (1000, 3000, 2000, 1990), (8, "Normal"): (2000, 3000, 2000, 1980)})
    zones = Zones.read(warehouse, "c", "before")
    assert spans(zones) == [(0, "Normal", 1000, 2999), (8, "Normal", 3000, 4999)]
    said = []
    bounds, _, _ = zone_arrays(zones, zones.pages, said)
    assert bounds[:, 3].tolist() == [0, 1]  # node numbers have gaps, those of the model have none
    assert said[0].startswith("2 zones overlap")
    page_allocator(zones.pages, bounds, X86_64)


def test_holes_in_memory_are_no_pages_of_zones_that_overlap(warehouse):
    record(warehouse, {(0, "Normal"): (0, 4000, 1500, 1500), (1, "Normal"): (1000, 2000, 1000, 1000)})
    warehouse.execute("INSERT INTO memory_range VALUES ('c', 0, 999, 'System RAM'), ('c', 2000, 3999, 'System RAM')")
    assert spans(Zones.read(warehouse, "c", "before")) == [(0, "Normal", 0, 2499), (1, "Normal", 2500, 3999)]


def test_zones_that_overlap_and_find_no_memory_are_refused(warehouse):
    record(warehouse, {(0, "Normal"): (0, 4000, 4000, 4000), (1, "Normal"): (1000, 2000, 1000, 1000)})
    with pytest.raises(UsageError, match="no memory is left for its 1,000 pages"):
        Zones.read(warehouse, "c", "before")


def test_zoneinfo_without_some_lines(warehouse):
    rows = [("start_pfn", 64), ("present", 1000)]  # before 3.10 there was no managed
    named = [(f"Node 0, zone Normal, {name}", value) for name, value in rows]
    warehouse.executemany("INSERT INTO snapshot_value VALUES ('c', 'before', 'zoneinfo', ?, ?)", named)
    (row,) = Zones.read(warehouse, "c", "before").rows
    assert (row.first, row.last, row.managed, row.wmark_low, row.protection) == (64, 1063, 1000, 0, None)
    zone_arrays(Zones([row]), 2000, [])


@pytest.mark.parametrize("bounds", [[(0, 9), (5, 19)], [(10, 19), (0, 9)], [(0, 20)], [(-1, 5)], [(6, 5)]])
def test_the_page_allocator_takes_no_zones_that_overlap_or_leave_memory(bounds):
    zones = np.array([[*each, ZONE_NORMAL, 0] for each in bounds], np.int64)
    with pytest.raises(ValueError, match="do not lie apart"):
        page_allocator(20, zones, X86_64)


@pytest.mark.parametrize("arch", ["riscv64", "ppc64le", "s390x", "loongarch64", "armv7l", "i686", "sparc64"])
def test_an_architecture_without_rules_is_refused(arch):
    assert geometry_of(arch, 4096) is None
    with pytest.raises(UsageError, match=f"capture mine: the replay has no rules for {arch}"):
        recorded_geometry(CAPTURE | {"arch": arch})


def test_what_was_not_recorded_is_assumed_and_said():
    unknown = CAPTURE | {"arch": None, "page_size": None, "max_order": None, "pageblock_order": None}
    assert recorded_geometry(unknown) == X86_64
    said = assumptions_of(unknown, X86_64)
    assert [each.split(" was")[0] for each in said] == ["The architecture", "The page size"]
    assert assumptions_of(CAPTURE, X86_64) == []
    with pytest.raises(UsageError, match="no pages of 16,384 bytes on x86_64"):
        recorded_geometry(CAPTURE | {"page_size": 16384})


@pytest.mark.parametrize(("recorded", "modelled"), [(10, 10), (13, 13), (15, 13), (8, 9), (None, 10)])
def test_max_page_order_is_the_recorded_one(recorded, modelled):
    geometry = recorded_geometry(CAPTURE | {"max_order": recorded})
    assert geometry.max_order == modelled
    said = assumptions_of(CAPTURE | {"max_order": recorded}, geometry)
    assert bool(said) == (recorded not in (modelled, None))


def test_other_pageblocks_are_said_to_be_converted():
    (said,) = assumptions_of(CAPTURE | {"pageblock_order": 10}, X86_64)
    assert "order 10" in said
