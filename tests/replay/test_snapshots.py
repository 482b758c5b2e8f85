"""Replays held against the machine's own snapshots, and snapshots that cannot be believed."""

import json
from pathlib import Path

import numpy as np
import pytest

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.run_settings import RunSettings
from ptpool.vocabulary import RECLAIMABLE, UNMOVABLE
from ptpool.warehouse import capture_row, open_warehouse
from replay.contract.registry import strategies
from replay.demand.demand import load_demand
from replay.kernel.mmzone import FIRST_PFN, FREE, HOLE, ON_PCP, PCP_COUNT
from replay.runs.run import Run
from replay.runs.scene import Scenes
from replay.start.other_machine import RECORDED, other_machine, profile_of
from replay.start.recorded_machine import read_machine, recorded_machine
from replay.validate.placement import Placement
from replay.validate.snapshot import Comparison, comparable, compare, keep

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
FRAG, BOOT = "sharedmem-frag-1g", "boot-512m"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshots") / "ptpool.duckdb"
    for name in (FRAG, BOOT):
        assert run(["ingest", "trace", str(CAPTURES / name), "--quiet", "--db", str(path)]) == 0
    return path


@pytest.fixture
def connection(warehouse):
    """The warehouse, as it was before when the test ends."""
    with open_warehouse(warehouse, write=True) as connection:
        connection.begin()
        yield connection
        connection.rollback()


def machine_of(connection, name=FRAG, seed=0):
    capture = capture_row(connection, name)
    return recorded_machine(connection, capture, load_demand(connection, capture), seed)


def test_a_prediction_holds_within_a_quarter_of_the_change_or_32(tmp_path):
    def of(predicted, before=0.0, after=400.0, quantity="free_blocks"):
        return Comparison(quantity, "Normal", 0, before, after, predicted, predicted, predicted)

    for item, holds, better in (
        (of(300.0), True, True),
        (of(500.0), True, True),
        (of(299.0), False, True),
        (of(-1.0), False, False),
        (of(32.0, after=0.0), True, None),
        (of(33.0, after=0.0), False, None),
        (of(0.0, after=0.0), None, None),  # nothing changed, and nothing was predicted to
        (of(0.0, quantity="pcp_pages"), None, None),  # no target
    ):
        with open_warehouse(tmp_path / "w.duckdb", write=True) as fresh:
            keep(fresh, "c", [item], Placement(np.zeros(1, np.uint8), [], 0))
            found = fresh.execute("SELECT holds, better FROM validation_verdict WHERE capture = 'c'").fetchall()
        assert found == [(holds, better)], item
    assert (of(300.0).null_error, of(300.0).model_error, of(300.0).allowed_error) == (400, 100, 100)


def test_every_prediction_is_compared_with_what_was_recorded(warehouse, capsys):
    arguments = ["replay", "validate", "--capture", FRAG, "--seeds", "2", "--quiet", "--json", "--db", str(warehouse)]
    statuses = [run(arguments), run(arguments)]
    shown = json.loads(capsys.readouterr().out.split("]\n[")[0].rstrip("]\n") + "]")
    assert statuses == [0 if all(row["holds"] is not False for row in shown) else 1] * 2
    with open_warehouse(warehouse) as connection:
        rows = connection.execute(
            """SELECT quantity, zone, page_order, recorded_after - recorded_before,
                      predicted BETWEEN predicted_low AND predicted_high,
                      null_error = abs(recorded_after - recorded_before) AND model_error = abs(recorded_after - predicted)
               FROM validation"""
        ).fetchall()
        recorded = connection.execute(
            "SELECT count(*) FROM free_blocks JOIN capture USING (capture_id) WHERE name = ? AND migratetype IS NULL",
            [FRAG],
        ).fetchone()
    assert len({row[:3] for row in rows}) == len(rows) == len(shown)  # the second call replaced the first one's
    assert all(between and right for *_, between, right in rows)
    assert sum(quantity == "free_blocks" for quantity, *_ in rows) == recorded[0] / 2
    change = {(quantity, zone): change for quantity, zone, order, change, *_ in rows if order is None}
    assert change["free_pages", "DMA32"] == 702
    assert change["splits_2m", None] == 0


def test_without_a_snapshot_from_after_there_is_nothing_to_compare_with(connection):
    assert comparable(connection) == [BOOT, FRAG]
    connection.execute("DELETE FROM free_blocks WHERE moment = 'after'")
    assert comparable(connection) == []
    with pytest.raises(UsageError, match="nothing to compare with"):
        compare(connection, capture_row(connection, FRAG), 1)


def test_a_part_of_a_recording_is_refused(warehouse, capsys):
    with open_warehouse(warehouse, write=True) as connection:
        connection.execute("UPDATE capture SET window_to_ns = last_ns WHERE name = ?", [FRAG])
    try:
        assert run(["replay", "validate", "--capture", FRAG, "--db", str(warehouse)]) == 2
        assert "imported in part" in capsys.readouterr().err
    finally:
        with open_warehouse(warehouse, write=True) as connection:
            connection.execute("UPDATE capture SET window_to_ns = NULL WHERE name = ?", [FRAG])


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
    connection.execute("UPDATE snapshot_value SET value = 1 << 30 WHERE name LIKE '%zone DMA32, start_pfn'")
    with pytest.raises(UsageError, match="kpageflags ends at"):
        machine_of(connection)


def test_snapshots_of_another_machine_are_refused(connection):
    connection.execute("UPDATE page_event SET pfn = pfn + (1 << 22)")
    with pytest.raises(UsageError, match="do not exist on the machine"):
        machine_of(connection)


def test_a_few_absent_pages_are_said(connection):
    connection.execute("UPDATE page_event SET pfn = pfn + (1 << 22) WHERE pfn = (SELECT max(pfn) FROM page_event)")
    assert any("do not exist in the snapshots" in line for line in machine_of(connection).assumptions)


def test_snapshots_that_disagree_are_said(connection):
    assert not any("more or less than buddyinfo" in line for line in machine_of(connection).assumptions)
    connection.execute("UPDATE free_blocks SET blocks = blocks + 3 WHERE page_order = 1 AND migratetype IS NULL")
    assert any("12 free pages more or less than buddyinfo" in line for line in machine_of(connection).assumptions)


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
    monkeypatch.setattr("replay.runs.scene.read_machine", lambda *args: read.append(args) or read_machine(*args))
    scenes, entry = Scenes(connection, 1), strategies()["unprotected"]
    for machine, seed in [(RECORDED, 0), (RECORDED, 1), ("64M", 2)]:
        scenes.of([Run(capture_row(connection, FRAG), entry, entry.factory(), RunSettings(seed=seed, machine=machine))])
    assert len(read) == 1
