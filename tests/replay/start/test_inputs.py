"""Inputs that people have: the machine that a replay starts from is the recorded one, or what it is not is said."""

import pytest
from inputs import bundle_of

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.vocabulary import UNMOVABLE
from ptpool.warehouse import capture_row, open_warehouse
from replay.demand.demand import load_demand
from replay.start.recorded_machine import read_machine

pytestmark = pytest.mark.slow
DMA, DMA32, NORMAL = range(3)


def start_of(bundle):
    """The start of the machine that a bundle was recorded on."""
    db = bundle.with_suffix(".duckdb")
    assert run(["ingest", "trace", str(bundle), "--name", "mine", "--db", str(db), "--quiet"]) == 0
    with open_warehouse(db) as connection:
        capture = capture_row(connection, "mine")
        return read_machine(connection, capture, load_demand(connection, capture)).state


def free_pages(state):
    return state.allocator.free_pages.tolist()


def test_memory_that_a_driver_added_is_in_the_direct_map(tmp_path):
    state = start_of(bundle_of("16-iomem-kmem", tmp_path))
    assert state.mapped.sum() << 12 > 15.9 * 2**30


def test_free_memory_is_the_same_in_larger_blocks(tmp_path):
    recorded = {DMA: 3840, DMA32: 493190, NORMAL: 3474561}  # blocks of base/before/buddyinfo << order
    state = start_of(bundle_of("18-max-order-13", tmp_path))
    assert state.geometry.max_order == 13
    free = free_pages(state)
    assert all(abs(free[zone] - pages) <= 3 << 9 for zone, pages in recorded.items())
    assert state.allocator.nr_free[NORMAL, 13] == 424


def test_pageblocks_of_another_order_are_converted_and_that_is_said(tmp_path):
    state = start_of(bundle_of("20-pagetypeinfo-block-order", tmp_path))
    a = state.allocator
    in_normal = a.block_type[a.zones[NORMAL, 0] >> 9 : (a.zones[NORMAL, 1] >> 9) + 1]
    assert (in_normal == UNMOVABLE).sum() == 298
    assert any("pageblocks are of order 10" in each for each in state.assumptions)


def test_an_unknown_page_size_is_assumed_and_said(tmp_path):
    state = start_of(bundle_of("23-android-16k-pages", tmp_path))
    assert state.assumptions[0] == "The page size was not recorded: pages of 4 KiB are assumed."


@pytest.mark.parametrize("case", ["25-ppc64le-64k", "26-riscv64", "27-s390x-addresses"])
def test_an_architecture_without_rules_is_not_replayed(case, tmp_path):
    with pytest.raises(UsageError, match="the replay has no rules for"):
        start_of(bundle_of(case, tmp_path))


def test_page_tables_that_kpageflags_does_not_mark_are_alive_somewhere(tmp_path):
    state = start_of(bundle_of("44-kpageflags-without-pgtable", tmp_path))
    assert (len(state.page_tables), state.page_tables_elsewhere, state.page_tables_known) == (0, 193, True)


def test_zones_of_two_nodes_that_overlap_end(tmp_path):
    bundle = bundle_of("14-meminfo-wrapped-counter", tmp_path)
    (bundle / "before" / "pagetypeinfo").unlink()
    zoneinfo, buddyinfo = bundle / "before" / "zoneinfo", bundle / "before" / "buddyinfo"
    head, normal = zoneinfo.read_text().split("Node 0, zone   Normal")
    normal, rest = normal.split("Node 0, zone  Movable")
    half = normal.replace("3670016", "1835008").replace("3597816", "1798908").replace("3474561", "1737280")
    first = half.replace("spanned  1835008", "spanned  3670016")
    second = half.replace("start_pfn:           1048576", "start_pfn:           2883584")
    zoneinfo.write_text(f"{head}Node 0, zone   Normal{first}Node 0, zone  Movable{rest}Node 1, zone   Normal{second}")
    lines = buddyinfo.read_text().splitlines()
    blocks = "".join(f" {n}" for n in [0] * 10 + [1696])
    buddyinfo.write_text("\n".join([*lines[:2], f"Node 0, zone Normal{blocks}", f"Node 1, zone Normal{blocks}"]) + "\n")
    state = start_of(bundle)
    assert state.allocator.zones.tolist()[2:] == [[1048576, 2883583, 2, 0], [2883584, 4718591, 2, 1]]
    assert abs(sum(free_pages(state)[2:]) - (2 * 1696 << 10)) < 1 << 10
    assert any("2 zones overlap" in each for each in state.assumptions)


def test_a_machine_that_fits_into_no_memory_is_refused_before_it_is_built(tmp_path):
    bundle = bundle_of("14-meminfo-wrapped-counter", tmp_path)
    zoneinfo = bundle / "before" / "zoneinfo"
    zoneinfo.write_text(zoneinfo.read_text().replace("spanned  3670016", "spanned  9999999999"))
    with pytest.raises(UsageError, match=r"zoneinfo before the recording, zone Normal of node 0: 522 GiB of memory"):
        start_of(bundle)
