"""What a recording asks for, without what the recorded kernel did because of its own state.

Dropped and made anew by the replay: tables that split the direct map. Dropped because nobody knows when they would have
been freed: allocations that failed. Kept as they are: the frees that reclaim and compaction caused.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS, GFP_BITS
from replay.kernel.geometry import X86_64
from replay.kernel.page_alloc import (
    IS_HIGH,
    MAY_RECLAIM,
    WAKES_KSWAPD,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
)
from replay.stretch import ALLOC, FREE_EVENT, OUTSIDE_CHANGE, Program, first_seen

MOST_PAGES = 1 << 30
"""4 TiB in 4K pages: the arrays of a larger machine do not fit into the memory of an ordinary one."""

SELF_INFLICTED = ("secretmem_fault", "secretmem_free_folio")
"""Functions whose permission changes the replay makes anew from the allocation they belong to."""


@dataclass(frozen=True)
class Demand:
    """One capture's events as a program for the compiled loop."""

    program: Program
    first_ns: int
    last_ns: int
    pages: int
    """Recorded page frame numbers run from 0 to this, exclusive."""
    first_seen: NDArray[np.int8]
    """(pages,) 1: the first event on the page allocates it; 0: it frees it; -1: no event."""
    dropped: dict[str, int]
    """What was left out, by description."""


def load_demand(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> Demand:
    """Read a capture's allocations and frees as flat arrays, in the order of the trace."""
    columns = connection.execute(
        """
        SELECT ts_ns, kind::VARCHAR = 'free' AS is_free, kind::VARCHAR = 'alloc_failed' AS failed,
               coalesce(pfn, 0) AS pfn, page_order, coalesce(migratetype, 0) AS migratetype,
               coalesce(gfp_flags, 0) AS gfp_flags, gfp_flags IS NULL AS no_flags,
               list_position(?, coalesce(event.consumer::VARCHAR, 'other')) - 1 AS consumer,
               coalesce(list_has_any(frames, ?), false) AS self_inflicted
        FROM page_event event LEFT JOIN stack
             ON event.consumer = 'direct_map_split' AND stack.capture_id = event.capture_id
                AND stack.stack_id = event.stack_id
        WHERE event.capture_id = ? AND kind IN ('alloc', 'free', 'alloc_failed')
        ORDER BY event.seq""",
        [list(CONSUMERS), list(SELF_INFLICTED), capture["capture_id"]],
    ).fetchnumpy()
    is_free, failed = _plain(columns["is_free"]), _plain(columns["failed"])
    consumer = _plain(columns["consumer"]).astype(np.uint8)
    splits = consumer == CONSUMERS.index("direct_map_split")
    outside = splits & ~is_free & ~_plain(columns["self_inflicted"])
    too_large = ~is_free & (_plain(columns["page_order"]) > X86_64.max_order)
    dropped = {
        "tables that split the recorded direct map, made anew by the permission change that they belong to": splits
        & ~is_free
        & ~outside,
        "tables that split the recorded direct map, replayed as a one-page change where the last unmovable page was "
        "placed, because the trace does not say where": outside,
        "tables that a recorded collapse of the direct map gave back": splits & is_free,
        "requests that failed on the recorded machine: nobody knows when they would have been freed": failed,
        "allocations above MAX_PAGE_ORDER, which are not the page allocator's": too_large,
    }
    op = np.where(outside, OUTSIDE_CHANGE, np.where(is_free, FREE_EVENT, ALLOC)).astype(np.uint8)
    keep = ~failed & ~too_large & (~splits | outside)
    pfn, order = _plain(columns["pfn"]).astype(np.int64), _plain(columns["page_order"]).astype(np.int8)
    pages = int((pfn + (1 << order.astype(np.int64))).max(initial=0))
    if pages > MOST_PAGES:
        raise UsageError(
            f"capture {capture['name']}: page frame number {pages - 1:#x} lies beyond any machine that is simulated",
            "a damaged line, or another field read as pfn: mend the trace and import it again",
        )
    program = Program(
        op=op[keep],
        ts=_plain(columns["ts_ns"])[keep].astype(np.int64),
        pfn=pfn[keep],
        order=order[keep],
        migratetype=np.minimum(_plain(columns["migratetype"]), 2).astype(np.uint8)[keep],
        context=_contexts(_plain(columns["gfp_flags"]).astype(np.int64), _plain(columns["no_flags"]))[keep],
        consumer=consumer[keep],
    )
    return Demand(
        program,
        capture["first_ns"],
        capture["last_ns"],
        pages,
        first_seen(program, np.full(pages, -1, np.int8)),
        _counts(dropped),
    )


def _plain(column: Any) -> NDArray[Any]:
    return np.asarray(column)


def _counts(masks: dict[str, NDArray[np.bool_]]) -> dict[str, int]:
    return {what: int(mask.sum()) for what, mask in masks.items() if mask.any()}


def _contexts(gfp: NDArray[np.int64], unknown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """gfp_zone() and what the request may do; without recorded flags a request counts as GFP_KERNEL."""

    def has(name: str) -> NDArray[Any]:
        return np.asarray((gfp & GFP_BITS[name]) != 0)

    zone = np.full(len(gfp), ZONE_NORMAL, np.uint8)
    zone[has("__GFP_HIGHMEM") & has("__GFP_MOVABLE")] = ZONE_MOVABLE
    zone[has("__GFP_DMA32")] = ZONE_DMA32
    zone[has("__GFP_DMA")] = ZONE_DMA
    for bit, name in ((MAY_RECLAIM, "__GFP_DIRECT_RECLAIM"), (WAKES_KSWAPD, "__GFP_KSWAPD_RECLAIM")):
        zone |= np.where(has(name) | unknown, bit, 0).astype(np.uint8)
    zone |= np.where(has("__GFP_HIGH"), IS_HIGH, 0).astype(np.uint8)
    return zone
