"""The compiled page allocator against the slow reference: same pages, same lists in the same order."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_page_alloc import ReferenceAllocator, Zone

from replay.kernel import gfp, mmzone
from replay.kernel.buddy import build_free_lists
from replay.kernel.fallback import unreserve_highatomic
from replay.kernel.geometry import Geometry
from replay.kernel.page_alloc import alloc_pages, free_pages, run_timers, start_timers
from replay.kernel.per_cpu import decay_pcp_high, drain_all_pages, fill_pcp

GEOMETRY = Geometry(table_shift=3, pageblock_order=3, max_order=5)
NO_RESERVE = (0, 0, 0, 0)
ZONES = {
    "one": [Zone(0, 127, 2, 0, 2, 4, 6, NO_RESERVE, 128)],
    "odd": [Zone(3, 121, 2, 0, 0, 0, 0, NO_RESERVE, 1600)],
    "scarce": [Zone(0, 127, 2, 0, 48, 60, 72, NO_RESERVE, 1600)],  # marks large enough for their halves and quarters
    "two": [Zone(0, 63, 1, 0, 3, 5, 9, (0, 0, 8, 8), 1600), Zone(64, 191, 2, 0, 4, 6, 12, NO_RESERVE, 1600)],
    "nodes": [
        Zone(0, 63, 1, 0, 3, 5, 9, (0, 0, 8, 8), 1600),
        Zone(64, 127, 2, 0, 4, 6, 12, NO_RESERVE, 1600),
        Zone(128, 223, 2, 1, 4, 6, 8, NO_RESERVE, 1600),
    ],
}
GENERATIONS = {"claim": mmzone.CLAIM_STEAL, "suitable": mmzone.STEAL_SUITABLE, "move": mmzone.MOVE_BLOCK}
PAGESETS = [(0, 0, 1), (8, 8, 2), (6, 40, 3), (4, 100, 1)]  # high_min, high_max, batch
CPUS = 2


def both(name, free, types, *, generation="claim", auto=True, pcp_order=1, thp=2, pageset=(0, 0, 1), superpageblock=0):
    """A compiled and a slow allocator with the same free blocks in the same order."""
    zones = [replace(zone) for zone in ZONES[name]]
    pages = zones[-1].last + 1
    features = mmzone.Features(
        fallback=GENERATIONS[generation],
        pcp_auto=auto,
        pcp_order=pcp_order,
        pcp_thp=thp,
        kswapd_ns=10,
        superpageblock_order=superpageblock and GEOMETRY.pageblock_order + superpageblock.bit_length() - 1,
    )
    nodes = np.arange(CPUS) % (1 + zones[-1].node)
    layout = np.array([(zone.first, zone.last, zone.class_, zone.node) for zone in zones], np.int64)
    a = mmzone.page_allocator(pages, layout, GEOMETRY, features, CPUS, nodes)
    a.wmark[:] = [(zone.min, zone.low, zone.high) for zone in zones]
    a.lowmem_reserve[:] = [zone.reserve for zone in zones]
    a.zone_state[:, mmzone.MANAGED] = [zone.managed for zone in zones]
    a.block_type[:] = [types[block % len(types)] for block in range(len(a.block_type))]
    a.pcp[:, mmzone.PCP_HIGH_MIN : mmzone.PCP_BATCH + 1] = pageset
    a.pcp[:, mmzone.PCP_HIGH] = pageset[0]
    reference = ReferenceAllocator(
        zones,
        GEOMETRY,
        a.block_type.tolist(),
        generation=generation,
        auto=auto,
        pcp_order=pcp_order,
        thp=thp,
        cpus=CPUS,
        superpageblock=superpageblock,
    )
    for pcp in reference.pcp.values():
        pcp.high_min, pcp.high_max, pcp.batch = pageset
        pcp.high = pageset[0]
    mask = np.array([free[page % len(free)] for page in range(pages)])
    a.kind[:] = mmzone.USED + 1
    build_free_lists(a, mask)
    reference.owner = {page: 1 for zone in zones for page in range(zone.first, zone.last + 1) if not mask[page]}
    for (zone, order, kind), blocks in reference.lists.items():
        blocks.extend(listed(a, mmzone.free_list(a, zone, order, kind)))
    for index, zone in enumerate(zones):
        zone.reserved_highatomic = reference.free_pages(index, (3,)) // 8 * 8
        a.zone_state[index, mmzone.RESERVED_HIGHATOMIC] = zone.reserved_highatomic
    return a, reference


def listed(a, head):
    page, found, before = int(a.link[head, 0]), [], head
    while page != head:
        assert a.link[page, 1] == before
        found.append(page)
        before, page = page, int(a.link[page, 0])
    assert a.link[head, 1] == before
    return found


def assert_equal(a, reference):
    for (zone, order, kind), blocks in reference.lists.items():
        assert listed(a, mmzone.free_list(a, zone, order, kind)) == blocks, (zone, order, kind)
        assert all(a.order[page] == order for page in blocks)
    for (zone, cpu), pcp in reference.pcp.items():
        row = zone * CPUS + cpu
        for index, blocks in pcp.lists.items():
            assert listed(a, mmzone.pcp_list(a, row, index)) == blocks, (zone, cpu, index)
        expected = [pcp.count, pcp.high, pcp.high_min, pcp.high_max, pcp.batch, pcp.alloc_factor, pcp.free_count]
        assert a.pcp[row, : len(expected)].tolist() == expected, (zone, cpu)
    for index, zone in enumerate(reference.zones):
        assert a.free_pages[index] == reference.free_pages(index)
        assert a.zone_state[index, : mmzone.BARREN].tolist() == [
            zone.managed,
            reference.free_pages(index, (4,)),
            reference.free_pages(index, (3,)),
            zone.reserved_highatomic,
            zone.boost,
            zone.boosted,
            zone.below_high,
        ]
        for order in range(a.max_order + 1):
            assert a.nr_free[index, order] == sum(len(reference.lists[index, order, kind]) for kind in range(6))
    assert a.counts[mmzone.EXTFRAG] == reference.extfrag
    assert a.counts[mmzone.KSWAPD :].sum() == reference.kswapd
    assert dict(enumerate(a.block_type.tolist())) == reference.block_type
    on_pcp = sum(pcp.count for pcp in reference.pcp.values())
    assert (a.kind == mmzone.ON_PCP).sum() == on_pcp
    assert (a.kind == mmzone.FREE).sum() + on_pcp + len(reference.owner) == sum(
        zone.last - zone.first + 1 for zone in reference.zones
    )  # no page is lost


def context_of(class_, reclaim, high, kswapd, this_node):
    flags = class_
    for wanted, bit in (
        (reclaim, gfp.MAY_RECLAIM),
        (high, gfp.IS_HIGH),
        (kswapd, gfp.WAKES_KSWAPD),
        (this_node, gfp.THISNODE),
    ):
        flags |= bit if wanted else 0
    return flags


flag = st.booleans()
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("alloc"), st.integers(0, 5), st.integers(0, 2), st.integers(0, 3), st.tuples(flag, flag, flag, flag)
        ),
        st.tuples(st.just("alloc"), st.just(0), st.integers(0, 2), st.just(2), st.just((True, False, True, False))),
        st.tuples(st.just("free"), st.integers(0, 10**6)),
        st.tuples(st.just("free"), st.integers(0, 10**6)),
        st.tuples(st.just("part"), st.integers(0, 10**6)),
        st.tuples(st.sampled_from(["drain", "decay", "unreserve", "kswapd"])),
    ).flatmap(lambda step: st.tuples(st.just(step), st.integers(0, CPUS - 1))),
    max_size=80,
)
kernels = st.fixed_dictionaries(
    {
        "generation": st.sampled_from(sorted(GENERATIONS)),
        "auto": st.booleans(),
        "pcp_order": st.integers(0, 2),
        "thp": st.integers(0, 2),
        "pageset": st.sampled_from(PAGESETS),
        "superpageblock": st.sampled_from([0, 2, 4]),
    }
)


def play(a, reference, script):
    """Do the same to both; they agree after every step."""
    start_timers(a, 0)
    live, now = [], 0
    for step, cpu in script:
        node = int(a.node_of_cpu[cpu])
        if step[0] == "alloc":
            _, order, kind, class_, (reclaim, high, kswapd, this_node) = step
            page = int(alloc_pages(a, cpu, order, kind, context_of(class_, reclaim, high, kswapd, this_node)))
            expected = reference.alloc(
                order,
                kind,
                class_,
                cpu=cpu,
                node=node,
                reclaim=reclaim,
                high=high,
                kswapd=kswapd,
                this_node=this_node,
            )
            assert page == (-1 if expected is None else expected)
            if page >= 0:
                live.append((page, order))
        elif step[0] == "drain":
            drain_all_pages(a)
            reference.drain_all()
        elif step[0] == "decay":
            decay_pcp_high(a)
            reference.decay()
        elif step[0] == "unreserve":
            assert unreserve_highatomic(a, 1, True) == reference.unreserve_highatomic(1, force=True)
        elif step[0] == "kswapd":
            now += 20  # later than kswapd_ns, earlier than the CPUs' own timers
            due = a.clock[mmzone.KSWAPD_DUE] <= now
            run_timers(a, now)
            for zone in reference.zones:
                zone.boost = 0 if due else zone.boost
        elif live:
            page, order = live.pop(step[1] % len(live))
            if step[0] == "part" and order > 0:  # a free of one half: the other half stays allocated
                order -= 1
                live.append((page + (1 << order), order))
            free_pages(a, cpu, page, order)
            reference.free(page, order, cpu)
        assert_equal(a, reference)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(ZONES)),
    st.lists(st.booleans(), min_size=7, max_size=40),
    st.lists(st.sampled_from([0, 1, 1, 2, 3, 4]), min_size=1, max_size=5),
    kernels,
    steps,
)
def test_the_same_pages_and_lists_as_the_reference(name, free, types, kernel, script):
    a, reference = both(name, free, types, **kernel)
    assert_equal(a, reference)
    play(a, reference, script)


@pytest.mark.parametrize("generation", sorted(GENERATIONS))
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.sampled_from(PAGESETS))
def test_freeing_and_draining_everything_merges_everything(generation, orders, pageset):
    a, _ = both("one", [True], [1], generation=generation, pageset=pageset)
    before = a.nr_free.copy()
    held = [(int(alloc_pages(a, 0, order, 1, 2)), order) for order in orders]
    for page, order in held:
        if page >= 0:
            free_pages(a, 1, page, order)
    drain_all_pages(a)
    assert (a.nr_free == before).all()


def test_an_allocation_below_the_min_watermark_is_refused_and_kswapd_is_woken_below_low():
    a, _ = both("one", [True], [1])
    taken = 0
    while alloc_pages(a, 0, 0, 1, 2 | gfp.WAKES_KSWAPD | gfp.MAY_RECLAIM) >= 0:
        taken += 1

    assert a.free_pages[0] == 2  # min: the request that would leave less is refused
    assert taken == 126
    assert a.counts[mmzone.KSWAPD] == 2 + 1  # the last two served below low, and the refused one
    assert alloc_pages(a, 0, 0, 1, 2) < 0
    assert a.counts[mmzone.KSWAPD] == 3  # without __GFP_KSWAPD_RECLAIM nobody is woken


def test_high_priority_requests_reach_below_the_min_watermark():
    a, _ = both("one", [True], [1])
    while alloc_pages(a, 0, 0, 1, 2) >= 0:
        pass
    left = int(a.free_pages[0])
    assert alloc_pages(a, 0, 0, 1, 2 | gfp.IS_HIGH) >= 0  # __GFP_HIGH: half of it
    assert a.free_pages[0] == left - 1
    while alloc_pages(a, 0, 0, 1, 2 | gfp.MEMALLOC) >= 0:  # no watermark at all
        pass
    assert a.free_pages[0] == 0


def test_each_context_has_its_own_share_of_the_min_watermark():
    """48 pages: half of it for __GFP_HIGH, three eighths for GFP_ATOMIC, nothing for GFP_NOWAIT."""
    a, _ = both("scarce", [True], [1])
    left = []
    for context in (gfp.MAY_RECLAIM, 0, gfp.IS_HIGH | gfp.MAY_RECLAIM, gfp.IS_HIGH):
        while alloc_pages(a, 0, 0, 1, 2 | context) >= 0:
            pass
        left.append(int(a.free_pages[0]))
    assert left == [48, 48, 24, 18]


def test_large_free_goes_in_pieces_that_merge_again():
    a, _ = both("one", [True], [1])
    page = alloc_pages(a, 0, 5, 1, 2)
    free_pages(a, 0, page, 5)
    assert a.nr_free[0, 5] == 4


def test_merging_with_a_free_block_of_another_type_converts_it():
    a, reference = both("one", [page < 8 for page in range(128)], [2, 0])  # block 0 free and Reclaimable, block 1 not
    free_pages(a, 0, 8, 3)
    reference.free(8, 3)

    assert_equal(a, reference)
    assert a.block_type[:2].tolist() == [0, 0]
    assert listed(a, mmzone.free_list(a, 0, 4, 0)) == [0]


def test_the_generations_differ_where_the_largest_block_cannot_be_claimed():
    """A MOVABLE request, unmovable pageblocks: pages 12 and 13 are the largest free block, page 17 is free as well."""
    taken = {}
    for generation in GENERATIONS:
        a, _ = both("odd", [page in (12, 13, 17) for page in range(128)], [0], generation=generation)
        a.kind[a.kind == mmzone.USED + 1] = mmzone.USED
        page = int(alloc_pages(a, 0, 0, 1, 2))
        taken[generation] = page, listed(a, mmzone.free_list(a, 0, 0, 1)), int(a.block_type[1])
    assert taken == {"claim": (17, [], 0), "suitable": (12, [], 0), "move": (12, [13], 0)}


def test_a_pageblock_that_is_half_free_is_claimed_by_all_generations():
    for generation in GENERATIONS:
        a, _ = both("odd", [page in (12, 13, 14, 15, 17) for page in range(128)], [0], generation=generation)
        assert int(alloc_pages(a, 0, 0, 1, 2)) == 12
        assert a.block_type[:3].tolist() == [0, 1, 0]


@pytest.mark.parametrize("superpageblock", [0, 4])
def test_an_unmovable_request_takes_a_pageblock_of_a_tainted_superpageblock(superpageblock):
    """Every second pageblock is free; the full one beside the last on their list is unmovable."""
    a, _ = both("one", [page // 8 % 2 == 0 for page in range(128)], [1], superpageblock=superpageblock)
    blocks = listed(a, mmzone.free_list(a, 0, 3, 1))
    a.block_type[blocks[-1] >> 3 ^ 1] = 0
    tainted = [page for page in blocks if page >> 5 == blocks[-1] >> 5]
    assert len(blocks) == 8 and blocks[0] not in tainted
    assert int(alloc_pages(a, 0, 0, 0, 2)) == (tainted[0] if superpageblock else blocks[0])
    assert int(alloc_pages(a, 0, 3, 1, 2)) == blocks[0 if superpageblock else 1]  # a movable one takes the first


def test_a_node_s_own_zones_come_first_and_thisnode_stays_there():
    a, _ = both("nodes", [True], [1])
    assert 64 <= alloc_pages(a, 0, 0, 1, 2) < 128
    assert alloc_pages(a, 1, 0, 1, 2) >= 128
    while alloc_pages(a, 1, 0, 1, 2 | gfp.THISNODE) >= 0:
        pass
    assert a.free_pages[2] == 4
    assert 64 <= alloc_pages(a, 1, 0, 1, 2) < 128


def test_pages_put_on_a_cpu_s_list_are_handed_out_first_and_in_order():
    a, _ = both("one", [page >= 8 for page in range(128)], [1], pageset=(8, 8, 2))
    fill_pcp(a, 1, np.array([5, 2, 7]))
    assert [int(alloc_pages(a, 1, 0, 1, 2)) for _ in range(3)] == [5, 2, 7]
    assert a.pcp[1, mmzone.PCP_COUNT] == 0
    assert int(alloc_pages(a, 0, 0, 1, 2)) >= 8


def test_a_zone_below_low_keeps_a_pageblock_for_high_order_atomic_requests():
    a, reference = both("odd", [True], [1])
    a.wmark[:] = 8, 200, 200
    zone = reference.zones[0]
    zone.min, zone.low, zone.high = 8, 200, 200
    page = int(alloc_pages(a, 0, 2, 0, 2 | gfp.IS_HIGH))

    assert page == reference.alloc(2, 0, 2, reclaim=False, high=True)
    assert_equal(a, reference)
    assert a.block_type[page >> 3] == 3
    assert a.zone_state[0, mmzone.RESERVED_HIGHATOMIC] == 8
    assert unreserve_highatomic(a, 0, False) is False  # the last one stays
    assert unreserve_highatomic(a, 0, True) is True
