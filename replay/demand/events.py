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
WITH asked AS (
    SELECT stack_id, list_has_any(frames, $self_inflicted) AS self_inflicted,
           list_has_any(frames, $compaction) AS compaction, list_has_any(frames, $reclaim) AS reclaim,
           list_has_any(frames, $gather) AS gather, list_has_any(frames, $after_grace) AS grace
    FROM stack WHERE capture_id = $capture)
SELECT ts_ns AS ts, cpu, pid::BIGINT AS pid, kind = 'free' AS is_free, kind = 'alloc_failed' AS failed,
       coalesce(pfn, 0) AS pfn, page_order AS "order", least(coalesce(migratetype, 0), 2)::UTINYINT AS migratetype,
       coalesce(gfp_flags, 0)::BIGINT AS gfp_flags, gfp_flags IS NULL AS no_flags,
       (list_position($consumers, coalesce(consumer::VARCHAR, 'other')) - 1)::UTINYINT AS consumer,
       coalesce(self_inflicted, false) AS self_inflicted,
       kind = 'free' AND (coalesce(compaction, false) OR coalesce(comm, '') LIKE 'kcompactd%') AS by_compaction,
       coalesce(reclaim, false) OR coalesce(comm, '') LIKE 'kswapd%' AS by_reclaim,
       coalesce(comm, '') LIKE 'kworker%' AS by_kworker, stack_id IS NOT NULL AS has_stack,
       coalesce(gather, false) AS by_gather, coalesce(grace, false) AS after_grace,
       is_free AND page_order = 0 AND NOT by_compaction
       AND level IS DISTINCT FROM 'pgd' AND role IS DISTINCT FROM 'deposited' AS of_table
FROM page_event LEFT JOIN asked USING (stack_id)
WHERE capture_id = $capture AND kind IN ('alloc', 'free', 'alloc_failed')
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
