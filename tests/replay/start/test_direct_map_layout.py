"""The direct map before the first event: from recorded page tables, or by the rules of boot."""

import numpy as np
import pytest

from ptpool.warehouse import open_warehouse
from replay.kernel import direct_map as maps
from replay.kernel.buddy import build_free_lists
from replay.kernel.geometry import ARM64_4K, ARM64_16K, ARM64_64K, X86_64
from replay.kernel.mmzone import ZONE_NORMAL, page_allocator
from replay.start.direct_map_layout import lay_out

GIB = 1 << 18  # pages of 4K


@pytest.fixture
def warehouse(tmp_path):
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        yield connection


def describe(connection, release="6.18.1", midr=None, ram=(), counters=(), leaves=()):
    connection.execute(
        """INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'c' AS name, '' AS source, '' AS sha256, 'ftrace' AS format,
           $1 AS kernel_release, 4096 AS page_size, 2 AS cpus, 'unknown' AS timing, 0 AS first_ns, 1 AS last_ns, 1 AS events,
           0 AS lost_events, false AS has_stacks, '' AS code_version""",
        [release],
    )
    for first, last, name in ram:
        connection.execute("INSERT INTO memory_range VALUES ('c', ?, ?, ?)", [first, last, name])
    for name, pages in counters:
        connection.execute("INSERT INTO snapshot_value VALUES ('c', 'before', 'meminfo', ?, ?)", [name, 4 * pages])
    for run in leaves:
        connection.execute("INSERT INTO direct_map_recorded VALUES ('c', 'before', ?, ?, ?)", run)
    if midr is not None:
        connection.execute("INSERT INTO snapshot_value VALUES ('c', 'before', 'cpuinfo', 'cpu 0, midr', ?)", [midr])


def laid_out(connection, geometry, pages=3 * GIB):
    zones = np.array([[0, pages - 1, ZONE_NORMAL, 0]], np.int64)
    allocator = page_allocator(pages, zones, geometry)
    build_free_lists(allocator, np.ones(pages, np.bool_))
    said = []
    mapped, level = lay_out(connection, "c", "before", np.ones(pages, np.bool_), allocator, geometry, said)
    return maps.direct_map(mapped, level, geometry), " ".join(said)


def pages_by_level(d):
    return [int(d.counts[maps.PAGES + level]) for level in (maps.PTE, maps.PMD, maps.PUD)]


def test_recorded_page_tables_are_taken_as_they_are(warehouse):
    leaves = [(0, 511, "pte"), (512, GIB - 1, "pmd"), (GIB, 2 * GIB - 1, "pud"), (2 * GIB, 2 * GIB + 99, "pte")]
    describe(warehouse, leaves=leaves, ram=[(0, 2 * GIB + 99, "System RAM")], counters=[("DirectMap4k", 0)])
    d, said = laid_out(warehouse, X86_64)
    assert pages_by_level(d) == [512 + 100, GIB - 512, GIB]
    assert "recorded page tables" in said and "Unvalidated" not in said


def test_leaves_that_reach_beyond_the_machine_are_cut_down(warehouse):
    describe(warehouse, leaves=[(0, GIB - 1, "pud")])
    d, _ = laid_out(warehouse, X86_64, pages=700)
    assert pages_by_level(d) == [700 - 512, 512, 0]


AMPERE_ONE, V3_OLD, V3 = 0xC0 << 24 | 0xAC3 << 4, 0x41 << 24 | 0xD84 << 4 | 1, 0x41 << 24 | 0xD84 << 4 | 2


@pytest.mark.parametrize(
    ("release", "midr", "blocks"),
    [
        ("6.18.1", AMPERE_ONE, True),
        ("7.3.4+deb13-arm64", V3, True),
        ("6.18.1", V3_OLD, False),
        ("6.12.9", AMPERE_ONE, False),
        ("6.18.1", 0x41 << 24 | 0xD0C << 4, False),
        (None, AMPERE_ONE, False),
        ("6.18.1", None, False),
    ],
    ids=["AmpereOne", "V3 r0p2", "V3 r0p1", "before 6.18", "N1", "unknown kernel", "unknown CPU"],
)
def test_arm64_has_blocks_where_the_cpu_can_split_them_in_use(warehouse, release, midr, blocks):
    describe(warehouse, release, midr, ram=[(0, 3 * GIB - 1, "System RAM")])
    d, said = laid_out(warehouse, ARM64_4K)
    assert pages_by_level(d) == ([0, 0, 3 * GIB] if blocks else [3 * GIB, 0, 0])
    assert ("BBML2 maps the linear map with the largest blocks" in said) == blocks
    assert "Unvalidated" not in said  # recorded sequences of 4K pages hold the model to account


def test_arm64_blocks_end_at_the_edges_of_memory_and_of_the_kernel_image(warehouse):
    ram = [(100, 3 * GIB - 1, "System RAM"), (GIB + 1000, GIB + 4095, "Kernel code")]
    describe(warehouse, midr=AMPERE_ONE, ram=ram)
    d, _ = laid_out(warehouse, ARM64_4K)
    assert pages_by_level(d) == [512 - 100 + 512, 2 * GIB - 1024, GIB]
    assert d.cont_pmd[1] and not d.cont_pmd[0]  # 32M from 32M on; the first lacks its first 2M


@pytest.mark.parametrize(("geometry", "pages"), [(ARM64_16K, 1 << 14), (ARM64_64K, 1 << 15)])
def test_larger_granules_have_no_pud_leaves(warehouse, geometry, pages):
    describe(warehouse, midr=AMPERE_ONE, ram=[(0, pages - 1, "System RAM")])
    d, said = laid_out(warehouse, geometry, pages)
    assert pages_by_level(d) == [0, pages, 0]
    assert "Unvalidated" in said
