"""A capture's allocations and frees out of the warehouse, as flat arrays in the order of the trace."""

from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS, KPF_PGTABLE
from replay.demand.others import SELF_INFLICTED
from replay.demand.table_frees import AFTER_GRACE, GATHER
from replay.kernel.gfp import contexts

MOST_PAGES = 1 << 30
"""4 TiB in 4K pages: the arrays of a larger machine do not fit into ordinary memory."""

COMPACTION = ("compact_zone", "release_free_list")
"""Functions under which compaction frees (mm/compaction.c): migrated pages, and targets that it did not need."""

RECLAIM = ("shrink_folio_list", "shrink_page_list", "do_shrink_slab", "shrink_slab")
"""Functions under which reclaim frees (mm/vmscan.c, mm/shrinker.c)."""


class Events(NamedTuple):
    """``N`` events."""

    ts: NDArray[np.int64]
    cpu: NDArray[np.int16]
    pid: NDArray[np.int64]
    is_free: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    """A request that got nothing; its `pfn` is 0."""
    pfn: NDArray[np.int64]
    order: NDArray[np.int8]
    migratetype: NDArray[np.uint8]
    context: NDArray[np.uint16]
    """See `replay.kernel.gfp`."""
    consumer: NDArray[np.uint8]
    """Place in `CONSUMERS`."""
    self_inflicted: NDArray[np.bool_]
    """By a permission change that the replay makes itself, from the allocation it belongs to."""
    by_compaction: NDArray[np.bool_]
    by_reclaim: NDArray[np.bool_]
    by_kworker: NDArray[np.bool_]
    has_stack: NDArray[np.bool_]
    by_gather: NDArray[np.bool_]
    """Under an mmu_gather, or (`after_grace`) in a softirq that interrupted one: see `replay.demand.table_frees`."""
    after_grace: NDArray[np.bool_]
    of_table: NDArray[np.bool_]
    """A free of a user page table below the PGD that is not a deposited one."""

    @property
    def pages(self) -> int:
        """Recorded page frame numbers run from 0 to this, exclusive."""
        return int((self.pfn + (1 << self.order.astype(np.int64))).max(initial=0))


def read_events(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> Events:
    """Read a capture's events in the order of the trace.

    Raises:
        UsageError: a page frame number beyond any machine.
    """
    found = connection.execute(
        _EVENTS,
        {
            "consumers": list(CONSUMERS),
            "self_inflicted": list(SELF_INFLICTED),
            "compaction": list(COMPACTION),
            "reclaim": list(RECLAIM),
            "gather": list(GATHER),
            "after_grace": list(AFTER_GRACE),
            "capture": capture["capture_id"],
        },
    ).fetchnumpy()
    columns = {name: np.asarray(values) for name, values in found.items()}
    context = contexts(columns.pop("gfp_flags"), columns.pop("no_flags"))
    events = Events(**columns, context=context)
    if events.pages > MOST_PAGES:
        raise UsageError(
            f"capture {capture['name']}: page frame number {events.pages - 1:#x} lies beyond any simulated machine",
            "a line is damaged, or another field was read as pfn: mend the trace and import it again",
        )
    tables = flagged(connection, capture["capture_id"], events.pages + 1, 1 << KPF_PGTABLE)
    of_user = (events.consumer == CONSUMERS.index("pgtable_user")) | (_first_of_page(events.pfn) & tables[events.pfn])
    return events._replace(of_table=events.of_table & of_user)


_EVENTS = """
WITH what AS (
    SELECT call_id, kind = 'free' AS is_free, kind = 'alloc_failed' AS failed, page_order AS "order",
           least(coalesce(migratetype, 0), 2)::UTINYINT AS migratetype,
           coalesce(gfp_flags, 0)::BIGINT AS gfp_flags, gfp_flags IS NULL AS no_flags,
           (list_position($consumers, coalesce(call.consumer::VARCHAR, 'other')) - 1)::UTINYINT AS consumer,
           coalesce(list_has_any(frames, $self_inflicted), false) AS self_inflicted,
           coalesce(list_has_any(frames, $compaction), false) AS compaction,
           coalesce(list_has_any(frames, $reclaim), false) AS reclaim, stack_id IS NOT NULL AS has_stack,
           coalesce(list_has_any(frames, $gather), false) AS by_gather,
           coalesce(list_has_any(frames, $after_grace), false) AS after_grace,
           is_free AND page_order = 0 AND call.level IS DISTINCT FROM 'pgd'
               AND call.role IS DISTINCT FROM 'deposited' AS of_table
    FROM call LEFT JOIN stack USING (capture_id, stack_id)
    WHERE capture_id = $capture AND kind IN ('alloc', 'free', 'alloc_failed')),
who AS (
    SELECT task_id, pid::BIGINT AS pid, coalesce(comm LIKE 'kcompactd%', false) AS kcompactd,
           coalesce(comm LIKE 'kswapd%', false) AS kswapd, coalesce(comm LIKE 'kworker%', false) AS by_kworker
    FROM task WHERE capture_id = $capture)
SELECT ts_ns AS ts, cpu, pid, is_free, failed, coalesce(pfn, 0) AS pfn, "order", migratetype, gfp_flags, no_flags,
       consumer, self_inflicted, is_free AND (compaction OR kcompactd) AS by_compaction,
       reclaim OR kswapd AS by_reclaim, by_kworker, has_stack, by_gather, after_grace,
       of_table AND NOT by_compaction AS of_table
FROM event JOIN what USING (call_id) JOIN who USING (task_id)
ORDER BY seq
"""


def flagged(connection: duckdb.DuckDBPyConnection, capture_id: str, pages: int, flag: int) -> NDArray[np.bool_]:
    """(pages,) which of them had a flag of kpageflags before the first event."""
    result = np.zeros(pages, np.bool_)
    runs = connection.execute(
        "SELECT first_pfn, last_pfn FROM page_flags WHERE capture_id = ? AND moment = 'before' AND flags & ? != 0",
        [capture_id, flag],
    ).fetchall()
    for first, last in runs:
        result[first : last + 1] = True
    return result


def _first_of_page(pfn: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) which events are the first that begin with their page."""
    first = np.zeros(len(pfn), np.bool_)
    first[np.unique(pfn, return_index=True)[1]] = True
    return first
