"""What a strategy takes at boot: memory that nobody held then, on a machine that shows years of use.

A start is a machine that has run: recorded, filled or aged by seed. What a strategy takes at boot it takes before any
of that, by the same rules for all strategies and all starts (rules: ours).

- The load of the machine is the same with it and without it. What the start shows in the memory taken lies elsewhere,
  in the smallest free chunks, of its own type where there is one. So free memory is smaller by what was taken.
- A chunk is taken where most of it is free. Of such chunks memblock has the highest, since it allocates from the top
  down, and the page allocator the lowest of the highest zone: its lists are filled in ascending order at boot.
  Zones that are small beside the largest one, CMA and ZONE_MOVABLE are left alone.
- Where too little is free, reclaim makes room if the variant has any: there would be less page cache on such a machine.
  Where that is not enough either, the strategy does not fit this machine, and the run is refused.
- No watermark is looked at: none was set.
"""

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.errors import UsageError
from ptpool.vocabulary import CMA, HIGHATOMIC, ISOLATE, UNMOVABLE
from replay.kernel import mmzone as mm
from replay.kernel.buddy import account_freepages, add_to_free_list, del_from_free_list, rmqueue_smallest
from replay.kernel.compaction import set_name, stands_for
from replay.kernel.mmzone import PageAllocator, block_type_of, mark, zone_of
from replay.kernel.per_cpu import drain_all_pages
from replay.machine.reclaim import Reclaim
from replay.machine.tally import LAST_UNMOVABLE, Tally
from replay.start.pressed_machine import SMALL_ZONE


class DoesNotFitError(UsageError):
    """What a strategy takes at boot is more than the machine has."""


