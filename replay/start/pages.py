"""What every page was before the first event: absent, free, on a per-CPU list, a page table, or in use.

From kpageflags where there are some; else from buddyinfo, with addresses drawn by seed; else everything is free.
"""

from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool import vocabulary
from ptpool.releases import numbers_of
from ptpool.vocabulary import MOVABLE, UNMOVABLE
from replay.demand.demand import Demand
from replay.kernel.geometry import Geometry
from replay.start.free_block_addresses import PAGEBLOCK_TYPES, draw_free, draw_pageblocks
from replay.start.zones import Zones, ram_of, snapshot_values

LRU, SLAB, BUDDY = 1 << vocabulary.KPF_LRU, 1 << vocabulary.KPF_SLAB, 1 << vocabulary.KPF_BUDDY
NOPAGE, OFFLINE, PGTABLE = 1 << vocabulary.KPF_NOPAGE, 1 << vocabulary.KPF_OFFLINE, 1 << vocabulary.KPF_PGTABLE
COMPOUND = 1 << vocabulary.KPF_COMPOUND_HEAD | 1 << vocabulary.KPF_COMPOUND_TAIL
"""Masks of page flags, as table page_flags keeps them."""

MOMENTS = ("before", "after")
_COLD_HEADROOM, _COLD_PAGES = 4, 1 << 22
"""Without any snapshot, a machine of below 16 GiB is this many times as large as the highest page in the trace."""


class Pages(NamedTuple):
    """Page states at the start. Shape ``P`` pages, ``B`` pageblocks."""

    present: NDArray[np.bool_]
    free: NDArray[np.bool_]
    movable: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    """(P,) pages without any flag: the kernel's own, or waiting on a per-CPU list."""
    tables: NDArray[np.int64] | None
    """Page tables alive, ascending; None where no snapshot shows which pages they were."""
    block_type: NDArray[np.uint8] | None
    """(B,) type of each pageblock; None where it has to be guessed from the pages."""
    moment: str
    """The moment whose snapshots describe this state."""


def pages_at_start(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    moment: str | None,
    demand: Demand,
    geometry: Geometry,
    random: np.random.Generator,
    assumptions: list[str],
) -> Pages:
    """Find out what every page was, from the best source there is; `moment` is from `moment_of_flags`."""
    numbers = numbers_of(capture["kernel_release"])
    if moment is not None:
        flags = page_flags_of(connection, capture["capture_id"], moment, demand.pages)
        assert flags is not None
        pages = _from_flags(flags, demand, moment, assumptions)
        if pages.tables is not None and not len(pages.tables):
            counted = snapshot_values(connection, capture["capture_id"], moment, "vmstat", ["nr_page_table_pages"])
            if not numbers.tables_marked or (capture["kernel_release"] is None and any(counted.values())):
                assumptions.append("kpageflags marks no page tables (before Linux 4.18 it never does).")
                return pages._replace(tables=None)
        return pages
    if not numbers.free_tails and _has_flags(connection, capture["capture_id"], "before"):
        assumptions.append(
            "kpageflags is not used: before Linux 4.6 it marks the first page of a free block only, without its size."
        )
    zones = Zones.read(connection, capture["capture_id"], "before")
    counts = _free_counts(connection, capture["capture_id"], geometry)
    if zones.rows and counts:
        return _drawn(connection, capture["capture_id"], zones, counts, demand, geometry, random, assumptions)
    return _cold(capture, demand, assumptions)


def _has_flags(connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str) -> bool:
    sql = "SELECT count(*) FROM page_flags WHERE capture_id = ? AND moment = ?"
    return connection.execute(sql, [capture_id, moment]).fetchall() != [(0,)]


