"""Free blocks drawn from their numbers alone: whatever was counted on a real map comes out of the drawn one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import TOY

from ptpool.vocabulary import MIGRATETYPES, MOVABLE, RECLAIMABLE, UNMOVABLE
from replay.kernel.buddy import build_free_lists
from replay.kernel.mmzone import USED, ZONE_NORMAL, page_allocator
from replay.kernel.page_alloc import alloc_pages
from replay.start.free_block_addresses import PAGEBLOCK_TYPES, draw_free, draw_pageblocks
from replay.start.free_list_order import list_order, order_free_lists

BLOCK, GROUP = 1 << TOY.pageblock_order, 1 << TOY.max_order
GROUPS = 12
PAGES = GROUPS * GROUP


def allocator_of(free, types, span=(0, PAGES - 1)):
    a = page_allocator(PAGES, np.array([[*span, ZONE_NORMAL, 0]], np.int64), TOY)
    a.kind[:] = USED
    a.block_type[: len(types)] = types
    build_free_lists(a, np.asarray(free, np.bool_))
    return a


def counted(a):
    """(types, orders) free blocks, as /proc/pagetypeinfo counts them."""
    counts = np.zeros((len(PAGEBLOCK_TYPES), TOY.max_order + 1), np.int64)
    for head in np.flatnonzero(a.order >= 0):
        name = MIGRATETYPES[a.block_type[head >> TOY.pageblock_order]]
        counts[PAGEBLOCK_TYPES.index(name), a.order[head]] += 1
    return counts


def drawn(counts, pageblocks, seed, present=None, score=None, span=(0, PAGES - 1)):
    types = np.full(PAGES // BLOCK, MOVABLE, np.uint8)
    free = np.zeros(PAGES, np.bool_)
    present = np.ones(PAGES, np.bool_) if present is None else present
    score = np.zeros(PAGES, np.float32) if score is None else score
    random = np.random.default_rng(seed)
    draw_pageblocks(types, counts, pageblocks, present, score, span, TOY, random)
    unplaced = draw_free(free, types, counts, present, score, span, TOY, random)
    return free, types, unplaced


@settings(deadline=None)
@given(
    st.lists(st.booleans(), min_size=PAGES, max_size=PAGES),
    st.lists(st.sampled_from([UNMOVABLE, MOVABLE, RECLAIMABLE]), min_size=GROUPS, max_size=GROUPS),
    st.integers(0, 3),
)
def test_blocks_of_every_order_and_type_come_out_as_counted(free, group_types, seed):
    """Types change between groups of the largest order, so that every count can be placed again."""
    original = allocator_of(free, np.repeat(group_types, GROUP // BLOCK))
    pageblocks = {
        name: int((original.block_type[: PAGES // BLOCK] == MIGRATETYPES.index(name)).sum()) for name in PAGEBLOCK_TYPES
    }
    map_, types, unplaced = drawn(counted(original), pageblocks, seed)
    again = allocator_of(map_, types)
    merged = counted(again)
    # Where two groups of pageblocks of one type were split between others, a block may not fit: it is counted.
    assert (counted(original).sum() - merged.sum()) == unplaced
    assert again.free_pages.sum() <= original.free_pages.sum()
    if unplaced == 0:
        assert (merged == counted(original)).all()
        assert (again.nr_free == original.nr_free).all()


def test_what_does_not_fit_is_counted():
    counts = np.zeros((len(PAGEBLOCK_TYPES), TOY.max_order + 1), np.int64)
    counts[MOVABLE, 0] = PAGES
    free, _, unplaced = drawn(counts, {}, 0)
    assert free.sum() == PAGES // 2  # next to every single free page lies one in use
    assert unplaced == PAGES - PAGES // 2


def test_likely_pages_are_taken_first_and_absent_ones_never():
    counts = np.zeros((len(PAGEBLOCK_TYPES), TOY.max_order + 1), np.int64)
    counts[MOVABLE, 1] = 3
    score = np.zeros(PAGES, np.float32)
    score[[8, 9, 40, 41]] = 1
    present = np.ones(PAGES, np.bool_)
    present[40] = False
    free, _, unplaced = drawn(counts, {}, 1, present, score)
    assert free[8]
    assert free[9]
    assert not free[40:42].any()
    assert (free.sum(), unplaced) == (6, 0)


def test_seeds_draw_different_places_and_the_same_seed_the_same():
    counts = np.zeros((len(PAGEBLOCK_TYPES), TOY.max_order + 1), np.int64)
    counts[MOVABLE] = [3, 2, 1, 2]
    maps = [drawn(counts, {}, seed)[0].tobytes() for seed in (5, 5, 6)]
    assert maps[0] == maps[1] != maps[2]


def test_lists_begin_with_what_the_recording_takes_first():
    never = np.iinfo(np.int32).max
    a = allocator_of(np.arange(PAGES) % (2 * GROUP) < GROUP, [MOVABLE])
    first = np.full(PAGES, never, np.int32)
    first[4 * GROUP + 3] = 2
    first[8 * GROUP] = 1
    order_free_lists(a, first, list_order(), np.random.default_rng(0))
    taken = [int(alloc_pages(a, 0, TOY.max_order, MOVABLE, ZONE_NORMAL)) for _ in range(GROUPS // 2)]
    assert taken == [8 * GROUP, 4 * GROUP, 0, 2 * GROUP, 6 * GROUP, 10 * GROUP]
