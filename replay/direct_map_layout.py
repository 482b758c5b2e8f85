"""The direct map as it was before the first event, after arch/x86/mm/init.c (6.18) and the DirectMap counters.

Which leaves boot and earlier work had split is not in any file; what is assumed instead is said.
"""

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import UNMOVABLE
from replay.kernel.direct_map import PMD, PTE, PUD
from replay.kernel.geometry import Geometry
from replay.kernel.page_alloc import USED, PageAllocator


def lay_out(
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
