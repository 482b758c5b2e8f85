"""The leaves of the direct map: which leaf maps each page, its attributes, and how leaves are split and joined.

When that happens depends on the architecture: `replay.kernel.set_memory_x86`, `set_memory_arm64`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled, compiled_apart
from replay.kernel.geometry import Geometry

PTE, PMD, PUD = 1, 2, 3
"""Levels of a leaf: 4K, 2M, 1G on x86-64."""

KEYED, NOT_PRESENT, READ_ONLY, CLEAN, EXECUTABLE, UNCACHED, NOT_GLOBAL, KERNEL_4K = (1 << bit for bit in range(8))
"""Attributes in which a leaf can differ from ordinary memory (PAGE_KERNEL), whose attributes are 0.

CLEAN: without _PAGE_DIRTY, which set_memory_ro() clears. KERNEL_4K: _PAGE_KERNEL_4K, mapped with small pages on
purpose.
"""

PAGES, TABLES, SPLITS, COLLAPSES, REWRITES, HINTS = 0, 4, 5, 6, 7, 8
"""Places in DirectMap.counts. PAGES + level: pages mapped at that level. REWRITES of whole large leaves and contiguous
HINTS cleared: changes that need no table."""

SPLIT, COLLAPSE = 0, 1
"""Actions in the log."""


class DirectMap(NamedTuple):
    """Levels and attributes of the direct map. Shapes: ``P`` pages, ``M`` PMD leaves, ``G`` PUD leaves."""

    mapped: NDArray[np.bool_]  # (P,) False: a hole; only read
    in_piece: NDArray[np.int64]  # (M,) pages mapped in each PMD-sized piece
    level: NDArray[np.uint8]  # (M,) level of the leaf that maps this PMD-sized piece: PTE, PMD or PUD
    attr_pte: NDArray[np.uint8]  # (P,) attributes where the level is PTE
    attr_pmd: NDArray[np.uint8]  # (M,) where it is PMD
    attr_pud: NDArray[np.uint8]  # (G,) where it is PUD
    log: NDArray[np.int64]  # (rows possible, 5) time, first pfn of the leaf, its level, cause, SPLIT or COLLAPSE
    counts: NDArray[np.int64]  # pages by level, tables, splits and collapses logged, rewrites, hints cleared
    cont_pte: NDArray[np.bool_]  # (P >> cont_pte_shift,) arm64: the PTEs of this group carry the contiguous hint
    cont_pmd: NDArray[np.bool_]  # (M >> cont_pmd_shift,) and PMDs
    table_shift: int
    cont_pte_shift: int
    cont_pmd_shift: int
    arm64: bool


def direct_map(mapped: NDArray[np.bool_], level: NDArray[np.uint8], geometry: Geometry) -> DirectMap:
    """A direct map with the given leaves and ordinary attributes everywhere.

    On arm64 every aligned group of alike leaves carries the contiguous hint. If all memory is mapped with pages, none
    does: boot then used neither blocks nor hints (mmu.c:map_mem() of 6.18: NO_BLOCK_MAPPINGS with NO_CONT_MAPPINGS).

    Args:
        mapped: (P,) True where the page is mapped.
        level: (M,) leaf level of each PMD-sized piece; PUD only for whole, aligned PUD-sized runs.
        geometry: entries per table.
    """
    pages, shift = len(mapped), geometry.table_shift
    pieces = len(level)
    puds = (pieces >> shift) + 1
    in_piece = np.zeros(pieces, np.int64)
    _count_mapped(mapped, shift, in_piece)
    count = np.zeros(9, np.int64)
    for leaf in (PTE, PMD, PUD):
        count[PAGES + leaf] = in_piece[level == leaf].sum()
    present = in_piece > 0
    pmd_tables = len(np.unique(np.flatnonzero(present & (level != PUD)) >> shift))
    count[TABLES] = int((present & (level == PTE)).sum()) + pmd_tables
    hints = geometry.arm64 and bool((level > PTE).any())
    in_pages = mapped & (np.repeat(level, 1 << shift)[:pages] == PTE) if hints else np.zeros(pages, np.bool_)
    return DirectMap(
        mapped=mapped,
        in_piece=in_piece,
        level=level.copy(),
        attr_pte=np.zeros(pages, np.uint8),
        attr_pmd=np.zeros(pieces, np.uint8),
        attr_pud=np.zeros(puds, np.uint8),
        log=np.zeros((pieces + puds + 1, 5), np.int64),
        counts=count,
        cont_pte=_whole_groups(in_pages, geometry.cont_pte_shift),
        cont_pmd=_whole_groups((level == PMD) & hints, geometry.cont_pmd_shift),
        table_shift=shift,
        cont_pte_shift=geometry.cont_pte_shift,
        cont_pmd_shift=geometry.cont_pmd_shift,
        arm64=geometry.arm64,
    )


@compiled
def _count_mapped(mapped, shift, in_piece):
    for page in range(min(len(mapped), len(in_piece) << shift)):
        in_piece[page >> shift] += mapped[page]


def _whole_groups(entries: NDArray[np.bool_], shift: int) -> NDArray[np.bool_]:
    """(groups of 2^shift,) True where all entries of the group are set."""
    groups = np.zeros((-(-len(entries) >> shift), 1 << shift), np.bool_)
    groups.reshape(-1)[: len(entries)] = entries
    return np.asarray(groups.all(axis=1))


def with_room(d: DirectMap, rows: int) -> DirectMap:
    """The same direct map with room in its log for that many more splits and collapses.

    The log of a new direct map is long enough unless leaves collapse: otherwise each can split only once.
    """
    used = int(d.counts[SPLITS] + d.counts[COLLAPSES])
    if used + rows <= len(d.log):
        return d
    longer = np.zeros((2 * used + rows, d.log.shape[1]), np.int64)
    longer[:used] = d.log[:used]
    return d._replace(log=longer)


def logged(d: DirectMap) -> NDArray[np.int64]:
    """(rows, 5) the rows written so far: time, first pfn, level of the large leaf, cause, action."""
    return d.log[: d.counts[SPLITS] + d.counts[COLLAPSES]]


@compiled
def attribute_of(d, pfn):
    """Attributes of the leaf that maps a page."""
    piece = pfn >> d.table_shift
    if d.level[piece] == PUD:
        return d.attr_pud[piece >> d.table_shift]
    if d.level[piece] == PMD:
        return d.attr_pmd[piece]
    return d.attr_pte[pfn]


@compiled
def _note(d, start, level, now, cause, action):
    row = d.counts[SPLITS] + d.counts[COLLAPSES]
    d.log[row, 0], d.log[row, 1], d.log[row, 2], d.log[row, 3], d.log[row, 4] = now, start, level, cause, action
    d.counts[SPLITS if action == SPLIT else COLLAPSES] += 1
    d.counts[TABLES] += 1 if action == SPLIT else -1


@compiled
def split_leaf(d, start, level, now, cause):
    """Replace a leaf by a table of the next lower level whose entries inherit its attributes."""
    shift = d.table_shift
    piece = start >> shift
    if level == PUD:
        inherited = d.attr_pud[piece >> shift]
        for entry in range(1 << shift):
            d.level[piece + entry] = PMD
            d.attr_pmd[piece + entry] = inherited
        d.counts[PAGES + PUD] -= 1 << 2 * shift
        d.counts[PAGES + PMD] += 1 << 2 * shift
    else:
        d.level[piece] = PTE
        for page in range(start, min(start + (1 << shift), len(d.mapped))):
            d.attr_pte[page] = d.attr_pmd[piece]
        d.counts[PAGES + PMD] -= d.in_piece[piece]
        d.counts[PAGES + PTE] += d.in_piece[piece]
    _note(d, start, level, now, cause, SPLIT)


@compiled
def rewrite_leaf(d, start, level, new):
    """Change the attributes of a whole large leaf; returns whether they differed before."""
    piece = start >> d.table_shift
    if level == PUD:
        old = d.attr_pud[piece >> d.table_shift]
        d.attr_pud[piece >> d.table_shift] = new
    else:
        old = d.attr_pmd[piece]
        d.attr_pmd[piece] = new
    d.counts[REWRITES] += old != new
    return old != new


@compiled
def join_leaves(d, start, level, now, cause):
    """Replace a whole table by one leaf of `level` at page `start`, with the attributes of the first entry."""
    shift = d.table_shift
    piece = start >> shift
    if level == PUD:
        d.attr_pud[piece >> shift] = d.attr_pmd[piece]
        for entry in range(1 << shift):
            d.level[piece + entry] = PUD
    else:
        d.attr_pmd[piece] = d.attr_pte[start]
        d.level[piece] = PMD
    size = 1 << (level - 1) * shift
    d.counts[PAGES + level - 1] -= size
    d.counts[PAGES + level] += size
    _note(d, start, level, now, cause, COLLAPSE)


def keyed(d: DirectMap) -> NDArray[np.bool_]:
    """(P,) pages whose leaf carries the key."""
    shift, pages = d.table_shift, len(d.mapped)
    by_pmd = np.repeat(d.attr_pmd, 1 << shift)[:pages]
    by_pud = np.repeat(d.attr_pud, 1 << 2 * shift)[:pages]
    level = np.repeat(d.level, 1 << shift)[:pages]
    attribute = np.where(level == PUD, by_pud, np.where(level == PMD, by_pmd, d.attr_pte))
    with_key: NDArray[np.bool_] = (attribute & KEYED) != 0
    return with_key


def leaf_runs(d: DirectMap) -> NDArray[np.int64]:
    """(runs, 4) runs of mapped pages with leaves of one level, keyed or not: first page, last page, level, keyed."""
    rows = np.empty((_leaf_runs(d, np.empty((0, 4), np.int64)), 4), np.int64)
    _leaf_runs(d, rows)
    return rows


@compiled_apart
def _leaf_runs(d, rows):
    """Fill as many rows as there are. Returns how many runs there are."""
    count = first = kind = np.int64(0)
    for piece in range(len(d.level)):
        page, end = piece << d.table_shift, min((piece + 1) << d.table_shift, len(d.mapped))
        alike = d.in_piece[piece] == 0 or (d.level[piece] > PTE and d.in_piece[piece] == end - page)
        while page < end:
            here = np.int64(0)
            if d.mapped[page]:
                here = 2 * np.int64(d.level[piece]) + (attribute_of(d, page) & KEYED != 0)
            if here != kind:
                if kind:
                    count = _note_run(rows, count, first, page - 1, kind)
                first, kind = np.int64(page), here
            page = end if alike else page + 1
    if kind:
        count = _note_run(rows, count, first, np.int64(len(d.mapped) - 1), kind)
    return count


@compiled
def _note_run(rows, count, first, last, kind):
    if count < len(rows):
        rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = first, last, kind >> 1, kind & 1
    return count + 1
