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
    moved: int = 0
    """Zones that overlap others, as those of nodes that take turns: which pages are whose is not recorded."""

    @classmethod
    def read(cls, connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str) -> "Zones":
        """Read the zones that the page allocator serves from.

        Raises:
            UsageError: a zone that 64-bit kernels do not have.
        """
        found = connection.execute(
            """SELECT node, zone, start_pfn, start_pfn + coalesce(spanned, present, managed) - 1,
                      coalesce(wmark_min, 0), coalesce(wmark_low, 0), coalesce(wmark_high, 0),
                      coalesce(managed, present), protection, coalesce(present, managed)
               FROM zone
               WHERE capture_id = ? AND moment = ? AND start_pfn IS NOT NULL AND coalesce(managed, present) > 0
                     AND coalesce(spanned, present, managed) > 0
               ORDER BY start_pfn, node""",
            [capture_id, moment],
        ).fetchall()
        for _, zone, *_ in found:
            if zone not in (*ZONE_CLASS, *_NOT_SERVED):
                raise UsageError(
                    f"zoneinfo {moment} the recording: the replay does not know zone {zone}",
                    f"it knows {', '.join((*ZONE_CLASS, *_NOT_SERVED))}; import the trace again without zoneinfo",
                )
        served = [row for row in found if row[1] not in _NOT_SERVED]
        return _apart([Zone(*row[:-1]) for row in served], [row[-1] for row in served], ram_of(connection, capture_id))

    @property
    def pages(self) -> int:
        """One more than the last page of any zone."""
        return max((row.last + 1 for row in self.rows), default=0)

    def pageblocks(
        self, connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, row: Zone, order: int
    ) -> dict[str, int]:
        """Pageblocks of a zone by type, counted in blocks of this order; empty where there is no pagetypeinfo."""
        return dict(
            connection.execute(
                """SELECT migratetype::VARCHAR,
                          round(blocks * 2.0 ** (coalesce(pageblock_order, $order) - $order))::BIGINT
                   FROM pageblocks JOIN capture USING (capture_id)
                   WHERE capture_id = $capture AND moment = $moment AND node = $node AND zone = $zone""",
                {"capture": capture_id, "moment": moment, "node": row.node, "zone": row.zone, "order": order},
            ).fetchall()
        )

    def lru(self, connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, row: Zone) -> int:
        """Pages of a zone on its LRU lists: user memory and page cache."""
        names = [f"Node {row.node}, zone {row.zone}, {name}" for name in _LRU]
        return max(sum(snapshot_values(connection, capture_id, moment, "zoneinfo", names).values()), 0)


Range = tuple[int, int]
"""First and last page."""


def ram_of(connection: duckdb.DuckDBPyConnection, capture_id: str) -> list[Range]:
    """Memory by iomem, ascending; empty where that was not recorded."""
    return connection.execute(
        """SELECT first_pfn, last_pfn FROM memory_range WHERE capture_id = ? AND name = 'System RAM'
           ORDER BY first_pfn""",
        [capture_id],
    ).fetchall()


def _apart(rows: list[Zone], present: list[int], ram: list[Range]) -> Zones:
    """Zones of which no two overlap: those that do lie one after the other in what they span together.

    Each gets as many pages of memory as it has (`present`), the last what is left where `ram` is known.

    Raises:
        UsageError: they have more pages than there are.
    """
    apart: list[Zone] = []
    moved, at = 0, 0
    while at < len(rows):
        end, stop = rows[at].last, at + 1
        while stop < len(rows) and rows[stop].first <= end:
            end, stop = max(end, rows[stop].last), stop + 1
        if stop == at + 1:
            apart.append(rows[at])
        else:
            moved += stop - at
            spanned = [(max(first, rows[at].first), min(last, end)) for first, last in ram]
            left = [each for each in spanned if each[0] <= each[1]] or [(rows[at].first, end)]
            for place in range(at, stop):
                first, last, left = _first_pages(left, present[place])
                if last < first:
                    raise UsageError(
                        f"zoneinfo: zone {rows[place].zone} of node {rows[place].node} overlaps others, and no memory "
                        f"is left for its {present[place]:,} pages",
                        "it is damaged, or iomem is of another machine: import the trace without one of them",
                    )
                last = end if ram and place == stop - 1 else last
                apart.append(rows[place]._replace(first=first, last=last))
        at = stop
    return Zones(apart, moved)


def _first_pages(ranges: list[Range], pages: int) -> tuple[int, int, list[Range]]:
    """First and last of the first `pages` pages of some ranges, or of all they have, and the ranges without them."""
    first, last = (ranges[0][0], -1) if ranges else (0, -1)
    for place, (begin, end) in enumerate(ranges):
        last = min(end, begin + pages - 1)
        pages -= last - begin + 1
        if pages <= 0:
            return first, last, [(last + 1, end)] * (last < end) + ranges[place + 1 :]
    return first, last, []


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
    if zones.moved:
        assumptions.append(
            f"{zones.moved} zones overlap, as those of nodes do that take turns in memory. Which pages are whose is "
            "not recorded: they lie one after the other, each with as many pages as zoneinfo counts."
        )
    nodes = sorted({row.node for row in zones.rows})  # on some machines their numbers have gaps
    arrays = [(row.first, min(row.last, pages - 1), ZONE_CLASS[row.zone], nodes.index(row.node)) for row in zones.rows]
    wmark = [(row.wmark_min, row.wmark_low, row.wmark_high) for row in zones.rows]
    reserve = [([int(value) for value in row.protection or []] + [0] * 4)[:4] for row in zones.rows]
    return np.array(arrays, np.int64), np.array(wmark, np.int64), np.array(reserve, np.int64)
