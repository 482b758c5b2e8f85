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
"""Attributes in which a leaf can differ from ordinary memory."""

PAGES, TABLES, SPLITS = 0, 4, 5  # places in DirectMap.counts: PAGES + level, TABLES, SPLITS (rows of the log)


class DirectMap(NamedTuple):
    """Levels and attributes of the direct map. Shapes: ``P`` pages, ``M`` PMD leaves, ``G`` PUD leaves."""

    mapped: NDArray[np.bool_]  # (P,) False: a hole
    level: NDArray[np.uint8]  # (M,) level of the leaf that maps this PMD-sized piece: PTE, PMD or PUD
    attr_pte: NDArray[np.uint8]  # (P,) attributes where the level is PTE
    attr_pmd: NDArray[np.uint8]  # (M,) where it is PMD
    attr_pud: NDArray[np.uint8]  # (G,) where it is PUD
    log: NDArray[np.int64]  # (splits possible, 4) time, first pfn of the leaf, its level, cause
    counts: NDArray[np.int64]  # pages by level, tables, splits logged
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
        counts=count,
        table_shift=shift,
    )


@compiled
def _keeps_leaf(first, last, leaf_first, leaf_pages, old, new):
    """should_split_large_page(): nothing to change, or the whole leaf is covered and is rewritten in place."""
    return old == new or (first <= leaf_first and last >= leaf_first + leaf_pages - 1)


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
def tables_needed(d, first, pages, set_bits, clear_bits):
    """How many page tables it takes to set and clear attributes of [first, first + pages): 0 if nothing splits."""
    shift = d.table_shift
    last = first + pages - 1
    needed = 0
    pfn = first
    while pfn <= last:
        piece = pfn >> shift
        start, size = piece << shift, 1 << shift
        if d.level[piece] == PMD:
            old = d.attr_pmd[piece]
            needed += not _keeps_leaf(first, last, start, size, old, old & ~clear_bits | set_bits)
        elif d.level[piece] == PUD:
            start, size = (pfn >> 2 * shift) << 2 * shift, 1 << 2 * shift
            old = d.attr_pud[piece >> shift]
            new = old & ~clear_bits | set_bits
            if not _keeps_leaf(first, last, start, size, old, new):
                needed += 1  # a PMD table, and a PTE table for each end of the range that cuts one of its leaves
                low, high = max(first, start), min(last, start + size - 1)
                cuts_low, cuts_high = low & ((1 << shift) - 1) != 0, (high + 1) & ((1 << shift) - 1) != 0
                needed += cuts_low + cuts_high
                if low >> shift == high >> shift and cuts_low and cuts_high:
                    needed -= 1
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
        d.counts[PAGES + PUD] -= 1 << 2 * shift
        d.counts[PAGES + PMD] += 1 << 2 * shift
    else:
        d.level[piece] = PTE
        moved = 0
        for page in range(start, min(start + (1 << shift), len(d.mapped))):
            d.attr_pte[page] = d.attr_pmd[piece]
            moved += d.mapped[page]
        d.counts[PAGES + PMD] -= moved
        d.counts[PAGES + PTE] += moved
    d.counts[TABLES] += 1
    row = d.counts[SPLITS]
    d.log[row, 0], d.log[row, 1], d.log[row, 2], d.log[row, 3] = now, start, level, cause
    d.counts[SPLITS] += 1


@compiled
def apply(d, first, pages, set_bits, clear_bits, now, cause):
    """change_page_attr_set_clr(): set and clear attributes of [first, first + pages), splitting what has to be split.

    Args:
        d: DirectMap.
        first: first page frame number.
        pages: number of pages.
        set_bits: attributes to set.
        clear_bits: attributes to clear.
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
        if d.level[piece] == PTE:
            old = d.attr_pte[pfn]
            new = old & ~clear_bits | set_bits
            changed += old != new
            d.attr_pte[pfn] = new
            pfn += 1
            continue
        is_pud = d.level[piece] == PUD
        start = (pfn >> 2 * shift) << 2 * shift if is_pud else piece << shift
        size = 1 << 2 * shift if is_pud else 1 << shift
        old = d.attr_pud[piece >> shift] if is_pud else d.attr_pmd[piece]
        new = old & ~clear_bits | set_bits
        if not _keeps_leaf(first, last, start, size, old, new):
            _split(d, start, PUD if is_pud else PMD, now, cause)  # and look at the smaller leaf that is there now
            continue
        changed += old != new
        if is_pud:
            d.attr_pud[piece >> shift] = new
        else:
            d.attr_pmd[piece] = new
        pfn = start + size
    return changed
