"""One reading of all lists of a running kernel, which does not stand still.

Each link is checked against its counterpart: a page counts if it is free and its `prev` is the page that led to it.
What does not agree is read again from the page before. Blocks that overlap were seen before and after a split or a
merge; they are read again at the end, so that no page is in two.
"""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.recorder.free_lists.allocator import Allocator
from ingest.snapshots.free_lists import ROW

_MOST_TORN = 20_000  # on one list; then it is left as far as it was read
_ATTEMPTS = 3  # to settle overlaps by reading again; in the last, of two blocks the lower stays
_OF_CPU = 0xFFF00


@dataclass
class Counts:
    """How quiet the machine was."""

    torn: int = 0  # links that did not agree with their counterpart and were read again
    broken: int = 0  # lists that were given up
    overlaps: int = 0  # blocks that had a page of another, until they were read again
    left_out: int = 0  # of these, blocks that were gone by then
    nr_free_differs: int = 0  # orders of zones whose count is not what their lists have
    pcp_count_differs: int = 0  # CPUs' counts of which the same is true


@dataclass
class Reading:
    """Rows of the snapshot free_lists, and how the reading went."""

    rows: NDArray[np.void]
    seconds: float
    counts: Counts = field(default_factory=Counts)


def read_lists(allocator: Allocator) -> Reading:
    """Read what changes slowest first, and the lists of CPUs last.

    Raises:
        UnreadableError, OSError: the kernel cannot be read.
    """
    start, counts = time.perf_counter(), Counts()
    pageblocks = allocator.pageblocks()
    lists = [*_free_lists(allocator, counts), *_pcp_lists(allocator, counts)]
    rows = _settled(allocator, np.concatenate(lists), counts)
    return Reading(np.concatenate([rows, pageblocks]), time.perf_counter() - start, counts)


def _free_lists(allocator: Allocator, counts: Counts) -> list[NDArray[np.void]]:
    found = []
    for zone in allocator.zones:
        for order in range(allocator.layout.orders):
            blocks = 0
            for kind in range(allocator.layout.types):
                links = _walk(allocator, allocator.free_list(zone, order, kind), order, zone.spanned, counts)
                found.append(_rows(allocator, links, order, kind, zone.place))
                blocks += len(links)
            counts.nr_free_differs += blocks != allocator.nr_free(zone, order)
    return found


def _pcp_lists(allocator: Allocator, counts: Counts) -> list[NDArray[np.void]]:
    found, layout = [], allocator.layout
    for zone in allocator.zones:
        for cpu, pageset in allocator.pagesets(zone).items():
            pages = 0
            for number in range(layout.most_pcp_lists):
                order, kind = allocator.pcp_list(number)
                links = _walk(allocator, pageset + layout.pcp_lists + 16 * number, None, zone.spanned, counts)
                found.append(_rows(allocator, links, order, kind, zone.place | cpu + 1 << 8))
                pages += len(links) << order
            counts.pcp_count_differs += pages != allocator.kcore.int32(pageset + layout.pcp_count)
    return found


def _rows(allocator: Allocator, links: list[int], order: int, kind: int, place: int) -> NDArray[np.void]:
    rows = np.empty(len(links), ROW)
    rows["pfn"], rows["order"], rows["type"], rows["place"] = allocator.pfns(links), order, kind, place
    return rows


def _walk(allocator: Allocator, head: int, order: int | None, most: int, counts: Counts) -> list[int]:
    """Addresses of the links on a list, in its order.

    Args:
        allocator: the kernel.
        head: the address of the list.
        order: of its blocks; None: a CPU's list.
        most: blocks that there can be.
        counts: what did not agree is counted here.
    """
    core, found, torn = allocator.kcore, list[int](), 0
    links: tuple[int, ...] | None = None  # of the last one found (at first the head); None: to be read
    while torn < _MOST_TORN and len(found) <= most:
        last = found[-1] if found else head
        if links is None and not found:
            links = core.words(head, 2)
        elif links is None:
            links = allocator.free_page(last, order)
            if links is None or links[1] != (found[-2] if len(found) > 1 else head):
                found.pop()  # it is no longer where it was: back to the one before
                links, torn = None, torn + 1
                continue
        following = links[0]
        if following == head:
            if core.words(head, 2)[1] == last:
                counts.torn += torn
                return found
            links, torn = None, torn + 1  # something was added at the end
        else:
            links = allocator.free_page(following, order)
            if links is not None and links[1] == last:
                found.append(following)
            else:
                links, torn = None, torn + 1
    counts.torn += torn
    counts.broken += 1
    return found


def _settled(allocator: Allocator, rows: NDArray[np.void], counts: Counts) -> NDArray[np.void]:
    """The rows without blocks that are gone, no page in two of them."""
    for attempt in range(_ATTEMPTS):
        by_page = np.argsort(rows["pfn"], kind="stable")
        first = rows["pfn"][by_page].astype(np.int64)
        reach = np.maximum.accumulate(first + (1 << rows["order"][by_page].astype(np.int64)))
        over = np.flatnonzero(first[1:] < reach[:-1])
        if not len(over):
            break
        gone = by_page[over + 1]
        if attempt < _ATTEMPTS - 1:
            doubtful = by_page[np.union1d(over, over + 1)]
            gone = doubtful[[_is_gone(allocator, *row) for row in rows[doubtful].tolist()]]
        counts.overlaps += len(over)
        counts.left_out += len(gone)
        rows = np.delete(rows, gone)
    return rows


def _is_gone(allocator: Allocator, pfn: int, order: int, kind: int, place: int) -> bool:  # noqa: ARG001
    return not allocator.is_linked(allocator.links_of(pfn), None if place & _OF_CPU else order)
