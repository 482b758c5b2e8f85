"""Injected load: permission changes by others at a rate, of ranges drawn by seed."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from replay.demand.demand import Demand
from replay.demand.others import Asked, Place
from replay.demand.program import OUTSIDE_CHANGE, with_events
from replay.kernel.geometry import Geometry
from replay.kernel.leaves import READ_ONLY

LONGEST = 2
"""Leaves of the middle size (2M) that the longest range is as long as; ours."""

MOST = 10_000_000
"""Changes in one replay."""


def injected(
    demand: Demand, rate: float, mapped: NDArray[np.bool_], cpus: int, geometry: Geometry, seed: int
) -> Demand:
    """A demand with permission changes by others injected, like calls of `set_memory_ro()` by some module.

    They are a Poisson process in simulated time. A range begins at any mapped page. Its length is drawn uniformly on a
    logarithmic scale, from a page to `LONGEST` leaves. Each change is made on a drawn CPU, by a task of that CPU that
    does nothing else. Ranges are cut to the longest piece without page tables. Nothing is made writable again, because
    nothing that was split is joined again (on x86, except by set_memory_rox()).

    On x86 a range is one change (change_page_attr_set_clr()): it mostly has two ends inside large leaves, and takes up
    to 4 tables where it crosses a border of the largest. On arm64 it is as many changes as it has pages, each of which
    takes at most 2: change_memory_common() (arch/arm64/mm/pageattr.c, 6.18) changes the linear alias of a vmalloc area
    page by page, wherever its pages are; set_memory_*() of the linear map itself is refused.

    `rate` is in changes per second, on average; `mapped` (P,) are the pages in the direct map. Times, CPUs and ranges
    are drawn by seed.

    Raises:
        UsageError: more changes than fit into a replay.
    """
    if not rate:
        return demand
    duration = demand.last_ns - demand.first_ns + 1
    if rate * duration / 1e9 > MOST:
        raise UsageError(
            f"--inject {rate:g}: {rate * duration / 1e9:,.0f} changes in {duration / 1e9:.1f} s",
            f"take a lower rate: at most {MOST:,} changes are injected in one replay",
        )
    random = np.random.default_rng([seed, 1])
    many = int(random.poisson(rate * duration / 1e9))
    ts = np.sort(random.integers(demand.first_ns, demand.last_ns + 1, many))
    longest = LONGEST * geometry.pmd_pages
    pages = np.minimum(2 ** random.uniform(0, np.log2(longest + 1), many), longest).astype(np.int64)
    first = random.choice(np.flatnonzero(mapped), many)
    cpu = random.integers(0, cpus, many)
    lengths, length = np.unique(pages, return_inverse=True)
    drawn = {"cpu": cpu, "task": demand.tasks + cpu, "pfn": first, "context": len(demand.changes) + length}
    added = (
        f"Injected: {{}} permission changes by others that were not recorded ({rate:g} per second on average, of 1 to "
        f"{longest:,} pages; times and places drawn by seed)."
    )
    return replace(
        demand,
        program=with_events(demand.program, ts, op=OUTSIDE_CHANGE, **drawn),
        tasks=demand.tasks + cpus,
        changes=(*demand.changes, *(Asked(Place.DRAWN, int(each), READ_ONLY, 0) for each in lengths)),
        changed=demand.changed | {added: many},
    )
