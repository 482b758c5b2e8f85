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
from replay.kernel.direct_map import PMD, PTE, PUD
from replay.kernel.geometry import ARM64_4K, X86_64, Geometry
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
_COLD_HEADROOM = 4
"""A trace without any snapshot gets a machine this many times the pages it touches, at least."""


@dataclass
class InitialState:
    """The recorded machine before the first event. Shapes: ``P`` pages, ``M`` PMD-sized pieces."""

    name: str
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
    assumptions: list[str] = field(default_factory=list)


def recorded_machine(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], demand: Demand) -> InitialState:
    """Rebuild the machine that a capture was recorded on, as it was before the first event."""
    arch = capture["arch"] or "x86_64"
    geometry = ARM64_4K if arch == "aarch64" else X86_64
    assumptions = [] if capture["arch"] else ["The architecture was not recorded: x86-64 is assumed."]
    if capture["page_size"] != 1 << geometry.page_shift:
        raise UsageError(
            f"capture {capture['name']}: pages of {capture['page_size']} bytes are not modelled yet",
            "only 4 KiB pages are",
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
    mapped, level = _direct_map(connection, capture_id, moment, arch, present, allocator, geometry, assumptions)
    return InitialState("recorded", arch, capture["cpus"], geometry, allocator, mapped, level, tables, assumptions)


_Pages = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64], str]


def _pages(
    connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], demand: Demand, assumptions: list[str]
) -> _Pages:
    """Present, free and movable pages, page tables alive, and the moment whose snapshots describe this state."""
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
            tables = np.flatnonzero(page_flags & PGTABLE)
            if moment == "after":
                seen = np.full(len(page_flags), -1, np.int8)
                seen[: demand.pages] = demand.first_seen
                free = np.where(seen >= 0, seen == 1, free)
                movable &= seen < 0
                tables = np.empty(0, np.int64)
                assumptions.append(
                    "No snapshot from before the recording: the state at its start is the one after it, with every "
                    "page set back to what its first event implies; page tables alive at the start are not known."
                )
            present |= free
            return present, free, movable, tables, moment
    pages = capture["total_pages"] or demand.pages * _COLD_HEADROOM
    pages = max(int(pages), demand.pages)
    seen = np.full(pages, -1, np.int8)
    seen[: demand.pages] = demand.first_seen
    assumptions.append(
        f"No page flags beside the trace: a machine of {pages:,} pages is assumed in which every page is free but "
        "those whose first event is a free. Such a machine is never short of memory."
    )
    present = np.ones(pages, np.bool_)
    return present, seen != 0, np.zeros(pages, np.bool_), np.empty(0, np.int64), "before"


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


def _direct_map(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    moment: str,
    arch: str,
    present: NDArray[np.bool_],
    allocator: PageAllocator,
    geometry: Geometry,
    assumptions: list[str],
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Leaves of the direct map, after arch/x86/mm/init.c (6.18) and the DirectMap counters of /proc/meminfo."""
    ram = connection.execute(
        "SELECT first_pfn, last_pfn FROM memory_range WHERE capture_id = ? AND name = 'System RAM'", [capture_id]
    ).fetchall()
    mapped = present.copy()
    if ram:
        mapped[:] = False
        for first, last in ram:
            mapped[first : min(last + 1, len(mapped))] = True
        mapped[: 1 << 20 - geometry.page_shift] = True  # init_mem_mapping() maps the first megabyte always
    pmd, pud = geometry.pmd_pages, geometry.pud_pages
    pieces = -(-len(mapped) // pmd)
    whole = np.zeros(pieces, np.bool_)
    whole[: len(mapped) // pmd] = mapped[: len(mapped) // pmd * pmd].reshape(-1, pmd).all(axis=1)
    level = np.where(whole, PMD, PTE).astype(np.uint8)
    if arch == "aarch64":
        assumptions.append("arm64 without BBML2 maps the whole linear map with 4K pages (rodata=full, the default).")
        level[:] = PTE
        return mapped, level
    level[0] = PTE  # the ISA hole
    meminfo = dict(
        connection.execute(
            """SELECT name, value FROM snapshot_value
               WHERE capture_id = ? AND moment = ? AND source = 'meminfo' AND name LIKE 'DirectMap%'""",
            [capture_id, moment],
        ).fetchall()
    )
    kilobytes = 1 << geometry.page_shift - 10
    gigas = [g for g in range(pieces // pmd) if (level[g * pmd : (g + 1) * pmd] == PMD).all()]
    if meminfo:
        # Where the top-down mapping meets a larger leaf that covers a range already, it counts it again: sum > RAM.
        excess = max(sum(meminfo.values()) // kilobytes - int(mapped.sum()), 0)
        wanted = round(max(meminfo.get("DirectMap1G", 0) // kilobytes - excess, 0) / pud)
        if len(gigas) > wanted:  # what boot splits lies low (first allocations) and at the top (kernel data)
            keep = sorted(gigas[1:] + gigas[:1], key=lambda g: (g == gigas[0], g == gigas[-1], g))
            gigas = sorted(keep[:wanted])
        assumptions.append(
            "The direct map is laid out by the rules of init_mem_mapping() and the DirectMap counters; which 2M and 1G "
            "leaves were split before the recording is not recorded: the kernel image's edges and the lowest blocks of "
            "the highest zone with unmovable pages are taken."
        )
    else:
        assumptions.append(
            "No DirectMap counters beside the trace: every aligned 1G and 2M of memory is taken as one leaf."
        )
    for g in gigas:
        level[g * pmd : (g + 1) * pmd] = PUD
    if meminfo:
        in_4k = np.repeat(level == PTE, pmd)[: len(mapped)]
        missing = (meminfo.get("DirectMap4k", 0) // kilobytes - int(mapped[in_4k].sum())) // pmd
        for piece in _split_before(connection, capture_id, level, allocator, geometry)[: max(missing, 0)]:
            level[piece] = PTE
    return mapped, level


def _split_before(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    level: NDArray[np.uint8],
    allocator: PageAllocator,
    geometry: Geometry,
) -> list[int]:
    """2M pieces in the order in which they are taken to have been split before the recording."""
    edges = connection.execute(
        """SELECT first_pfn, last_pfn + 1 FROM memory_range
           WHERE capture_id = ? AND name LIKE 'Kernel%' ORDER BY first_pfn""",
        [capture_id],
    ).fetchall()
    image = [pfn >> geometry.table_shift for edge in edges for pfn in edge if pfn % geometry.pmd_pages]
    first, last = allocator.zones[-1, 0] >> geometry.table_shift, allocator.zones[-1, 1] >> geometry.table_shift
    size = geometry.pmd_pages
    low = [
        piece
        for piece in range(int(first), int(last) + 1)
        if (allocator.kind[piece * size : (piece + 1) * size] == USED + UNMOVABLE).any()
    ]
    return [piece for piece in dict.fromkeys(image + low) if piece < len(level) and level[piece] == PMD]
