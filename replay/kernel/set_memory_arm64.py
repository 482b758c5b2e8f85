"""Permission changes of the linear map on arm64, after arch/arm64/mm/mmu.c and pageattr.c (6.18).

Validated against set_memory_valid() of 7.3 with 4K pages, blocks and contiguous hints (data/splits/73arm64-*). 16K and
64K pages are not validated: there is no recorded sequence.

A linear map of blocks exists only where the CPU can change the size of a leaf in use (BBML2 without conflict aborts);
elsewhere boot maps it with pages, and nothing ever splits. Leaves are never joined. A split needs no TLB flush; the
change itself ends with one flush_tlb_kernel_range(), which the hardware broadcasts.
"""

from ptpool.compiled import compiled
from replay.kernel.leaves import HINTS, PMD, PTE, PUD, rewrite_leaf, split_leaf


@compiled
def _boundaries(first, pages):
    """split_kernel_leaf_mapping(): the two ends of the range; for one page its less aligned end, twice."""
    end = first + pages
    if pages > 1:
        return first, end
    edge = first if first & -first < end & -end and first > 0 else end
    return edge, edge


@compiled
def _tables_at(d, pfn):
    """Whether a PMD table, and whether a PTE table is needed for a leaf to begin at `pfn`."""
    inside_pmd = pfn & ((1 << d.table_shift) - 1) != 0
    if pfn & ((1 << 2 * d.table_shift) - 1) == 0 or pfn >= len(d.mapped):
        return False, False
    level = d.level[pfn >> d.table_shift]
    return level == PUD, level != PTE and inside_pmd


@compiled
def tables_needed(d, first, pages):
    """How many page tables it takes to change attributes of [first, first + pages): at most 2 per end.

    Like the kernel, this splits at both ends of the range even if the change has no effect.
    """
    low, high = _boundaries(first, pages)
    low_pmd, low_pte = _tables_at(d, low)
    needed = 0 + low_pmd + low_pte
    if high != low:
        high_pmd, high_pte = _tables_at(d, high)
        same_pud = low >> 2 * d.table_shift == high >> 2 * d.table_shift
        same_pmd = low >> d.table_shift == high >> d.table_shift
        needed += high_pmd and not (low_pmd and same_pud)
        needed += high_pte and not (low_pte and same_pmd)
    return needed


@compiled
def _clear_hint(d, hints, group):
    """split_contpmd(), split_contpte(): the entries of a group stay leaves, but lose the hint."""
    d.counts[HINTS] += hints[group]
    hints[group] = False


@compiled
def _split_at(d, pfn, now, cause):
    """split_kernel_leaf_mapping_locked(): split until a leaf begins at `pfn`, and no further."""
    shift = d.table_shift
    piece = pfn >> shift
    if pfn & ((1 << 2 * shift) - 1) == 0 or pfn >= len(d.mapped):
        return
    if d.level[piece] == PUD:
        first = (piece >> shift) << shift
        split_leaf(d, first << shift, PUD, now, cause)
        d.cont_pmd[first >> d.cont_pmd_shift : (first + (1 << shift)) >> d.cont_pmd_shift] = True
    if pfn & ((1 << shift + d.cont_pmd_shift) - 1) == 0:
        return
    if d.level[piece] == PMD:
        _clear_hint(d, d.cont_pmd, piece >> d.cont_pmd_shift)
        if pfn & ((1 << shift) - 1) == 0:
            return
        split_leaf(d, piece << shift, PMD, now, cause)
        first = piece << shift
        d.cont_pte[first >> d.cont_pte_shift : (first + (1 << shift)) >> d.cont_pte_shift] = True
    if pfn & ((1 << d.cont_pte_shift) - 1) != 0:
        _clear_hint(d, d.cont_pte, pfn >> d.cont_pte_shift)


@compiled
def apply(d, first, pages, set_bits, clear_bits, now, cause):
    """update_range_prot(): make leaves begin and end with [first, first + pages), then rewrite every leaf in it.

    Arguments and result are those of `replay.kernel.direct_map.apply`.
    """
    shift = d.table_shift
    low, high = _boundaries(first, pages)
    _split_at(d, low, now, cause)
    _split_at(d, high, now, cause)
    changed = 0
    pfn = first
    while pfn < first + pages:
        piece = pfn >> shift
        if d.level[piece] == PTE:
            old = d.attr_pte[pfn]
            d.attr_pte[pfn] = old & ~clear_bits | set_bits
            changed += old != d.attr_pte[pfn]
            pfn += 1
        elif d.level[piece] == PMD:
            changed += rewrite_leaf(d, pfn, PMD, d.attr_pmd[piece] & ~clear_bits | set_bits)
            pfn += 1 << shift
        else:
            changed += rewrite_leaf(d, pfn, PUD, d.attr_pud[piece >> shift] & ~clear_bits | set_bits)
            pfn += 1 << 2 * shift
    return changed
