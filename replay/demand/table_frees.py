"""How the recorded kernel freed its page tables: at once, or in bursts after an RCU grace period.

mm/mmu_gather.c hands the tables of an unmapped range to tlb_remove_table(). Where MMU_GATHER_RCU_TABLE_FREE is in use
(arm64; x86 as a paravirtual guest, and always since 6.15, a37259732a7d), tlb_remove_table_rcu() frees them after a
grace period; elsewhere they are freed at once, with the data pages. PGDs (pgd_free()), deposited tables
(zap_deposited_table()) and those of a lost race (__pte_alloc()) are freed at once everywhere (6.18).
"""

import numpy as np
from numpy.typing import NDArray

GATHER = ("tlb_finish_mmu", "tlb_flush_mmu", "tlb_batch_pages_flush")
"""Functions under which a gather frees at once (mm/mmu_gather.c, 6.1 to 6.18)."""

AFTER_GRACE = ("tlb_remove_table_rcu",)
"""Functions under which tables are freed after a grace period."""


def freed(
    table: NDArray[np.bool_],
    has_stack: NDArray[np.bool_],
    gather: NDArray[np.bool_],
    after_grace: NDArray[np.bool_],
    pid: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which frees the recorded kernel made at once by a gather, and which after a grace period.

    Args:
        table: (N,) events that free a user page table below the PGD.
        has_stack: (N,) whether the event has a stack, which the next two are read from.
        gather: (N,) freed by a gather.
        after_grace: (N,) freed after a grace period (which may interrupt a gather).
        pid: (N,) tasks. They decide where no event has a stack: no gather frees as the idle task.
    """
    if (table & has_stack).any():
        return table & gather & ~after_grace, table & after_grace
    none = np.zeros(len(table), np.bool_)
    return (none, table) if (pid[table] == 0).any() else (table, none)
