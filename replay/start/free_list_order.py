"""The order of free blocks on their lists at the start: /proc does not show it, the recording does in part.

The kernel takes blocks from the head. So the blocks that the recording touches come first, in the order in which it
first allocates a page of each; behind them the others, in an order drawn by seed.
"""

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from replay.demand.program import ALLOC, Program
from replay.kernel.buddy import requeue_free_block
from replay.kernel.mmzone import PageAllocator


def first_allocation(program: Program, pages: int) -> NDArray[np.int32]:
    """(pages,) the event that first allocates each page; the number of events where none does."""
    first = np.full(pages, len(program.op), np.int32)
    _first_allocation(program, first)
    return first


@compiled
def _first_allocation(program, first):
    """Backwards: the earliest event stays."""
    for i in range(len(program.op) - 1, -1, -1):
        if program.op[i] == ALLOC:
            for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
                first[page] = i


def order_free_lists(allocator: PageAllocator, first: NDArray[np.int32], random: np.random.Generator) -> None:
    """Put the blocks of every free list into the order described above.

    `first` (pages,) is from `first_allocation`, and may cover fewer pages than the machine has.
    """
    heads = np.flatnonzero(allocator.order >= 0)
    if not len(heads):
        return
    rank = np.full(len(heads), np.iinfo(np.int32).max, np.int32)
    covered = int(np.searchsorted(heads, len(first)))
    if covered:
        ends = heads[:covered] + (1 << allocator.order[heads[:covered]].astype(np.int64))
        edges = np.stack([heads[:covered], ends], axis=1).ravel()
        rank[:covered] = np.minimum.reduceat(first, edges[:-1] if ends[-1] >= len(first) else edges)[::2]
    _requeue(allocator, heads[np.lexsort((random.permutation(len(heads)), rank))])


@compiled
def _requeue(a, heads):
    """Put each block at the tail of the list that it is on, one after the other."""
    for head in heads:
        requeue_free_block(a, head)
