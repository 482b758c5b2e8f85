"""The exact start: free lists in order, per-CPU lists and pageblock types as the recorder read them (free_lists).

Nothing is drawn or inferred then. The lists are read last, so a page that kpageflags shows otherwise is as they say.
"""

from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from replay.kernel import mmzone as mm
from replay.kernel.buddy import account_freepages, add_to_free_list
from replay.kernel.mmzone import PageAllocator, mark
from replay.kernel.per_cpu import add_to_pcp_list
from replay.start.pages import Pages
from replay.start.zones import Zones


class RecordedLists(NamedTuple):
    """Blocks on lists, each list from its head. Shapes: ``L`` blocks, ``T`` runs of pageblocks."""

    pfn: NDArray[np.int64]
    order: NDArray[np.int64]
    migratetype: NDArray[np.int64]
    """(L,) type of the list."""
    zone: NDArray[np.int64]
    """(L,) place of the zone in `Zones.rows`."""
    cpu: NDArray[np.int64]
    """(L,) CPU whose list it is; -1: the zone's own."""
    types: NDArray[np.int64]
    """(T, 3) first page, last page and migratetype of runs of pageblocks."""

    def free(self, pages: int) -> NDArray[np.bool_]:
        """(pages,) pages on the lists of the zones."""
        return covered(self.pfn[self.cpu < 0], self.order[self.cpu < 0], pages)

    def waiting(self, pages: int) -> NDArray[np.bool_]:
        """(pages,) pages on per-CPU lists."""
        return covered(self.pfn[self.cpu >= 0], self.order[self.cpu >= 0], pages)


def covered(pfn: NDArray[np.int64], order: NDArray[np.int64], pages: int) -> NDArray[np.bool_]:
    """(pages,) pages of blocks that begin at `pfn` (L,), of 2^`order` (L,) pages each."""
    edges = np.zeros(pages + 1, np.int64)
    np.add.at(edges, pfn, 1)
    np.add.at(edges, pfn + (1 << order), -1)
    return np.cumsum(edges[:-1]) > 0


def read_lists(connection: duckdb.DuckDBPyConnection, capture_id: str, zones: Zones) -> RecordedLists | None:
    """The lists of a capture as they were before the recording; None: it has none. What is in no zone is left out."""
    rows = connection.execute(
        """SELECT first_pfn AS pfn, page_order AS "order", enum_code(migratetype) AS migratetype, node, zone,
                  coalesce(cpu, -1) AS cpu
           FROM free_list WHERE capture_id = ? AND moment = 'before' ORDER BY place""",
        [capture_id],
    ).fetchnumpy()
    if not len(rows["pfn"]):
        return None
    runs = connection.execute(
        """SELECT first_pfn, last_pfn, enum_code(migratetype) AS migratetype FROM pageblock_type
           WHERE capture_id = ? AND moment = 'before' ORDER BY first_pfn""",
        [capture_id],
    ).fetchnumpy()
    place = np.full(len(rows["pfn"]), -1, np.int64)
    for nth, row in enumerate(zones.rows):
        place[(rows["node"] == row.node) & (rows["zone"] == row.zone)] = nth
    known = place >= 0
    pfn, order, migratetype, cpu = (
        np.asarray(rows[name]).astype(np.int64)[known] for name in ("pfn", "order", "migratetype", "cpu")
    )
    types = np.column_stack([runs["first_pfn"], runs["last_pfn"], runs["migratetype"]]).astype(np.int64)
    return RecordedLists(pfn, order, migratetype, place[known], cpu, types)


def as_on_lists(pages: Pages, lists: RecordedLists) -> Pages:
    """Pages as the lists show them: free where they are on a zone's list, in use where they are on none."""
    many = len(pages.present)
    free, waiting = lists.free(many), lists.waiting(many)
    tables = pages.tables if pages.tables is None else pages.tables[~(free | waiting)[pages.tables]]
    present, plain = pages.present | free | waiting, pages.plain & ~free & ~waiting
    return pages._replace(present=present, free=free, movable=pages.movable & ~free, plain=plain, tables=tables)


def set_block_types(allocator: PageAllocator, lists: RecordedLists) -> None:
    """Give every pageblock the type that was read; the others stay Movable."""
    shift = allocator.pageblock_order
    for first, last, migratetype in lists.types.tolist():
        allocator.block_type[first >> shift : (last >> shift) + 1] = migratetype


def build_lists(allocator: PageAllocator, lists: RecordedLists) -> None:
    """Fill an allocator's empty lists, in the order that was read. The types of the pageblocks have to be set."""
    own = lists.cpu < 0
    _build_free_lists(allocator, *(column[own] for column in lists[:4]))
    _build_pcp_lists(allocator, *(column[~own] for column in lists[:5]))


@compiled
def _build_free_lists(a, pfn, order, migratetype, zone):
    for i in range(len(pfn)):
        mark(a, pfn[i], order[i], mm.FREE)
        add_to_free_list(a, zone[i], pfn[i], order[i], migratetype[i], True)
        account_freepages(a, zone[i], 1 << order[i], migratetype[i])


@compiled
def _build_pcp_lists(a, pfn, order, migratetype, zone, cpu):
    for i in range(len(pfn)):
        add_to_pcp_list(a, cpu[i], zone[i], pfn[i], order[i], migratetype[i])
