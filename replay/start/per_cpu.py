"""Pages that wait on per-CPU lists at the start and that the recording never allocates: as many as zoneinfo counts.

Which they are is not recorded. In kpageflags they look like the kernel's own pages; such pages are taken from the
pageblocks in which most others are free or on per-CPU lists, since they came from there. Of the pages that left the
lists while fork-2g, redis-1g-frag and server-16g were recorded, this finds 60 to 80 %; pages drawn evenly would be
found at a rate of 4 to 8 %. On the lists they lie in runs of neighbours, since they came in batches. Where pageblocks
that are free as a whole are scarce, draining completes none that is nearly so: a page in use keeps it from being whole.
docs/validation.md holds both against lists that real kernels dumped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replay.demand.demand import Demand
from replay.kernel.mmzone import FREE, ON_PCP, PCP_COUNT, USED, PageAllocator
from replay.kernel.per_cpu import fill_pcp
from replay.start.allocator_setup import Pagesets
from replay.start.free_list_order import draw, per_cpu_order
from replay.start.zones import Zones

_SCARCE = 0.01
"""Share of a zone's pageblocks below which those that are free as a whole are scarce. Ours."""


class MayWait(NamedTuple):
    """Pages that may wait on a per-CPU list at the start, ascending, and how likely that is."""

    pages: NDArray[np.int64]
    moving: NDArray[np.int64]
    """(B,) pages of each pageblock that are free or on per-CPU lists."""


def may_wait(allocator: PageAllocator, plain: NDArray[np.bool_], demand: Demand) -> MayWait:
    """Of the pages without any flag, `plain` (P,), those that have no event and are on no list yet."""
    quiet = plain & (allocator.kind >= USED) & (allocator.kind != ON_PCP)
    both = min(len(quiet), demand.pages)
    quiet[:both] &= demand.first_seen[:both] < 0
    moving = (allocator.kind == FREE) | (allocator.kind == ON_PCP)
    blocks = np.arange(0, len(moving), 1 << allocator.pageblock_order)
    return MayWait(np.flatnonzero(quiet), np.add.reduceat(moving, blocks, dtype=np.int64))


def fill_up_per_cpu_lists(
    allocator: PageAllocator,
    waiting: MayWait,
    zones: Zones,
    pagesets: Pagesets,
    random: np.random.Generator,
    assumptions: list[str],
) -> None:
    """Fill the per-CPU lists up to what zoneinfo counted, behind the pages that the recording allocates.

    The pages are drawn from those that may be on such lists. What was done is added to `assumptions`.
    """
    cpus, drawn, shift = len(allocator.node_of_cpu), 0, allocator.pageblock_order
    in_runs = per_cpu_order()
    for place, row in enumerate(zones.rows):
        first, end = np.searchsorted(waiting.pages, (row.first, row.last + 1))
        blocks = slice(row.first >> shift, (row.last >> shift) + 1)
        here = likeliest_first(waiting.pages[first:end], waiting.moving, blocks, shift, random)
        recorded = pagesets.get((row.node, row.zone), {})
        for cpu in range(cpus):
            missing = recorded.get((cpu, "count"), 0) - int(allocator.pcp[place * cpus + cpu, PCP_COUNT])
            if missing > 0:
                mine = np.sort(here[:missing])
                migratetype = allocator.block_type[mine >> shift]
                fill_pcp(allocator, cpu, mine[draw(mine >> shift, migratetype, in_runs, random)])
                drawn += len(mine)
                here = here[missing:]
    if drawn:
        assumptions.append(
            f"{drawn:,} more pages were on per-CPU lists before the recording (zoneinfo): it is not recorded which, so "
            "they are drawn by seed from the emptiest pageblocks, and lie on the lists in runs of neighbours."
        )


def likeliest_first(
    pages: NDArray[np.int64],
    moving: NDArray[np.int64],
    blocks: slice,
    pageblock_order: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Pages of a zone that may wait: pageblocks with most pages free or on lists first, equals by seed.

    Args:
        pages: ascending.
        moving: (B,) see `MayWait`.
        blocks: those of the zone.
        pageblock_order: pages of a pageblock, as a power of 2.
        random: draws.

    Returns:
        The same pages without those that have to stay: one of each pageblock that would become whole, was mostly free,
        and lies in a zone where whole ones are scarce.
    """
    size, block = 1 << pageblock_order, pages >> pageblock_order
    if (moving[blocks] == size).mean() < _SCARCE:
        last = np.append(block[1:] != block[:-1], len(block) > 0)
        whole = moving + np.bincount(block, minlength=len(moving)) == size
        stays = last & whole[block] & (2 * moving[block] >= size)
        pages, block = pages[~stays], block[~stays]
    return pages[np.lexsort((pages, random.random(len(moving))[block], -moving[block]))]
