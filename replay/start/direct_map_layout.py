"""The direct map as it was before the first event: from recorded page tables, or laid out by the rules of boot.

Best source first: the kernel's own page tables (debugfs) or a walk of them; on x86 the memory map with the DirectMap
counters, on arm64 with the CPU's identity. What is assumed is said.
"""

import csv
from importlib.resources import files

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.releases import version_of
from ptpool.vocabulary import UNMOVABLE
from replay.kernel.geometry import ARM64_4K, Geometry
from replay.kernel.leaves import PMD, PTE, PUD
from replay.kernel.mmzone import USED, PageAllocator
from replay.start.zones import ram_of, snapshot_values

UNVALIDATED = (
    "Unvalidated: how a linear map of blocks of 16K and 64K pages is split follows the source of Linux 6.18 "
    "(split_kernel_leaf_mapping()); a recorded sequence of a real kernel holds the model to it for 4K pages only."
)
_LEVELS = {"pte": PTE, "pmd": PMD, "pud": PUD}

Layout = tuple[NDArray[np.bool_], NDArray[np.uint8]]


def lay_out(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    moment: str,
    present: NDArray[np.bool_],
    allocator: PageAllocator,
    geometry: Geometry,
    assumptions: list[str],
) -> Layout:
    """Pages mapped (P,), and the level of the leaf that maps each PMD-sized piece (M,).

    `moment` (before or after) is that of the snapshots that describe the start, `present` (P,) are the pages that
    exist. The allocator's unmovable pages show where splits are likely. What is assumed goes to `assumptions`.
    """
    mapped = _mapped(connection, capture_id, present, geometry)
    recorded = _recorded(connection, capture_id, moment, mapped, geometry)
    if recorded is not None:
        assumptions.append("The direct map is laid out as the recorded page tables show it.")
    elif geometry.arm64:
        recorded = _arm64(connection, capture_id, mapped, geometry, assumptions)
    else:
        recorded = _x86(connection, capture_id, moment, mapped, allocator, geometry, assumptions)
    if geometry.arm64 and geometry.page_shift != ARM64_4K.page_shift and (recorded[1] > PTE).any():
        assumptions.append(UNVALIDATED)
    return recorded


def _mapped(
    connection: duckdb.DuckDBPyConnection, capture_id: str, present: NDArray[np.bool_], geometry: Geometry
) -> NDArray[np.bool_]:
    """Pages in the direct map: System RAM, or what is present where iomem is not recorded."""
    ram = ram_of(connection, capture_id)
    mapped = present.copy()
    if ram:
        mapped[:] = False
        for first, last in ram:
            mapped[first : min(last + 1, len(mapped))] = True
        if not geometry.arm64:
            mapped[: 1 << 20 - geometry.page_shift] = True  # init_mem_mapping() maps the first megabyte always
    return mapped


