"""The compiled page allocator against the slow reference: same pages, same lists in the same order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_page_alloc import ReferenceAllocator

from replay.kernel import page_alloc as compiled
from replay.kernel.geometry import Geometry

GEOMETRY = Geometry(table_shift=3, pageblock_order=3, max_order=5)
ZONES = {
    "one": [(0, 127, 2, 2, 4, (0, 0, 0, 0))],
    "odd": [(3, 121, 2, 0, 0, (0, 0, 0, 0))],
    "two": [(0, 63, 1, 3, 5, (0, 0, 8, 8)), (64, 191, 2, 4, 6, (0, 0, 0, 0))],
}


def both(name, free, types):
    zones = ZONES[name]
    pages = zones[-1][1] + 1
    a = compiled.page_allocator(pages, np.array([zone[:3] for zone in zones], np.int64), GEOMETRY)
    a.wmark[:] = [zone[3:5] for zone in zones]
    a.lowmem_reserve[:] = [zone[5] for zone in zones]
    blocks = len(a.block_type)
    a.block_type[:] = [types[block % len(types)] for block in range(blocks)]
    reference = ReferenceAllocator(zones, GEOMETRY.pageblock_order, GEOMETRY.max_order, a.block_type.tolist())
    mask = np.array([free[page % len(free)] for page in range(pages)])
    a.kind[:] = compiled.USED + 1
    compiled.build_free_lists(a, mask)
    for first, last, *_ in zones:
        for page in range(first, last + 1):
            if not mask[page]:
                reference.owner[page] = 1
    for zone in range(len(zones)):
        for (where, order, kind), blocks_of in reference.lists.items():
            if where == zone:
                blocks_of.extend(listed(a, zone, order, kind))
    return a, reference


def listed(a, zone, order, kind):
    slot = (zone * (a.max_order + 1) + order) * compiled.TYPES + kind
    page, found, before = int(a.ends[slot, 0]), [], -1
    while page >= 0:
        assert a.link[page, 1] == before
        assert a.order[page] == order
        found.append(page)
        before, page = page, int(a.link[page, 0])
    assert a.ends[slot, 1] == before
    return found


def assert_equal(a, reference):
    for (zone, order, kind), blocks in reference.lists.items():
        assert listed(a, zone, order, kind) == blocks, (zone, order, kind)
    for zone in range(len(a.zones)):
        assert a.free_pages[zone] == reference.free_pages(zone)
        for order in range(a.max_order + 1):
            assert a.nr_free[zone, order] == sum(len(reference.lists[zone, order, kind]) for kind in range(3))
    assert a.counts[compiled.EXTFRAG] == reference.extfrag
    assert dict(enumerate(a.block_type.tolist())) == reference.block_type


steps = st.lists(
    st.one_of(
        st.tuples(st.just("alloc"), st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("free"), st.integers(0, 10**6)),
        st.tuples(st.just("part"), st.integers(0, 10**6)),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ZONES)),
    st.lists(st.booleans(), min_size=7, max_size=40),
    st.lists(st.integers(0, 2), min_size=1, max_size=5),
    steps,
)
def test_the_same_pages_and_lists_as_the_reference(name, free, types, script):
    a, reference = both(name, free, types)
    assert_equal(a, reference)
    live = []
    for step in script:
        if step[0] == "alloc":
            _, order, kind, zone_class = step
            page = int(compiled.alloc_pages(a, order, kind, zone_class | compiled.MAY_RECLAIM))
            expected = reference.alloc(order, kind, zone_class)
            assert page == (-1 if expected is None else expected)
            if page >= 0:
                live.append((page, order))
        elif live:
            page, order = live.pop(step[1] % len(live))
            if step[0] == "part" and order > 0:  # a free of one half: the other half stays allocated
                order -= 1
                live.append((page + (1 << order), order))
            compiled.free_pages(a, page, order)
            reference.free(page, order)
        assert_equal(a, reference)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60))
def test_freeing_everything_merges_everything(orders):
    a, _ = both("one", [True], [1])
    before = a.nr_free.copy()
    held = [(int(compiled.alloc_pages(a, order, 1, 2)), order) for order in orders]
    for page, order in held:
        if page >= 0:
            compiled.free_pages(a, page, order)
    assert (a.nr_free == before).all()


def test_an_allocation_below_the_min_watermark_is_refused_and_kswapd_is_woken_below_low():
    a, _ = both("one", [True], [1])
    taken = 0
    while compiled.alloc_pages(a, 0, 1, 2 | compiled.WAKES_KSWAPD) >= 0:
        taken += 1

    assert a.free_pages[0] == 2  # min: the request that would leave less is refused
    assert taken == 126
    assert a.counts[compiled.KSWAPD] == 2 + 1  # the last two served below low, and the refused one
    assert compiled.alloc_pages(a, 0, 1, 2) < 0
    assert a.counts[compiled.KSWAPD] == 3  # without __GFP_KSWAPD_RECLAIM nobody is woken


def test_high_priority_requests_reach_below_the_min_watermark():
    a, _ = both("one", [True], [1])
    while compiled.alloc_pages(a, 0, 1, 2) >= 0:
        pass
    left = int(a.free_pages[0])
    assert compiled.alloc_pages(a, 0, 1, 2 | compiled.IS_HIGH) >= 0  # __GFP_HIGH: half of it
    assert a.free_pages[0] == left - 1


def test_large_free_goes_in_pieces_that_merge_again():
    a, _ = both("one", [True], [1])
    page = compiled.alloc_pages(a, 5, 1, 2)
    compiled.free_pages(a, page, 5)
    assert a.nr_free[0, 5] == 4


def test_merging_with_a_free_block_of_another_type_converts_it():
    a, reference = both("one", [page < 8 for page in range(128)], [2, 0])  # block 0 free and Reclaimable, block 1 not
    compiled.free_pages(a, 8, 3)
    reference.free(8, 3)

    assert_equal(a, reference)
    assert a.block_type[:2].tolist() == [0, 0]
    assert listed(a, 0, 4, 0) == [0]
