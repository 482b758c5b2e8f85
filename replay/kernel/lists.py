"""Lists of pages as in include/linux/list.h: rings through a head, kept in one array of links for all lists.

Entries ``0 .. P`` of the array belong to pages, those after them to heads. A page is on one list at a time.
"""

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled

NEXT, PREV = 0, 1


def new_links(first: int, last: int) -> NDArray[np.int32]:
    """(last - first, 2) next and previous of the entries from `first` on: each points to itself, as an empty list."""
    links = np.empty((last - first, 2), np.int32)
    _point_to_itself(links, first)
    return links


@compiled
def _point_to_itself(links, first):
    for entry in range(len(links)):
        links[entry, NEXT] = links[entry, PREV] = first + entry


@compiled
def list_add(link, head, page):
    """Insert a page after the head: it becomes the first."""
    first = np.int64(link[head, NEXT])
    link[page, NEXT] = first
    link[page, PREV] = head
    link[first, PREV] = page
    link[head, NEXT] = page


@compiled
def list_add_tail(link, head, page):
    """Insert a page before the head: it becomes the last."""
    last = np.int64(link[head, PREV])
    link[page, NEXT] = head
    link[page, PREV] = last
    link[last, NEXT] = page
    link[head, PREV] = page


@compiled
def list_del(link, page):
    """Remove a page from the list that it is on."""
    after, before = np.int64(link[page, NEXT]), np.int64(link[page, PREV])
    link[before, NEXT] = after
    link[after, PREV] = before


@compiled
def list_first(link, head):
    """First page of a list, -1 when it is empty."""
    page = np.int64(link[head, NEXT])
    return page if page != head else np.int64(-1)


@compiled
def list_last(link, head):
    """Last page of a list, -1 when it is empty."""
    page = np.int64(link[head, PREV])
    return page if page != head else np.int64(-1)
