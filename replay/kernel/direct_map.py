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


@compiled
def flushes(d, splits, changed):
    """TLB flushes of one change that split `splits` leaves: one per split on x86, none on arm64, and one at the end."""
    return (0 if d.arm64 else splits) + (changed > 0)
