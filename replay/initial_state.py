"""The machine as it was before the first event: what was free, what the pages held, how the direct map was laid out.

From the snapshots, best source first; whatever has to be assumed is said, and stored with every run.
"""

from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from ptpool.vocabulary import MIGRATETYPES, MOVABLE, UNMOVABLE
from replay.demand import Demand
from replay.direct_map_layout import lay_out
from replay.kernel.geometry import Geometry, geometry_of
from replay.kernel.page_alloc import (
    HOLE,
    USED,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    PageAllocator,
    build_free_lists,
    page_allocator,
)

LRU, BUDDY, NOPAGE, OFFLINE, PGTABLE = 1 << 5, 1 << 10, 1 << 20, 1 << 23, 1 << 26
"""include/uapi/linux/kernel-page-flags.h"""

_ZONE_CLASS = {"DMA": ZONE_DMA, "DMA32": ZONE_DMA32, "Normal": ZONE_NORMAL, "Movable": ZONE_MOVABLE}
_COLD_HEADROOM, _COLD_PAGES = 4, 1 << 22
"""A trace without any snapshot gets a machine this many times the highest page it touches, below 16 GiB."""


@dataclass
class InitialState:
    """The recorded machine before the first event. Shapes: ``P`` pages, ``M`` PMD-sized pieces."""

    arch: str
    cpus: int
    geometry: Geometry
    allocator: PageAllocator
    mapped: NDArray[np.bool_]
    """(P,) pages in the direct map."""
    level: NDArray[np.uint8]
    """(M,) level of the leaf that maps each piece of the direct map."""
    page_tables: NDArray[np.int64]
    """Page tables alive: their page frame numbers, ascending."""
    page_tables_elsewhere: int = 0
    """Page tables alive of which only the number is known."""
    page_tables_known: bool = True
    """Whether anything tells how many were alive."""
    assumptions: list[str] = field(default_factory=list)


def recorded_machine(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], demand: Demand) -> InitialState:
    """Rebuild the machine that a capture was recorded on, as it was before the first event."""
    arch = capture["arch"] or "x86_64"
    geometry = geometry_of(arch, capture["page_size"])
    assumptions = [] if capture["arch"] else ["The architecture was not recorded: x86-64 is assumed."]
    if geometry is None:
        raise UsageError(
            f"capture {capture['name']}: {arch} has no pages of {capture['page_size']} bytes",
            "x86_64 has pages of 4 KiB, aarch64 of 4, 16 or 64 KiB",
        )
    capture_id = capture["capture_id"]
    present, free, movable, tables, moment = _pages(connection, capture, demand, assumptions)
    zones, wmark, reserve = _zones(connection, capture_id, moment, len(present), assumptions)
    allocator = page_allocator(len(present), zones, geometry)
    allocator.wmark[:] = wmark
    allocator.lowmem_reserve[:] = reserve
    allocator.kind[:] = np.where(present, np.where(movable, USED + MOVABLE, USED + UNMOVABLE), HOLE)
    _set_block_types(connection, capture_id, moment, allocator, present & ~free & ~movable, geometry, assumptions)
    build_free_lists(allocator, free & present)
    mapped, level = lay_out(connection, capture_id, moment, present, allocator, geometry, assumptions)
    known = np.empty(0, np.int64) if tables is None else tables
    state = InitialState(arch, capture["cpus"], geometry, allocator, mapped, level, known, assumptions=assumptions)
    if tables is None:
        _count_page_tables(connection, capture_id, state)
    if moment == "after" and capture["window_to_ns"] is not None:
        assumptions.append("The snapshot is from after the recording, later than the window's end.")
    if capture["window_from_ns"] is not None:
        assumptions.append(
            "A window of the recording: page states were brought forward to its start; pageblock types and the leaves "
            "of the direct map are those of the start of the recording."
        )
    return state


def _count_page_tables(connection: duckdb.DuckDBPyConnection, capture_id: str, state: InitialState) -> None:
    """Without kpageflags from before, only nr_page_table_pages can tell how many page tables were alive."""
    row = connection.execute(
        """SELECT value FROM snapshot_value
           WHERE capture_id = ? AND moment = 'before' AND source = 'vmstat' AND name = 'nr_page_table_pages'""",
        [capture_id],
    ).fetchone()
    state.page_tables_known = row is not None
    if row is None:
        state.assumptions.append("How many page tables were alive at the start is not recorded: none are replayed.")
    else:
        state.page_tables_elsewhere = int(row[0])
        state.assumptions.append(
            f"{row[0]:,} pages of page tables were alive at the start (nr_page_table_pages), nobody knows where: they "
            "are supplied anew before the first event and never freed."
        )


_Pages = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64] | None, str]


