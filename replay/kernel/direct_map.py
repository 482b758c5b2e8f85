"""The kernel's direct map: its leaves, and what a permission change does to them.

A change is planned before it is applied: `tables_needed` says how many page tables it takes, `apply` uses them.
"""

from ptpool.compiled import compiled
from replay.kernel import set_memory_arm64 as arm64
from replay.kernel import set_memory_x86 as x86
from replay.kernel.leaves import *  # noqa: F403  leaves, attributes and log are used through this room

collapse = x86.collapse


@compiled
def tables_needed(d, first, pages, set_bits, clear_bits):
    """How many page tables it takes to set and clear attributes of [first, first + pages): 0 if nothing splits."""
    if d.arm64:
        return arm64.tables_needed(d, first, pages)
    return x86.tables_needed(d, first, pages, set_bits, clear_bits)


@compiled
def apply(d, first, pages, set_bits, clear_bits, now, cause):
    """Set and clear attributes of [first, first + pages), and split leaves as needed; the tables must be there.

    Args:
        d: DirectMap.
        first: first page frame number.
        pages: number of pages.
        set_bits: attributes to set.
        clear_bits: attributes to clear.
        now: time for the log, ns.
        cause: code for the log.

    Returns:
        Leaves whose attributes changed; 0 means that nothing was written and nothing has to be flushed.
    """
    if d.arm64:
        return arm64.apply(d, first, pages, set_bits, clear_bits, now, cause)
    return x86.apply(d, first, pages, set_bits, clear_bits, now, cause)


FLUSH_CEILING = 33
"""tlb_single_page_flush_ceiling (arch/x86/mm/tlb.c, 6.18): of more pages x86 flushes everything."""


@compiled
def flushes_of_splits(d, splits):
    """TLB flushes that `splits` splits take: one each on x86, of everything (__split_large_page()); none on arm64."""
    return 0 if d.arm64 else splits


@compiled
def flushes_all(d, pages):
    """Whether the flush at the end of a change of `pages` is of everything: cpa_flush() (arch/x86/mm/pat/set_memory.c).

    On arm64 flush_tlb_kernel_range() gives up single operations from MAX_DVM_OPS pages on, but every CPU whose map can
    be split has operations by range, and their limit is 2^21 pages (__flush_tlb_range_limit_excess(), 6.18): never.
    """
    return not d.arm64 and pages > FLUSH_CEILING