class BootMemory:
    """Memory as it was before the machine was used.

    Args:
        allocator: the machine after years of use.
        tally: names of its pages.
        reclaim: makes room.
    """

    def __init__(self, allocator: PageAllocator, tally: Tally, reclaim: Reclaim) -> None:
        self._allocator, self._tally, self._reclaim = allocator, tally, reclaim
        pages = allocator.zones[:, mm.LAST_PFN] - allocator.zones[:, mm.FIRST_PFN] + 1
        usable = (allocator.zones[:, mm.CLASS] <= mm.ZONE_NORMAL) & (pages * SMALL_ZONE >= pages.max(initial=0))
        self._zones = np.flatnonzero(usable)
        self._ranked: dict[tuple[int, bool], list[int]] = {}
        self._taken: NDArray[np.bool_] = np.zeros(len(allocator.kind), np.bool_)
        self.pages = self.moved = 0
        """Pages taken; pages in use that lie elsewhere because of it."""

    def check(self, pages: int) -> None:
        """Refuse to take so many pages more if they are not there; what can be reclaimed is freed for them first.

        Raises:
            DoesNotFitError: they are not there.
        """
        a = self._allocator
        if pages > self._free:
            drain_all_pages(a)
        if (short := pages - self._free) > 0 and self._reclaim.share:
            self._reclaim.shrink_lists(0, self._zones.tolist(), 0, short, self._reclaim.share)
            drain_all_pages(a)
        if pages > self._free:
            raise DoesNotFitError(
                f"does not fit this machine: it takes {self.pages + pages:,} pages at boot, "
                f"and there are {self.pages + self._free:,} that nothing else uses",
                "take a larger machine (--machine), or leave this strategy out",
            )

    def take(self, order: int, *, memblock: bool = False) -> int:
        """Take 2^order pages, naturally aligned, of memblock or of the page allocator. Returns the first page number.

        Raises:
            DoesNotFitError: the machine has too few.
        """
        a, pages = self._allocator, 1 << order
        self.check(pages)
        pfn = self._place(order, memblock=memblock)
        if (a.kind[pfn : pfn + pages] == mm.ON_PCP).any():
            drain_all_pages(a)
        moved = int(_vacate(a, self._tally.page_of, self._tally.name_of, self._tally.counts, self._zones, pfn, order))
        self._taken[pfn : pfn + pages] = True
        if not memblock:  # the page allocator claims whole pageblocks
            a.block_type[-(-pfn >> a.pageblock_order) : (pfn + pages) >> a.pageblock_order] = UNMOVABLE
        self.pages, self.moved = self.pages + pages, self.moved + moved
        return pfn

    def _place(self, order: int, *, memblock: bool) -> int:
        """Where the next chunk lies: smaller ones than a pageblock fill one up."""
        outer = max(order, self._allocator.pageblock_order)
        if (outer, memblock) not in self._ranked:
            self._ranked[outer, memblock] = self._rank(outer, top_down=memblock)
        ranked, pages = self._ranked[outer, memblock], 1 << order
        while ranked:
            taken = self._taken[ranked[-1] : ranked[-1] + (1 << outer)].reshape(-1, pages).any(axis=1)
            if not taken.all():
                return ranked[-1] + int(taken.argmin()) * pages
            ranked.pop()
        raise DoesNotFitError(
            f"does not fit this machine: it takes {pages:,} adjacent pages at boot, and there is no place for them",
            "take a larger machine (--machine), or leave this strategy out",
        )

    @property
    def _free(self) -> int:
        a = self._allocator
        state = a.zone_state[self._zones]
        return int((a.free_pages[self._zones] - state[:, mm.FREE_CMA] - state[:, mm.FREE_HIGHATOMIC]).sum())

    def _rank(self, order: int, *, top_down: bool) -> list[int]:
        """First pages of the chunks that can be taken, the best last."""
        a, size = self._allocator, 1 << order
        found, free = [], []
        for zone in self._zones.tolist():
            first, last = -(-int(a.zones[zone, mm.FIRST_PFN]) // size), (int(a.zones[zone, mm.LAST_PFN]) + 1) // size
            chunks, count = np.arange(first, last), np.zeros((max(last - first, 0), 2), np.int64)
            _count(a.kind[first * size : last * size], order, count)
            types = a.block_type[chunks * size >> a.pageblock_order]
            whole = (count[:, 0] == 0) & ~np.isin(types, (CMA, HIGHATOMIC, ISOLATE))
            found.append(chunks[whole] * size)
            free.append(count[whole, 1])
        pfn, place = np.concatenate(found), np.repeat(np.arange(len(found)), [len(each) for each in found])
        best_last = (pfn if top_down else -pfn, place, np.concatenate(free))
        return pfn[np.lexsort(best_last)].tolist()  # type: ignore[no-any-return]


@compiled
def _count(kind, order, count):
    """Holes and free pages of each chunk of 2^order pages."""
    for page in range(len(kind)):
        count[page >> order, 0] += kind[page] == mm.HOLE
        count[page >> order, 1] += kind[page] == mm.FREE


@compiled
def _vacate(a, page_of, name_of, counts, zones, pfn, order):
    """Take 2^order pages off the free lists, and move what is in use there. Returns the pages moved.

    As many pages as that have to be free elsewhere in these zones.
    """
    zone, end = zone_of(a, pfn), pfn + (1 << order)
    for larger in range(order, a.max_order + 1):
        head = pfn >> larger << larger
        if a.order[head] == larger:
            _cut_out(a, zone, head, larger, pfn, order)
    page = pfn
    while page < end:
        free = np.int64(a.order[page])
        if free >= 0:
            del_from_free_list(a, zone, page, free)
            account_freepages(a, zone, -(1 << free), block_type_of(a, page))
        page += 1 << free if free >= 0 else 1
    moved = np.int64(0)
    for page in range(pfn, end):
        kind = a.kind[page]
        if kind < mm.USED:
            continue
        here = _anywhere(a, zones, zone, np.int64(kind) - mm.USED)
        a.kind[here] = kind
        name = stands_for(page_of, name_of, page)
        if name >= 0:
            page_of[name] = here
            set_name(name_of, here, name)
        if counts[LAST_UNMOVABLE] == page:
            counts[LAST_UNMOVABLE] = here
        moved += 1
    mark(a, pfn, order, mm.USED + UNMOVABLE)
    return moved


@compiled
def _cut_out(a, zone, head, high, pfn, low):
    """Take 2^low pages out of the middle of a free chunk; the rest goes to lists of its type."""
    migratetype = block_type_of(a, head)
    del_from_free_list(a, zone, head, high)
    account_freepages(a, zone, -(1 << low), migratetype)
    while high > low:
        high -= 1
        upper = head + (1 << high)
        rest = head if pfn >= upper else upper
        add_to_free_list(a, zone, rest, high, block_type_of(a, rest), False)
        head = upper if pfn >= upper else head


@compiled
def _anywhere(a, zones, own, migratetype):
    """A free page: of its own zone and type if there is one, in the smallest chunk."""
    for other in range(2):
        for zone in zones:
            if (zone != own) != (other == 1):
                continue
            for turn in range(mm.PCPTYPES):
                page = rmqueue_smallest(a, zone, np.int64(0), (migratetype + turn) % mm.PCPTYPES)
                if page >= 0:
                    return page
    return np.int64(-1)
