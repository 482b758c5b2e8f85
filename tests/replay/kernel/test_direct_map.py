"""The compiled direct map against the slow reference: same leaves, same splits in the same order, planned exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_direct_map import ReferenceDirectMap, ReferenceLinearMap
from toy_machine import TOY

from replay.kernel import direct_map as maps
from replay.kernel.geometry import ARM64_4K, ARM64_16K, ARM64_64K, X86_64, geometry_of

PUDS = 3


def both(levels, geometry):
    """PUD-sized pieces, each mapped at the level given, and the reference of the same."""
    level = np.repeat(np.array(levels, np.uint8), geometry.pmd_pages)
    pages = len(levels) * geometry.pud_pages
    d = maps.direct_map(np.ones(pages, np.bool_), level, geometry)
    leaves = []
    for pud, pud_level in enumerate(levels):
        size = geometry.pmd_pages ** (pud_level - 1)
        leaves += [(page, pud_level) for page in range(pud * geometry.pud_pages, (pud + 1) * geometry.pud_pages, size)]
    if geometry.arm64:
        hints = 1 << geometry.cont_pte_shift, 1 << geometry.cont_pmd_shift
        return d, ReferenceLinearMap(leaves, geometry.pmd_pages, *hints)
    return d, ReferenceDirectMap(leaves, geometry.pmd_pages)


def agree(d, reference):
    by_level = {1: 0, 2: 0, 3: 0}
    for first, (level, attributes, hint) in reference.leaves.items():
        size = reference.size(level)
        by_level[level] += size
        for page in {first, first + size // 2, first + size - 1}:
            assert d.level[page >> d.table_shift] == level
            assert maps.attribute_of(d, page) == attributes
        if d.arm64 and level == 1:
            assert d.cont_pte[first >> d.cont_pte_shift] == hint
        if d.arm64 and level == 2:
            assert d.cont_pmd[first >> d.table_shift >> d.cont_pmd_shift] == hint
    assert {level: int(d.counts[maps.PAGES + level]) for level in by_level} == by_level


def changed_alike(d, reference, script):
    """Run a script of (kind, first, pages, set, clear) on both, comparing as it goes; returns the direct map."""
    total = len(d.mapped)
    for kind, at, wanted, also_set, clear_bits in script:
        first = at % total
        pages = min(wanted, total - first)
        set_bits = also_set | maps.KERNEL_4K if kind == "4k" and not d.arm64 else also_set
        needed = maps.tables_needed(d, first, pages, set_bits, clear_bits)
        d = maps.with_room(d, needed + 2 * (pages >> d.table_shift) + 4)
        logged, tables = len(maps.logged(d)), int(d.counts[maps.TABLES])
        changed = maps.apply(d, first, pages, set_bits, clear_bits, 0, 0)
        assert changed == reference.change(first, pages, set_bits, clear_bits)
        assert needed == len(maps.logged(d)) - logged == d.counts[maps.TABLES] - tables
        if kind in ("collapse", "collapse to 2M") and not d.arm64:
            pud_leaves = kind == "collapse"
            made = maps.collapse(d, first, pages, pud_leaves, 0, 0)
            reference.collapse(first, pages, pud_leaves)
            assert d.counts[maps.TABLES] - tables == needed - made
        assert [(int(row[1]), int(row[2]), int(row[4])) for row in maps.logged(d)] == reference.log
        if d.arm64:
            assert d.counts[maps.HINTS] == reference.hints_cleared
            assert needed <= 4
    agree(d, reference)
    return d


TOY_ARM64 = TOY._replace(arm64=True, cont_pte_shift=1, cont_pmd_shift=1)

kinds = st.sampled_from(["change", "collapse", "collapse to 2M", "4k"])
bits = st.one_of(st.sampled_from([0, maps.READ_ONLY]), st.integers(0, 7))
toy_pages = PUDS * TOY.pud_pages
toy_scripts = st.lists(
    st.tuples(kinds, st.integers(0, toy_pages - 1), st.integers(1, toy_pages), bits, bits), max_size=25
)
pud_levels = st.lists(st.sampled_from([maps.PTE, maps.PMD, maps.PUD]), min_size=PUDS, max_size=PUDS)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([TOY, TOY_ARM64]), pud_levels, toy_scripts)
def test_the_same_leaves_and_splits_as_the_reference(geometry, levels, script):
    changed_alike(*both(levels, geometry), script)


# Real sizes: ranges that begin and end near the edges of leaves, groups and tables.
edges = st.builds(
    lambda place, shift, off: max((place << shift) + off, 0),
    st.integers(0, 600), st.sampled_from([0, 4, 5, 7, 9, 11, 13, 18]), st.integers(-2, 2),
)  # fmt: skip
real_scripts = st.lists(
    st.tuples(kinds, edges, st.one_of(st.integers(1, 20), edges.map(lambda n: n + 1)), bits, bits), max_size=8
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.sampled_from([X86_64, ARM64_4K]), st.sampled_from([maps.PMD, maps.PUD]), real_scripts)
def test_the_same_with_tables_of_512_entries(geometry, level, script):
    changed_alike(*both([level, maps.PUD], geometry), script)


@settings(max_examples=10, deadline=None)
@given(real_scripts)
def test_the_same_with_16k_pages(script):
    pages = ARM64_16K.pmd_pages * 64
    d = maps.direct_map(np.ones(pages, np.bool_), np.full(64, maps.PMD, np.uint8), ARM64_16K)
    reference = ReferenceLinearMap(
        [(first, maps.PMD) for first in range(0, pages, ARM64_16K.pmd_pages)], ARM64_16K.pmd_pages, 128, 32
    )
    changed_alike(d, reference, script)


def test_a_page_inside_a_1g_leaf_takes_two_tables_and_a_2m_block_one():
    for geometry in (X86_64, ARM64_4K):
        d = maps.direct_map(np.ones(2 << 18, np.bool_), np.full(2 << 9, maps.PUD, np.uint8), geometry)

        assert maps.tables_needed(d, 5, 1, maps.KEYED, 0) == 2
        assert maps.tables_needed(d, 512, 512, maps.KEYED, 0) == 1
        assert maps.tables_needed(d, 1 << 18, 1 << 18, maps.KEYED, 0) == 0
        assert maps.tables_needed(d, 510, 4, maps.KEYED, 0) == 3  # across a 2M boundary
        assert maps.tables_needed(d, 5, 1, 0, maps.KEYED) == (2 if geometry.arm64 else 0)  # nothing to clear
        assert maps.tables_needed(d, 5, 1 << 18, maps.KEYED, 0) == 4  # both ends inside 1G leaves


def test_x86_flushes_at_each_split_and_arm64_once():
    for geometry, expected in ((X86_64, 3), (ARM64_4K, 1)):
        d = maps.direct_map(np.ones(1 << 18, np.bool_), np.full(1 << 9, maps.PUD, np.uint8), geometry)
        changed = maps.apply(d, 5, 1, maps.KEYED, 0, 0, 0)
        assert changed == 1
        assert maps.flushes_of_splits(d, d.counts[maps.SPLITS]) + 1 == expected
        assert maps.flushes_of_splits(d, 0) == 0


def test_x86_flushes_everything_above_33_pages_and_arm64_never():
    for geometry, expected in ((X86_64, [False, True]), (ARM64_4K, [False, False])):
        d = maps.direct_map(np.ones(1 << 18, np.bool_), np.full(1 << 9, maps.PUD, np.uint8), geometry)
        assert [bool(maps.flushes_all(d, pages)) for pages in (33, 34)] == expected


def test_whole_leaves_are_rewritten_in_place_and_counted_apart():
    d = maps.direct_map(np.ones(1 << 18, np.bool_), np.full(1 << 9, maps.PMD, np.uint8), ARM64_4K)
    maps.apply(d, 1024, 1024, maps.KEYED, 0, 0, 0)

    assert (d.counts[maps.REWRITES], d.counts[maps.SPLITS]) == (2, 0)
    assert d.counts[maps.HINTS] == 1  # both ends lie in the first group of 32M
    assert not d.cont_pmd[0] and d.cont_pmd[1:].all()


def test_a_linear_map_of_pages_has_no_hints_and_never_splits():
    d = maps.direct_map(np.ones(1 << 18, np.bool_), np.full(1 << 9, maps.PTE, np.uint8), ARM64_4K)
    assert maps.tables_needed(d, 5, 1000, maps.KEYED, 0) == 0
    maps.apply(d, 5, 1000, maps.KEYED, 0, 0, 0)
    assert (d.counts[maps.SPLITS], d.counts[maps.HINTS]) == (0, 0)


@pytest.mark.parametrize(
    ("arch", "page_size", "leaves"),
    [
        ("x86_64", 4096, ("4K", "2M", "1G")),
        ("aarch64", 4096, ("4K", "2M", "1G")),
        ("aarch64", 16384, ("16K", "32M")),
        ("aarch64", 65536, ("64K", "512M")),
    ],
)
def test_leaves_are_named_by_their_size(arch, page_size, leaves):
    geometry = geometry_of(arch, page_size)
    levels = (1, 2, 3) if geometry.pud_leaf else (1, 2)
    assert tuple(geometry.leaf_name(level) for level in levels) == leaves


def test_there_is_no_machine_with_large_pages_on_x86():
    assert geometry_of("x86_64", 16384) is None
    assert geometry_of("aarch64", 65536) is ARM64_64K


def test_holes_are_not_counted():
    mapped = np.ones(1 << 18, np.bool_)
    mapped[100:200] = False
    level = np.full(1 << 9, maps.PMD, np.uint8)
    level[0] = maps.PTE
    d = maps.direct_map(mapped, level, X86_64)

    assert d.counts[maps.PAGES + maps.PTE] == 412
    assert d.counts[maps.TABLES] == 2  # one PMD table, one PTE table
