"""A PGD as the modelled kernel allocates it: one page, or two where page-table isolation (PTI) is in use.

Two on x86-64 up to 6.14 wherever the kernel is built with PTI (PGD_ALLOCATION_ORDER, arch/x86/include/asm/pgalloc.h);
since 6.15, by 4ce385f56434 ("x86/mm: Fix _pgd_alloc() for Xen PV mode"), only where PTI is in use
(pgd_allocation_order() in that file). Never on arm64. A CPU with protection keys for supervisor pages has no Meltdown,
and so no PTI unless someone asks for it (inference: no source says so).
"""

from dataclasses import replace

import numpy as np

from ptpool.compiled import compiled
from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, MOVE, OUTSIDE_CHANGE

OFF, RECORDED = "off", "recorded"

_PGTABLE_USER = CONSUMERS.index("pgtable_user")


def check_pti(name: str) -> None:
    """Refuse a value of the setting `pti` that is neither OFF nor RECORDED.

    Raises:
        UsageError: it is.
    """
    if name not in (OFF, RECORDED):
        raise UsageError(f"--pti {name}: no such value", f"choose from: {OFF}, {RECORDED}")


def without_pti(demand: Demand) -> Demand:
    """The same demand on a kernel that does not use PTI: each PGD of two pages is its first page alone.

    No other table of a process has two pages. A PGD that was alive before the first event is freed as it was recorded.
    """
    program = demand.program
    order = program.order.copy()
    single = np.zeros(demand.pages + 1 + demand.moves, np.bool_)
    pgds = int(_to_single_pages(program, order, single, np.int64(_PGTABLE_USER)))
    if not pgds:
        return demand
    words = "PGDs of two pages, for page-table isolation: {}, each replayed as one page (--pti recorded keeps two)."
    return replace(demand, program=program._replace(order=order), changed=demand.changed | {words: pgds})


@compiled
def _to_single_pages(program, order, single, consumer):
    """Set the order of PGDs, and of the frees of such PGDs, to 0. Returns how many PGDs."""
    found = np.int64(0)
    for i in range(len(program.op)):
        if program.op[i] == MOVE or program.op[i] == OUTSIDE_CHANGE:
            continue
        pfn = program.pfn[i]
        is_pgd = program.op[i] == ALLOC and program.order[i] == 1 and program.consumer[i] == consumer
        if is_pgd or (program.op[i] != ALLOC and program.order[i] == 1 and single[pfn]):
            order[i] = 0
        single[pfn] = is_pgd
        found += is_pgd
    return found