def _pages(
    connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], demand: Demand, assumptions: list[str]
) -> _Pages:
    """Present, free and movable pages, page tables alive, and the moment whose snapshots describe this state.

    Page tables are None where nothing tells which pages they were.
    """
    for moment in ("before", "after"):
        runs = connection.execute(
            "SELECT first_pfn, last_pfn, flags FROM page_flags WHERE capture_id = ? AND moment = ? ORDER BY first_pfn",
            [capture["capture_id"], moment],
        ).fetchnumpy()
        first, last, flags = (np.asarray(runs[name]).astype(np.int64) for name in ("first_pfn", "last_pfn", "flags"))
        if len(first):
            page_flags = np.zeros(max(int(last[-1]) + 1, demand.pages), np.int64)
            page_flags[: last[-1] + 1] = np.repeat(flags, last - first + 1)
            page_flags[last[-1] + 1 :] = NOPAGE
            present = (page_flags & (NOPAGE | OFFLINE)) == 0
            free = (page_flags & BUDDY) != 0
            movable = (page_flags & LRU) != 0
            tables: NDArray[np.int64] | None = np.flatnonzero(page_flags & PGTABLE)
            if moment == "after":
                seen = np.full(len(page_flags), -1, np.int8)
                seen[: demand.pages] = demand.first_seen
                free = np.where(seen >= 0, seen == 1, free)
                movable &= seen < 0
                tables = None
                assumptions.append(
                    "No snapshot from before the recording: the state at its start is the one after it, with every "
                    "page set back to what its first event implies."
                )
            present |= free
            return present, free, movable, tables, moment
    pages = max(int(capture["total_pages"] or 0), demand.pages)
    if not capture["total_pages"] and pages < _COLD_PAGES:
        pages *= _COLD_HEADROOM
    seen = np.full(pages, -1, np.int8)
    seen[: demand.pages] = demand.first_seen
    assumptions.append(
        f"No page flags beside the trace: a machine of {pages:,} pages is assumed in which every page is free but "
        "those whose first event is a free. Such a machine is hardly ever short of memory; buddyinfo alone does not "
        "change that."
    )
    present = np.ones(pages, np.bool_)
    return present, seen != 0, np.zeros(pages, np.bool_), None, "before"


def _zones(
    connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, pages: int, assumptions: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Zones with their watermarks and lowmem_reserve, ascending."""
    rows = connection.execute(
        """SELECT node, zone, start_pfn, spanned, wmark_min, wmark_low, protection FROM zone
           WHERE capture_id = ? AND moment = ? AND managed > 0 ORDER BY start_pfn""",
        [capture_id, moment],
    ).fetchall()
    if not rows:
        assumptions.append("No zoneinfo beside the trace: one zone without watermarks is assumed.")
        return np.array([[0, pages - 1, ZONE_NORMAL]], np.int64), np.zeros((1, 2), np.int64), np.zeros((1, 4), np.int64)
    if len({node for node, *_ in rows}) > 1:
        assumptions.append("Several nodes: their zones are used from the highest address downward, without locality.")
    zones, wmark, reserve = [], [], []
    for _, zone, start, spanned, low_mark, low, protection in rows:
        zones.append((start, min(start + spanned, pages) - 1, _ZONE_CLASS.get(zone, ZONE_NORMAL)))
        wmark.append((low_mark, low))
        reserve.append(([int(value) for value in protection or []] + [0] * 4)[:4])
    return np.array(zones, np.int64), np.array(wmark, np.int64), np.array(reserve, np.int64)


def _set_block_types(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    moment: str,
    allocator: PageAllocator,
    unmovable: NDArray[np.bool_],
    geometry: Geometry,
    assumptions: list[str],
) -> None:
    """As many pageblocks of each type as pagetypeinfo counts: those with most pages of the kind."""
    size = 1 << geometry.pageblock_order
    weight = np.add.reduceat(unmovable, np.arange(0, len(unmovable), size), dtype=np.int64)
    rows = connection.execute(
        """SELECT zone, migratetype::VARCHAR, sum(blocks) FROM pageblocks
           WHERE capture_id = ? AND moment = ? AND migratetype IN ('Unmovable', 'Reclaimable') GROUP BY ALL""",
        [capture_id, moment],
    ).fetchall()
    if not rows:
        assumptions.append(
            "No pagetypeinfo beside the trace: pageblocks more than half unmovable are taken as Unmovable."
        )
        allocator.block_type[: len(weight)][weight > size // 2] = UNMOVABLE
        return
    assumptions.append(
        "Which pageblocks are Unmovable or Reclaimable is not recorded, only how many: those with most unmovable pages."
    )
    counts = {(zone, migratetype): int(blocks) for zone, migratetype, blocks in rows}
    by_class = {value: name for name, value in _ZONE_CLASS.items()}
    for first, last, zone_class in allocator.zones:
        name = by_class[int(zone_class)]
        blocks = np.arange(first >> geometry.pageblock_order, (last >> geometry.pageblock_order) + 1)
        ranked = blocks[np.argsort(-weight[blocks], kind="stable")]
        done = 0
        for migratetype in ("Unmovable", "Reclaimable"):
            wanted = counts.get((name, migratetype), 0)
            allocator.block_type[ranked[done : done + wanted]] = MIGRATETYPES.index(migratetype)
            done += wanted