def moment_of_flags(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> str | None:
    """The moment whose page flags describe the state at the start; None: none do."""
    if not numbers_of(capture["kernel_release"]).free_tails:
        return None
    moments = (moment for moment in MOMENTS if _has_flags(connection, capture["capture_id"], moment))
    return next(moments, None)


def _seen(demand: Demand, pages: int) -> NDArray[np.int8]:
    """(pages,) what the first event on each page does; see `Demand.first_seen`."""
    seen = np.full(pages, -1, np.int8)
    both = min(pages, demand.pages)
    seen[:both] = demand.first_seen[:both]
    return seen


def page_flags_of(
    connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, least: int
) -> NDArray[np.int64] | None:
    """(P,) flags of every page; pages above the last recorded one are absent. None: there are none."""
    runs = connection.execute(
        "SELECT first_pfn, last_pfn, flags FROM page_flags WHERE capture_id = ? AND moment = ? ORDER BY first_pfn",
        [capture_id, moment],
    ).fetchnumpy()
    first, last, flags = (np.asarray(runs[name]).astype(np.int64) for name in ("first_pfn", "last_pfn", "flags"))
    if not len(first):
        return None
    page_flags = np.full(max(int(last[-1]) + 1, least), NOPAGE, np.int64)
    page_flags[: last[-1] + 1] = np.repeat(flags, last - first + 1)
    return page_flags


def _from_flags(flags: NDArray[np.int64], demand: Demand, moment: str, assumptions: list[str]) -> Pages:
    present = (flags & (NOPAGE | OFFLINE)) == 0
    free = (flags & BUDDY) != 0
    movable = (flags & LRU) != 0
    plain = present & ((flags & (LRU | SLAB | BUDDY | COMPOUND | PGTABLE)) == 0)
    tables: NDArray[np.int64] | None = np.flatnonzero(flags & PGTABLE)
    if moment == "after":
        seen = _seen(demand, len(flags))
        free = np.where(seen >= 0, seen == 1, free)
        movable &= seen < 0
        plain &= seen < 0
        tables = None
        assumptions.append(
            "No snapshot from before the recording: the state at its start is the one after it, with every page set "
            "back to what its first event implies."
        )
    return Pages(present | free, free, movable, plain, tables, None, moment)


def _free_counts(
    connection: duckdb.DuckDBPyConnection, capture_id: str, geometry: Geometry
) -> dict[tuple[int, str], NDArray[np.int64]]:
    """Free blocks (types, orders) of each node and zone.

    Types are those of `PAGEBLOCK_TYPES`. Where pagetypeinfo disagrees with buddyinfo (it stops counting at 100,000, and
    is read a moment apart), the difference is Movable.
    """
    rows = connection.execute(
        """SELECT node, zone, coalesce(migratetype::VARCHAR, ''), page_order, blocks FROM free_blocks
           WHERE capture_id = ? AND moment = 'before'""",
        [capture_id],
    ).fetchall()
    total: dict[tuple[int, str], NDArray[np.int64]] = {}
    typed: dict[tuple[int, str], NDArray[np.int64]] = {}
    for node, zone, migratetype, order, blocks in rows:
        nothing = np.zeros((len(PAGEBLOCK_TYPES), geometry.max_order + 1), np.int64)
        counts = (typed if migratetype else total).setdefault((node, zone), nothing)
        if (name := migratetype or "Movable") in PAGEBLOCK_TYPES:
            most = min(order, geometry.max_order)
            counts[PAGEBLOCK_TYPES.index(name), most] += blocks << order - most
    movable = PAGEBLOCK_TYPES.index("Movable")
    for place, counts in total.items():
        if place in typed:
            others = np.delete(typed[place], movable, axis=0)
            others = np.minimum(others, counts[movable])
            counts[movable] = np.maximum(counts[movable] - others.sum(axis=0), 0)
            counts[np.arange(len(PAGEBLOCK_TYPES)) != movable] = others
    return total


def _drawn(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    zones: Zones,
    counts: dict[tuple[int, str], NDArray[np.int64]],
    demand: Demand,
    geometry: Geometry,
    random: np.random.Generator,
    assumptions: list[str],
) -> Pages:
    """As many free blocks of each order, zone and type as were counted, at addresses drawn by seed."""
    pages = max(zones.pages, demand.pages)
    present = _ram(connection, capture_id, zones, pages)
    seen = _seen(demand, pages)
    score = np.where(seen == 1, 1.0, np.where(seen == 0, -4.0, 0.0)).astype(np.float32)
    free = np.zeros(pages, np.bool_)
    movable = np.zeros(pages, np.bool_)
    block_type = np.full((pages >> geometry.pageblock_order) + 1, MOVABLE, np.uint8)
    unplaced = 0
    for row in zones.rows:
        wanted = counts.get((row.node, row.zone))
        if wanted is None:
            continue
        first, last = row.first, min(row.last, pages - 1)
        types = zones.pageblocks(connection, capture_id, "before", row, geometry.pageblock_order)
        draw_pageblocks(block_type, wanted, types, present, score, (first, last), geometry, random)
        unplaced += draw_free(free, block_type, wanted, present, score, (first, last), geometry, random)
        used = first + np.flatnonzero(present[first : last + 1] & ~free[first : last + 1])
        likely = used[block_type[used >> geometry.pageblock_order] == MOVABLE]
        lru = min(zones.lru(connection, capture_id, "before", row), len(likely))
        movable[random.choice(likely, lru, replace=False, shuffle=False)] = True
    assumptions.append(
        "The capture has no page flags: there are as many free blocks of each order, zone and type as buddyinfo and "
        "pagetypeinfo counted; their addresses are drawn by seed, and include the pages that the recording allocates "
        "first as far as these fit."
    )
    if unplaced:
        assumptions.append(f"{unplaced:,} of the free blocks counted found no place in their zone and are left out.")
    return Pages(present, free, movable, present & ~free & ~movable, None, block_type, "before")


def _ram(connection: duckdb.DuckDBPyConnection, capture_id: str, zones: Zones, pages: int) -> NDArray[np.bool_]:
    """(pages,) pages that exist: System RAM inside the zones, or all of the zones where iomem is not recorded."""
    present = np.zeros(pages, np.bool_)
    ram = ram_of(connection, capture_id) or [(0, pages - 1)]
    for row in zones.rows:
        for first, last in ram:
            present[max(first, row.first) : min(last, row.last) + 1] = True
    return present


def _cold(capture: dict[str, Any], demand: Demand, assumptions: list[str]) -> Pages:
    pages = max(int(capture["total_pages"] or 0), demand.pages)
    if not capture["total_pages"] and pages < _COLD_PAGES:
        pages *= _COLD_HEADROOM
    seen = _seen(demand, pages)
    assumptions.append(
        f"The capture has neither page flags nor buddyinfo: a machine of {pages:,} pages is assumed, all of them free "
        "except those whose first event is a free. Such a machine is hardly ever short of memory."
    )
    nothing = np.zeros(pages, np.bool_)
    return Pages(np.ones(pages, np.bool_), seen != 0, nothing, nothing, None, None, "before")


def kinds(pages: Pages, hole: int, used: int) -> NDArray[np.uint8]:
    """(P,) the allocator's name for each page that is not free."""
    return np.where(pages.present, np.where(pages.movable, used + MOVABLE, used + UNMOVABLE), hole).astype(np.uint8)
