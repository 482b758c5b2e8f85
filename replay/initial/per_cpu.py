"""Pages that wait on per-CPU lists at the start and that the recording never allocates: as many as zoneinfo counts.

Which they are is not recorded. In kpageflags they look like the kernel's own pages; such pages are taken from the
pageblocks in which most others are free or on per-CPU lists, since they came from there, and in runs, since they came
in batches. Of the pages that left the lists while fork-2g, redis-1g-frag and server-16g were recorded, this finds 60 to
80 %; pages drawn evenly would be found at a rate of 4 to 8 %.
"""

import numpy as np
from numpy.typing import NDArray

from replay.demand import Demand
from replay.initial.pages import Pages
from replay.initial.pagesets import Pagesets
from replay.initial.zones import Zones
from replay.kernel.mmzone import FREE, ON_PCP, PCP_COUNT, USED, PageAllocator
from replay.kernel.per_cpu import fill_pcp


def fill_up_per_cpu_lists(
    allocator: PageAllocator,
    pages: Pages,
    zones: Zones,
    pagesets: Pagesets,
    demand: Demand,
    random: np.random.Generator,
    assumptions: list[str],
) -> None:
    """Fill the per-CPU lists up to what zoneinfo counted, behind the pages that the recording allocates.

    Args:
        allocator: with its free lists built, and its per-CPU lists filled from the trace.
        pages: what every page was.
        zones: of the recorded machine.
        pagesets: what zoneinfo says of the per-CPU lists.
        demand: the trace.
        random: draws the pages.
        assumptions: what was done is added.
    """
    candidates = _candidates(allocator, pages, demand)
    cpus, drawn = len(allocator.node_of_cpu), 0
    for place, row in enumerate(zones.rows):
        here = candidates[(candidates >= row.first) & (candidates <= row.last)]
        here = _likeliest_first(allocator, here, random)
        recorded = pagesets.get(f"Node {row.node}, zone {row.zone}", {})
        for cpu in range(cpus):
            missing = recorded.get((cpu, "count"), 0) - int(allocator.pcp[place * cpus + cpu, PCP_COUNT])
            if missing > 0:
                fill_pcp(allocator, cpu, here[:missing])
                drawn += len(here[:missing])
                here = here[missing:]
    if drawn:
        assumptions.append(
            f"{drawn:,} more pages were on per-CPU lists before the recording, says zoneinfo: which ones is not "
            "recorded, they are taken from the emptiest pageblocks, drawn by seed."
        )


def _candidates(allocator: PageAllocator, pages: Pages, demand: Demand) -> NDArray[np.int64]:
    """Pages that may have been on a list: without flags, and without an event."""
    quiet = pages.plain & (allocator.kind >= USED) & (allocator.kind != ON_PCP)
    both = min(len(quiet), demand.pages)
    quiet[:both] &= demand.first_seen[:both] < 0
    return np.flatnonzero(quiet)


def _likeliest_first(
    allocator: PageAllocator, pages: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Pageblocks with most pages that are free or on lists first, equals by seed; addresses ascend within one."""
    shift = allocator.pageblock_order
    moving = (allocator.kind == FREE) | (allocator.kind == ON_PCP)
    density = np.add.reduceat(moving, np.arange(0, len(moving), 1 << shift), dtype=np.int64)
    block = pages >> shift
    return pages[np.lexsort((pages, random.random(len(density))[block], -density[block]))]
