"""The machine at the start, from its snapshots, and snapshots that cannot be believed."""

import pytest

from ptpool.errors import UsageError
from ptpool.vocabulary import RECLAIMABLE, UNMOVABLE
from ptpool.warehouse import capture_row
from replay.demand.demand import load_demand
from replay.kernel.mmzone import FIRST_PFN, FREE, HOLE, ON_PCP, PCP_COUNT
from replay.start.recorded_machine import recorded_machine


def machine_of(connection, seed=0):
    capture = capture_row(connection, "sharedmem-frag-1g")
    return recorded_machine(connection, capture, load_demand(connection, capture), seed)


def test_seeds_change_the_lists_and_nothing_else(connection):
    one, two, three = (machine_of(connection, seed=seed).allocator for seed in (1, 1, 2))
    assert (one.link == two.link).all()
    assert (one.link != three.link).any()
    assert (one.order == three.order).all()
    assert ((one.kind == FREE) == (three.kind == FREE)).all()
    assert (one.pcp == three.pcp).all()


@pytest.mark.parametrize("flags", [True, False], ids=["page flags", "buddyinfo"])
def test_per_cpu_lists_hold_as_many_pages_as_zoneinfo_counts(connection, flags):
    if not flags:
        connection.execute("DELETE FROM page_flags")
    a = machine_of(connection).allocator
    held = {
        (zone, cpu): int(a.pcp[place * 2 + cpu, PCP_COUNT])
        for place, zone in enumerate(("DMA", "DMA32"))
        for cpu in (0, 1)
    }
    assert held == {("DMA", 0): 40, ("DMA", 1): 105, ("DMA32", 0): 6498, ("DMA32", 1): 7420}
    assert int((a.kind == ON_PCP).sum()) == sum(held.values())


def test_without_page_flags_the_free_blocks_are_those_of_buddyinfo(connection):
    exact = machine_of(connection)
    connection.execute("DELETE FROM page_flags")
    drawn = machine_of(connection)
    assert (drawn.allocator.nr_free == exact.allocator.nr_free).all()
    for migratetype in (UNMOVABLE, RECLAIMABLE):
        blocks = [int((machine.allocator.block_type == migratetype).sum()) for machine in (drawn, exact)]
        assert blocks[0] == blocks[1] > 0
    assert any("drawn by seed" in line for line in drawn.assumptions)
    assert drawn.page_tables_elsewhere == 402
    assert drawn.page_tables_known


def test_without_any_snapshot_the_machine_is_cold(connection):
    for table in ("page_flags", "free_blocks", "snapshot_value"):
        connection.execute(f"DELETE FROM {table}")
    machine = machine_of(connection)
    assert any("neither page flags nor buddyinfo" in line for line in machine.assumptions)
    assert not machine.page_tables_known


def test_an_unknown_zone_is_refused(connection):
    connection.execute("UPDATE snapshot_value SET name = replace(name, 'zone DMA32', 'zone HighMem')")
    with pytest.raises(UsageError, match="does not know zone HighMem"):
        machine_of(connection)


def test_device_memory_is_no_zone_of_the_allocator(connection):
    zones = machine_of(connection).allocator.zones
    connection.execute("UPDATE snapshot_value SET name = replace(name, 'zone DMA,', 'zone Device,')")
    machine = machine_of(connection)
    assert machine.allocator.zones.tolist() == zones[1:].tolist()
    assert (machine.allocator.kind[: zones[1, FIRST_PFN]] == HOLE).all()
    assert any("they lie in no zone of zoneinfo" in line for line in machine.assumptions)


def test_a_zone_beyond_the_page_flags_is_refused(connection):
    connection.execute("UPDATE snapshot_value SET value = 1 << 22 WHERE name LIKE '%zone DMA32, start_pfn'")
    with pytest.raises(UsageError, match="kpageflags ends at"):
        machine_of(connection)


def test_snapshots_of_another_machine_are_refused(connection):
    connection.execute("UPDATE event SET pfn = pfn + (1 << 22)")
    with pytest.raises(UsageError, match="do not exist on the machine"):
        machine_of(connection)


def test_a_few_absent_pages_are_said(connection):
    connection.execute("UPDATE event SET pfn = pfn + (1 << 22) WHERE pfn = (SELECT max(pfn) FROM event)")
    assert any("do not exist in the snapshots" in line for line in machine_of(connection).assumptions)


def test_snapshots_that_disagree_are_said(connection):
    assert not any("more or less than buddyinfo" in line for line in machine_of(connection).assumptions)
    connection.execute("UPDATE free_blocks SET blocks = blocks + 3 WHERE page_order = 1 AND migratetype IS NULL")
    assert any("12 free pages more or less than buddyinfo" in line for line in machine_of(connection).assumptions)
