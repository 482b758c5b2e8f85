"""The kernel's direct map: which leaf maps each page, and what a permission change splits.

Modelled after x86-64, arch/x86/mm/pat/set_memory.c of Linux 6.18: should_split_large_page(), __split_large_page().
A change is planned before it is applied: `tables_needed` says how many page tables it takes, `apply` gets them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from replay.kernel.geometry import Geometry

PTE, PMD, PUD = 1, 2, 3
"""Levels of a leaf: 4K, 2M, 1G on x86-64."""

KEYED, NOT_PRESENT, READ_ONLY = 1, 2, 4
"""Attributes of a leaf that are not those of ordinary memory."""

PAGES, TABLES, SPLITS = 0, 4, 5  # places in DirectMap.count: PAGES + level, TABLES, SPLITS (rows of the log)


class DirectMap(NamedTuple):
    """Levels and attributes of the direct map. Shapes: ``P`` pages, ``M`` PMD leaves, ``G`` PUD leaves."""

    mapped: NDArray[np.bool_]  # (P,) False: a hole
    level: NDArray[np.uint8]  # (M,) level of the leaf that maps this PMD-sized piece: PTE, PMD or PUD
    attr_pte: NDArray[np.uint8]  # (P,) attributes where the level is PTE
    attr_pmd: NDArray[np.uint8]  # (M,) where it is PMD
    attr_pud: NDArray[np.uint8]  # (G,) where it is PUD
    log: NDArray[np.int64]  # (splits possible, 4) time, first pfn of the leaf, its level, cause
    count: NDArray[np.int64]  # pages by level, tables, splits logged
    table_shift: int


def direct_map(mapped: NDArray[np.bool_], level: NDArray[np.uint8], geometry: Geometry) -> DirectMap:
    """A direct map with the given leaves and ordinary attributes everywhere.

    Args:
        mapped: (P,) True where the page is mapped.
        level: (M,) leaf level of each PMD-sized piece; PUD only for whole, aligned PUD-sized runs.
        geometry: entries per table.
    """
    pages, shift = len(mapped), geometry.table_shift
    pieces = len(level)
    puds = (pieces >> shift) + 1
    per_piece = np.add.reduceat(mapped, np.arange(0, pages, 1 << shift), dtype=np.int64)[:pieces]
    count = np.zeros(6, np.int64)
    for leaf in (PTE, PMD, PUD):
        count[PAGES + leaf] = per_piece[level == leaf].sum()
    present = per_piece > 0
    pmd_tables = len({int(piece) >> shift for piece in np.flatnonzero(present & (level != PUD))})
    count[TABLES] = int((present & (level == PTE)).sum()) + pmd_tables
    return DirectMap(
        mapped=mapped.copy(),
        level=level.copy(),
        attr_pte=np.zeros(pages, np.uint8),
        attr_pmd=np.zeros(pieces, np.uint8),
        attr_pud=np.zeros(puds, np.uint8),
        log=np.zeros((pieces + puds + 1, 4), np.int64),
        count=count,
        table_shift=shift,
    )


@compiled
def _keeps_leaf(first, last, leaf_first, leaf_pages, now, wanted):
    """should_split_large_page(): nothing to change, or the whole leaf is covered and is rewritten in place."""
    return now == wanted or (first <= leaf_first and last >= leaf_first + leaf_pages - 1)


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
def tables_needed(d, first, pages, attribute):
    """How many page tables a change of the pages [first, first + pages) to `attribute` takes: 0 when none splits."""
    shift = d.table_shift
    last = first + pages - 1
    needed = 0
    pfn = first
    while pfn <= last:
        piece = pfn >> shift
        if d.level[piece] == PUD:
            start, size = (pfn >> 2 * shift) << 2 * shift, 1 << 2 * shift
            now = d.attr_pud[piece >> shift]
            if _keeps_leaf(first, last, start, size, now, attribute):
                pfn = start + size
                continue
            needed += 1  # a PMD table; the PMD leaves under it inherit the attributes
            end = min(last, start + size - 1)
            low = pfn
            while low <= end:
                low_start = (low >> shift) << shift
                if not _keeps_leaf(first, last, low_start, 1 << shift, now, attribute):
                    needed += 1
                low = low_start + (1 << shift)
            pfn = start + size
        else:
            start, size = piece << shift, 1 << shift
            if d.level[piece] == PMD and not _keeps_leaf(first, last, start, size, d.attr_pmd[piece], attribute):
                needed += 1
            pfn = start + size
    return needed


@compiled
def _split(d, start, level, now, cause):
    """__split_large_page(): replace a leaf by a table of the next level, same attributes."""
    shift = d.table_shift
    piece = start >> shift
    if level == PUD:
        inherited = d.attr_pud[piece >> shift]
        for entry in range(1 << shift):
            d.level[piece + entry] = PMD
            d.attr_pmd[piece + entry] = inherited
        d.count[PAGES + PUD] -= 1 << 2 * shift
        d.count[PAGES + PMD] += 1 << 2 * shift
    else:
        d.level[piece] = PTE
        moved = 0
        for page in range(start, min(start + (1 << shift), len(d.mapped))):
            d.attr_pte[page] = d.attr_pmd[piece]
            moved += d.mapped[page]
        d.count[PAGES + PMD] -= moved
        d.count[PAGES + PTE] += moved
    d.count[TABLES] += 1
    row = d.count[SPLITS]
    d.log[row, 0], d.log[row, 1], d.log[row, 2], d.log[row, 3] = now, start, level, cause
    d.count[SPLITS] += 1


@compiled
def apply(d, first, pages, attribute, now, cause):
    """__change_page_attr_set_clr(): set the attribute of [first, first + pages), splitting what has to be split.

    Args:
        d: DirectMap.
        first: first page frame number.
        pages: number of pages.
        attribute: attributes afterwards.
        now: time for the log of splits, ns.
        cause: code for the log of splits.

    Returns:
        Leaves whose attributes changed; 0 means that nothing was written and nothing has to be flushed.
    """
    shift = d.table_shift
    last = first + pages - 1
    changed = 0
    pfn = first
    while pfn <= last:
        piece = pfn >> shift
        if d.level[piece] == PUD:
            start, size = (pfn >> 2 * shift) << 2 * shift, 1 << 2 * shift
            before = d.attr_pud[piece >> shift]
            if _keeps_leaf(first, last, start, size, before, attribute):
                changed += before != attribute
                d.attr_pud[piece >> shift] = attribute
                pfn = start + size
            else:
                _split(d, start, PUD, now, cause)  # and look at the PMD leaf that is there now
        elif d.level[piece] == PMD:
            start, size = piece << shift, 1 << shift
            if _keeps_leaf(first, last, start, size, d.attr_pmd[piece], attribute):
                changed += d.attr_pmd[piece] != attribute
                d.attr_pmd[piece] = attribute
                pfn = start + size
            else:
                _split(d, start, PMD, now, cause)
        else:
            changed += d.attr_pte[pfn] != attribute
            d.attr_pte[pfn] = attribute
            pfn += 1
    return changed
