"""Zones of the recorded machine, from zoneinfo and pagetypeinfo."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from replay.kernel.mmzone import ZONE_DMA, ZONE_DMA32, ZONE_MOVABLE, ZONE_NORMAL

ZONE_CLASS = {"DMA": ZONE_DMA, "DMA32": ZONE_DMA32, "Normal": ZONE_NORMAL, "Movable": ZONE_MOVABLE}
"""Zone names of 64-bit kernels (mm/page_alloc.c:zone_names) by the class of requests that they serve first."""

_NOT_SERVED = ("Device",)
"""Zones whose pages the page allocator never hands out."""

_LRU = ("nr_zone_inactive_anon", "nr_zone_active_anon", "nr_zone_inactive_file", "nr_zone_active_file")


class Zone(NamedTuple):
    """One populated zone, in pages."""

    node: int
    zone: str
    first: int
    last: int
    wmark_min: int
    wmark_low: int
    wmark_high: int
    managed: int
    protection: list[int]


def snapshot_values(
    connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, source: str, names: Iterable[str]
) -> dict[str, int]:
    """Those of the named values that a file of /proc has."""
    rows = connection.execute(
        """SELECT name, value FROM snapshot_value
           WHERE capture_id = ? AND moment = ? AND source = ? AND list_contains(?, name)""",
        [capture_id, moment, source, list(names)],
    )
    return dict(rows.fetchall())


@dataclass(frozen=True)
class Zones:
    """All populated zones, ascending."""

    rows: list[Zone]

    @classmethod
    def read(cls, connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str) -> "Zones":
        """Read the zones that the page allocator serves from.

        Raises:
            UsageError: a zone that 64-bit kernels do not have.
        """
        rows = connection.execute(
            """SELECT node, zone, start_pfn, start_pfn + spanned - 1, wmark_min, wmark_low, wmark_high, managed,
                      protection FROM zone
               WHERE capture_id = ? AND moment = ? AND managed > 0 AND spanned > 0 AND start_pfn IS NOT NULL
               ORDER BY start_pfn, node""",
            [capture_id, moment],
        ).fetchall()
        for _, zone, *_ in rows:
            if zone not in (*ZONE_CLASS, *_NOT_SERVED):
                raise UsageError(
                    f"zoneinfo {moment} the recording: the replay does not know zone {zone}",
                    f"it knows {', '.join((*ZONE_CLASS, *_NOT_SERVED))}; import the trace again without zoneinfo",
                )
        return cls([Zone(*row) for row in rows if row[1] not in _NOT_SERVED])

    @property
    def pages(self) -> int:
        """One more than the last page of any zone."""
        return max((row.last + 1 for row in self.rows), default=0)

    def pageblocks(
        self, connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, row: Zone
    ) -> dict[str, int]:
        """Pageblocks of a zone by type; empty where there is no pagetypeinfo."""
        return dict(
            connection.execute(
                """SELECT migratetype::VARCHAR, blocks FROM pageblocks
                   WHERE capture_id = ? AND moment = ? AND node = ? AND zone = ?""",
                [capture_id, moment, row.node, row.zone],
            ).fetchall()
        )

    def lru(self, connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, row: Zone) -> int:
        """Pages of a zone on its LRU lists: user memory and page cache."""
        names = [f"Node {row.node}, zone {row.zone}, {name}" for name in _LRU]
        return sum(snapshot_values(connection, capture_id, moment, "zoneinfo", names).values())


def outside(bounds: NDArray[np.int64], pages: int) -> NDArray[np.bool_]:
    """(pages,) pages in no zone: the page allocator can neither hand them out nor get them back."""
    without_zone = np.ones(pages, np.bool_)
    for first, last, *_ in bounds.tolist():
        without_zone[first : last + 1] = False
    return without_zone


def zone_arrays(
    zones: Zones, pages: int, assumptions: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Zones with their watermarks and lowmem_reserve, ascending, as the page allocator wants them."""
    if not zones.rows:
        assumptions.append("The capture has no zoneinfo: one zone without watermarks is assumed.")
        whole = np.array([[0, pages - 1, ZONE_NORMAL, 0]], np.int64)
        return whole, np.zeros((1, 3), np.int64), np.zeros((1, 4), np.int64)
    for row in zones.rows:
        if row.first >= pages:
            raise UsageError(
                f"zoneinfo: zone {row.zone} begins at page {row.first:#x}, but kpageflags ends at {pages:#x}",
                "the two are of different machines, or memory was added in between: import without one of them",
            )
    for below, above in zip(zones.rows, zones.rows[1:], strict=False):
        if above.first <= below.last:
            assumptions.append(
                f"Zones {below.zone} of node {below.node} and {above.zone} of node {above.node} overlap: what both "
                "span is taken as the lower one's."
            )
    arrays = [(row.first, min(row.last, pages - 1), ZONE_CLASS[row.zone], row.node) for row in zones.rows]
    wmark = [(row.wmark_min, row.wmark_low, row.wmark_high) for row in zones.rows]
    reserve = [([int(value) for value in row.protection or []] + [0] * 4)[:4] for row in zones.rows]
    return np.array(arrays, np.int64), np.array(wmark, np.int64), np.array(reserve, np.int64)