def _whole(mapped: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """(pieces,) aligned pieces of `size` pages that are mapped from end to end."""
    whole = np.zeros(-(-len(mapped) // size), np.bool_)
    whole[: len(mapped) // size] = mapped[: len(mapped) // size * size].reshape(-1, size).all(axis=1)
    return whole


def _recorded(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    moment: str,
    mapped: NDArray[np.bool_],
    geometry: Geometry,
) -> Layout | None:
    """The direct map as debugfs or a walk showed it at that moment; None where neither was recorded."""
    rows = connection.execute(
        "SELECT first_pfn, last_pfn, level FROM direct_map_recorded WHERE capture_id = ? AND moment = ?",
        [capture_id, moment],
    ).fetchall()
    if not rows:
        return None
    pages, shift = mapped.copy(), geometry.table_shift
    level = np.full(-(-len(mapped) >> shift), PTE, np.uint8)
    for first, last, name in rows:
        pages[first : last + 1] = True
        level[first >> shift : (last >> shift) + 1] = _LEVELS[name]
    level[~_whole(pages, geometry.pmd_pages)] = PTE  # the end of memory, where the replay knows fewer pages
    whole = np.repeat(_whole(level == PUD, geometry.pmd_pages), geometry.pmd_pages)[: len(level)]
    level[(level == PUD) & ~whole] = PMD
    return pages, level


def _arm64(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    mapped: NDArray[np.bool_],
    geometry: Geometry,
    assumptions: list[str],
) -> Layout:
    """arch/arm64/mm/mmu.c:map_mem(): blocks only where every CPU can split them in use; otherwise pages.

    6.18 is the first kernel that asks for BBML2; earlier ones map with pages under rodata=full, their default.
    """
    level = np.full(-(-len(mapped) >> geometry.table_shift), PTE, np.uint8)
    if not _splits_in_use(connection, capture_id):
        assumptions.append(
            "arm64 without BBML2, or before Linux 6.18, maps the linear map with pages (rodata=full, the default)."
        )
        return mapped, level
    assumptions.append(
        "arm64 with BBML2 maps the linear map with the largest blocks that fit (map_mem(), 6.18); which of them were "
        "split before the recording is not recorded: none but those at the kernel image's edges."
    )
    level[_whole(mapped, geometry.pmd_pages)] = PMD
    level[[piece for piece in _image_edges(connection, capture_id, geometry) if piece < len(level)]] = PTE
    if geometry.pud_leaf:
        level[np.repeat(_whole(level == PMD, geometry.pmd_pages), geometry.pmd_pages)[: len(level)]] = PUD
    return mapped, level


def _splits_in_use(connection: duckdb.DuckDBPyConnection, capture_id: str) -> bool:
    """cpu_supports_bbml2_noabort() of every CPU, and a kernel that asks (arch/arm64/kernel/cpufeature.c, 6.18)."""
    rows = connection.execute("SELECT kernel_release FROM capture WHERE capture_id = ?", [capture_id]).fetchall()
    version = version_of(rows[0][0])
    midrs = connection.execute(
        "SELECT value FROM snapshot_value WHERE capture_id = ? AND source = 'cpuinfo' AND name LIKE '%, midr'",
        [capture_id],
    ).fetchall()
    asks = version is not None and version >= (6, 18)
    return asks and bool(midrs) and all(_has_bbml2(midr) for (midr,) in midrs)


def _has_bbml2(midr: int) -> bool:
    """Whether the kernel's list of CPUs with BBML2 and without conflict aborts has this one (profiles/bbml2.csv)."""
    text = files("replay.profiles").joinpath("bbml2.csv").read_text(encoding="utf-8")
    revision = (midr >> 20 & 0xF) << 4 | midr & 0xF
    return any(
        midr >> 24 == int(row["implementer"], 0)
        and midr >> 4 & 0xFFF == int(row["part"], 0)
        and int(row["lowest"], 0) <= revision <= int(row["highest"], 0)
        for row in csv.DictReader(text.splitlines())
    )


def _x86(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    moment: str,
    mapped: NDArray[np.bool_],
    allocator: PageAllocator,
    geometry: Geometry,
    assumptions: list[str],
) -> Layout:
    """arch/x86/mm/init.c:init_mem_mapping() (6.18), corrected by the DirectMap counters of /proc/meminfo."""
    pmd, pud = geometry.pmd_pages, geometry.pud_pages
    level = np.where(_whole(mapped, pmd), PMD, PTE).astype(np.uint8)
    pieces = len(level)
    level[0] = PTE  # the ISA hole
    counters = ("DirectMap4k", "DirectMap2M", "DirectMap4M", "DirectMap1G")
    meminfo = snapshot_values(connection, capture_id, moment, "meminfo", counters)
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
            "The capture has no DirectMap counters: every aligned 1G and 2M of memory is taken as one leaf."
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
    image = _image_edges(connection, capture_id, geometry)
    first, last = allocator.zones[-1, 0] >> geometry.table_shift, allocator.zones[-1, 1] >> geometry.table_shift
    size = geometry.pmd_pages
    low = [
        piece
        for piece in range(int(first), int(last) + 1)
        if (allocator.kind[piece * size : (piece + 1) * size] == USED + UNMOVABLE).any()
    ]
    return [piece for piece in dict.fromkeys(image + low) if piece < len(level) and level[piece] == PMD]


def _image_edges(connection: duckdb.DuckDBPyConnection, capture_id: str, geometry: Geometry) -> list[int]:
    """PMD-sized pieces in which a part of the kernel image begins or ends."""
    edges = connection.execute(
        """SELECT first_pfn, last_pfn + 1 FROM memory_range
           WHERE capture_id = ? AND name LIKE 'Kernel%' ORDER BY first_pfn""",
        [capture_id],
    ).fetchall()
    return [pfn >> geometry.table_shift for edge in edges for pfn in edge if pfn % geometry.pmd_pages]
