"""When page tables are freed: at once, or in bursts after an RCU grace period.

mm/mmu_gather.c hands the tables of an unmapped range to tlb_remove_table(). Where MMU_GATHER_RCU_TABLE_FREE is in use
(arm64; x86 as a paravirtual guest, and always since 6.15, a37259732a7d), they are collected, and tlb_remove_table_rcu()
frees them after a grace period; elsewhere they are freed at once, with the data pages. PGDs (pgd_free()), deposited
tables (zap_deposited_table()) and those of a lost race (__pte_alloc()) are freed at once everywhere (6.18).

To replay a recording of the one kind as the other (``--rcu delayed``), every table that a gather freed at once waits
for the end of the first grace period that begins after that. A grace period begins when a table waits and none is under
way, or at the end of the one before; all take `GRACE_NS`. At its end the CPU that unmapped a table frees it, in the
name of its idle task (a softirq waits for nobody), in the recorded order. Left out: the page that lists up to 509
tables, and limits to the callbacks that run in a row.
"""

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled

RECORDED, DELAYED = ("recorded", "delayed")
"""As recorded, or everything after a grace period."""

GATHER = ("tlb_finish_mmu", "tlb_flush_mmu", "tlb_batch_pages_flush")
"""Functions under which a gather frees at once (mm/mmu_gather.c, 6.1 to 6.18)."""

AFTER_GRACE = ("tlb_remove_table_rcu",)
"""Functions under which tables are freed after a grace period."""

GRACE_NS = 12_000_000
"""Between bursts of frees on one CPU of a 6.18 (two CPUs, not emulated, HZ 250, forks and mmaps): median 12.0 ms,
quartiles 8.0 and 16.1; bursts of 53 tables in the median, 1,460 at most."""


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
        has_stack: (N,) whether the event has a stack; those below are told by it.
        gather: (N,) freed by a gather.
        after_grace: (N,) freed after a grace period (which may interrupt a gather).
        pid: (N,) tasks. Without any stack they tell: no gather frees in the name of the idle task.
    """
    if (table & has_stack).any():
        return table & gather & ~after_grace, table & after_grace
    none = np.zeros(len(table), np.bool_)
    return (none, table) if (pid[table] == 0).any() else (table, none)


def ends_of_grace(queued: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,) when tables that begin to wait at these times, ascending, are freed."""
    due = np.zeros(len(queued), np.int64)
    _wait(queued, np.int64(GRACE_NS), due)
    return due


@compiled
def _wait(queued, grace, due):
    begin, following = np.int64(-1) << 62, False
    for i in range(len(queued)):
        now = queued[i]
        if following and now >= begin + grace:
            begin, following = begin + grace, False
        if now >= begin + grace:
            begin = now
        following = following or now > begin
        due[i] = begin + (2 * grace if now > begin else grace)
