"""Pages that wait on per-CPU lists at the start and that the recording never allocates: as many as zoneinfo counts.

Which they are is not recorded. In kpageflags they look like the kernel's own pages; such pages are taken from the
pageblocks in which most others are free or on per-CPU lists, since they came from there, and in runs, since they came
in batches. Of the pages that left the lists while fork-2g, redis-1g-frag and server-16g were recorded, this finds 60 to
80 %; pages drawn evenly would be found at a rate of 4 to 8 %.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replay.demand.demand import Demand
from replay.kernel.mmzone import FREE, ON_PCP, PCP_COUNT, USED, PageAllocator
from replay.kernel.per_cpu import fill_pcp
from replay.start.allocator_setup import Pagesets
from replay.start.zones import Zones


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
    cpus, drawn = len(allocator.node_of_cpu), 0
    for place, row in enumerate(zones.rows):
        first, end = np.searchsorted(waiting.pages, (row.first, row.last + 1))
        here = _likeliest_first(waiting.pages[first:end], waiting.moving, allocator.pageblock_order, random)
        recorded = pagesets.get((row.node, row.zone), {})
        for cpu in range(cpus):
            missing = recorded.get((cpu, "count"), 0) - int(allocator.pcp[place * cpus + cpu, PCP_COUNT])
            if missing > 0:
                fill_pcp(allocator, cpu, here[:missing])
                drawn += len(here[:missing])
                here = here[missing:]
    if drawn:
        assumptions.append(
            f"{drawn:,} more pages were on per-CPU lists before the recording (zoneinfo): it is not recorded which, so "
            "they are drawn by seed from the emptiest pageblocks."
        )


def _likeliest_first(
    pages: NDArray[np.int64], moving: NDArray[np.int64], pageblock_order: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Pageblocks with most pages that are free or on lists first, equals by seed; addresses ascend within one."""
    block = pages >> pageblock_order
    return pages[np.lexsort((pages, random.random(len(moving))[block], -moving[block]))]
