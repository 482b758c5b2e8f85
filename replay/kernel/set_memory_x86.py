"""Permission changes of the direct map on x86-64, after arch/x86/mm/pat/set_memory.c (6.18).

Recorded sequences show the same changes of entries from 6.1 to 7.3. Two things differ, and the caller has to know them:
whether the kernel can collapse (CPA_COLLAPSE: /proc/vmstat has direct_map_level2_collapses), and whether
set_memory_ro() clears the dirty bit (since 6.6). Flushes: flush_tlb_all() for each split, and at the end cpa_flush() of
the range (6.18) or, for a long range, of everything (6.12). Either interrupts every CPU once.
"""

from ptpool.compiled import compiled
from replay.kernel import leaves
from replay.kernel.leaves import CLEAN, EXECUTABLE, KERNEL_4K, NOT_GLOBAL, NOT_PRESENT, PMD, PTE, PUD, READ_ONLY

ENTRY_BITS = ((1 << 0, NOT_PRESENT), (1 << 1, READ_ONLY), (1 << 6, CLEAN), (1 << 8, NOT_GLOBAL), (1 << 63, EXECUTABLE))
"""Bits of a page-table entry (arch/x86/include/asm/pgtable_types.h) whose absence is an attribute."""


@compiled
def _changed(old, set_bits, clear_bits):
    """New attributes. pgprot_clear_protnone_bits(): an entry that is not present loses the global bit permanently."""
    new = old & ~clear_bits | set_bits
    return new | NOT_GLOBAL if new & NOT_PRESENT else new


@compiled
def _splits(first, last, leaf_first, leaf_pages, old, new, force):
    """should_split_large_page(): a leaf stays if nothing in it changes, or if the range covers all of it."""
    return force or (old != new and not (first <= leaf_first and last >= leaf_first + leaf_pages - 1))


@compiled
def tables_needed(d, first, pages, set_bits, clear_bits):
    """How many page tables it takes to set and clear attributes of [first, first + pages): 0 if nothing splits."""
    shift = d.table_shift
    last = first + pages - 1
    force = set_bits & KERNEL_4K != 0
    needed = 0
    pfn = first
    while pfn <= last:
        piece = pfn >> shift
        start, size = piece << shift, 1 << shift
        if d.level[piece] == PMD:
            old = d.attr_pmd[piece]
            needed += _splits(first, last, start, size, old, _changed(old, set_bits, clear_bits), force)
        elif d.level[piece] == PUD:
            start, size = (pfn >> 2 * shift) << 2 * shift, 1 << 2 * shift
            old = d.attr_pud[piece >> shift]
            if _splits(first, last, start, size, old, _changed(old, set_bits, clear_bits), force):
                needed += 1  # a PMD table, and a PTE table for each end of the range that cuts one of its leaves
                low, high = max(first, start), min(last, start + size - 1)
                if force:
                    needed += (high >> shift) - (low >> shift) + 1
                else:
                    cuts_low, cuts_high = low & ((1 << shift) - 1) != 0, (high + 1) & ((1 << shift) - 1) != 0
                    needed += cuts_low + cuts_high
                    if low >> shift == high >> shift and cuts_low and cuts_high:
                        needed -= 1
        pfn = start + size
    return needed


@compiled
def apply(d, first, pages, set_bits, clear_bits, now, cause):
    """change_page_attr_set_clr(): set and clear attributes of [first, first + pages), and split leaves as needed.

    Setting KERNEL_4K is set_memory_4k(), the only caller that splits every large leaf (force_split). Arguments and
    result are those of `replay.kernel.direct_map.apply`.
    """
    shift = d.table_shift
    last = first + pages - 1
    force = set_bits & KERNEL_4K != 0
    changed = 0
    pfn = first
    while pfn <= last:
        piece = pfn >> shift
        if d.level[piece] == PTE:
            old = d.attr_pte[pfn]
            new = _changed(old, set_bits, clear_bits)
            changed += old != new
            d.attr_pte[pfn] = new
            pfn += 1
            continue
        is_pud = d.level[piece] == PUD
        start = (pfn >> 2 * shift) << 2 * shift if is_pud else piece << shift
        size = 1 << 2 * shift if is_pud else 1 << shift
        old = d.attr_pud[piece >> shift] if is_pud else d.attr_pmd[piece]
        new = _changed(old, set_bits, clear_bits)
        if _splits(first, last, start, size, old, new, force):
            leaves.split_leaf(d, start, PUD if is_pud else PMD, now, cause)  # then look at the smaller leaf
            continue
        changed += leaves.rewrite_leaf(d, start, PUD if is_pud else PMD, new)
        pfn = start + size
    return changed


@compiled
def _may_join_ptes(d, piece):
    """collapse_pmd_page(): all small pages are present and alike, and none is small on purpose."""
    start = piece << d.table_shift
    end = start + (1 << d.table_shift)
    first = d.attr_pte[start]
    if end > len(d.mapped) or first & (KERNEL_4K | NOT_PRESENT):
        return False
    page = start
    while page < end and d.mapped[page] and d.attr_pte[page] == first:
        page += 1
    return page == end


@compiled
def _may_join_pmds(d, start):
    """collapse_pud_page(): all large pages of a table are present and alike."""
    end = start + (1 << d.table_shift)
    first = d.attr_pmd[start]
    if end > len(d.level) or first & NOT_PRESENT:
        return False
    piece = start
    while piece < end and d.level[piece] == PMD and d.attr_pmd[piece] == first:
        piece += 1
    return piece == end


@compiled
def collapse(d, first, pages, pud_leaves, now, cause):
    """cpa_collapse_large_pages() (6.15): join the small pages of every PMD-sized piece that the range touches.

    Only set_memory_rox() asks for it, after a change that wrote something. PMD leaves are joined to a PUD leaf only
    right after one of them was made (older ones are not looked at), and only on a machine that maps with PUD leaves
    (`direct_gbpages`).

    Returns:
        Leaves made; if any, one flush_tlb_all() follows and their tables are freed.
    """
    shift = d.table_shift
    made = 0
    for piece in range(first >> shift, ((first + pages - 1) >> shift) + 1):
        if d.level[piece] != PTE or not _may_join_ptes(d, piece):
            continue
        leaves.join_leaves(d, piece << shift, PMD, now, cause)
        made += 1
        start = (piece >> shift) << shift
        if pud_leaves and _may_join_pmds(d, start):
            leaves.join_leaves(d, start << shift, PUD, now, cause)
            made += 1
    return made
