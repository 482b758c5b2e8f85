"""The compiled direct map against the slow reference: same leaves, same splits in the same order, planned exactly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_direct_map import ReferenceDirectMap

from replay.kernel import direct_map as maps
from replay.kernel.geometry import TOY, X86_64

PUDS = 3
PAGES = PUDS * TOY.pud_pages


def both(levels):
    """Three PUD-sized pieces, each mapped at the level given."""
    level = np.repeat(np.array(levels, np.uint8), TOY.pmd_pages)
    d = maps.direct_map(np.ones(PAGES, np.bool_), level, TOY)
    leaves = []
    for pud, pud_level in enumerate(levels):
        size = TOY.pmd_pages ** (pud_level - 1)
        leaves += [(page, pud_level) for page in range(pud * TOY.pud_pages, (pud + 1) * TOY.pud_pages, size)]
    return d, ReferenceDirectMap(leaves, TOY.pmd_pages)


changes = st.lists(
    st.tuples(st.integers(0, PAGES - 1), st.integers(1, PAGES), st.integers(0, 7), st.integers(0, 7)), max_size=25
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([maps.PTE, maps.PMD, maps.PUD]), min_size=PUDS, max_size=PUDS), changes)
def test_the_same_leaves_and_splits_as_the_reference(levels, script):
    d, reference = both(levels)
    for first, wanted, set_bits, clear_bits in script:
        pages = min(wanted, PAGES - first)
        needed = maps.tables_needed(d, first, pages, set_bits, clear_bits)
        logged, tables = int(d.counts[maps.SPLITS]), int(d.counts[maps.TABLES])
        maps.apply(d, first, pages, set_bits, clear_bits, 0, 0)
        expected = reference.change(first, pages, set_bits, clear_bits)

        splits = [(int(row[1]), int(row[2])) for row in d.log[logged : d.counts[maps.SPLITS]]]
        assert splits == expected
        assert needed == len(expected)
        assert d.counts[maps.TABLES] - tables == needed
    by_level = {1: 0, 2: 0, 3: 0}
    for first, (level, attributes) in reference.leaves.items():
        by_level[level] += reference.size(level)
        for page in range(first, first + reference.size(level)):
            assert d.level[page >> d.table_shift] == level
            assert maps.attribute_of(d, page) == attributes
    assert {level: int(d.counts[maps.PAGES + level]) for level in by_level} == by_level


def test_a_page_inside_a_1g_leaf_takes_two_tables_and_a_2m_block_one():
    d = maps.direct_map(np.ones(2 << 18, np.bool_), np.full(2 << 9, maps.PUD, np.uint8), X86_64)

    assert maps.tables_needed(d, 5, 1, maps.KEYED, 0) == 2
    assert maps.tables_needed(d, 512, 512, maps.KEYED, 0) == 1
    assert maps.tables_needed(d, 1 << 18, 1 << 18, maps.KEYED, 0) == 0
    assert maps.tables_needed(d, 510, 4, maps.KEYED, 0) == 3  # across a 2M boundary
    assert maps.tables_needed(d, 5, 1, 0, maps.KEYED) == 0  # nothing to clear


def test_holes_are_not_counted():
    mapped = np.ones(1 << 18, np.bool_)
    mapped[100:200] = False
    level = np.full(1 << 9, maps.PMD, np.uint8)
    level[0] = maps.PTE
    d = maps.direct_map(mapped, level, X86_64)

    assert d.counts[maps.PAGES + maps.PTE] == 412
    assert d.counts[maps.TABLES] == 2  # one PMD table, one PTE table
