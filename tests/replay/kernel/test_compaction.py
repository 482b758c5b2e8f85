"""Free pages of a pageblock are isolated as isolate_freepages_block() does it."""

import numpy as np
import pytest
from toy_machine import demand_of, machine_of

from ptpool.vocabulary import UNMOVABLE
from replay.kernel.compaction import isolate_freepages_block
from replay.kernel.mmzone import USED, WMARK_MIN
from replay.machine.state import State
from replay.strategies.buddy_reserve import BuddyReserve

TOY = BuddyReserve(block_order=2, last_order=1, magazine_order=0, keep=8)


@pytest.mark.parametrize(("least", "taken"), [(0, [[4, 1], [6, 0]]), (9, [[4, 1]]), (10, [])])
def test_what_is_free_in_a_pageblock_is_isolated_down_to_the_min_watermark(least, taken):
    """Pages 4, 5 and 6 of twelve that are free; a chunk is taken where more than the watermark and itself are."""
    a = State(machine_of(16, free=[page % 4 != 3 for page in range(16)]), demand_of([]), TOY).allocator
    a.wmark[:, WMARK_MIN] = least
    found = np.empty((4, 2), np.int64)
    count = isolate_freepages_block(a, 4, found)

    assert found[:count].tolist() == taken
    assert a.free_pages.sum() == 12 - sum(1 << order for _, order in taken)
    assert [page for page in range(16) if a.kind[page] == USED + UNMOVABLE] == [4, 5, 6][
        : sum(1 << o for _, o in taken)
    ]


def test_memory_may_end_inside_a_pageblock():
    """Pages 12 and 13 are the last; what lies behind the array would read as free pages."""
    a = machine_of(14).allocator
    behind = np.zeros(32, a.order.dtype)
    behind[:14] = a.order
    a = a._replace(order=behind[:14])
    found = np.empty((4, 2), np.int64)
    assert found[: isolate_freepages_block(a, 12, found)].tolist() == [[12, 1]]
