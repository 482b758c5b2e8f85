"""Whether a machine can be built from what its snapshots say: every number within memory, and memory within this one.

Compiled code indexes arrays by these numbers and checks none of them. So they are checked here, before anything is
built; what the kernel cannot have printed is refused with its file, value, and what to do.
"""

from typing import Any, NoReturn

import duckdb

from ptpool.errors import UsageError
from ptpool.files import physical_memory

BYTES_SHARED, BYTES_EACH = 24, 32
"""Bytes that a replay takes for each simulated page, at most: once for all runs, and for each run at a time."""

MOST_PAGES = 1 << 31
"""Links of the page allocator are 32 bits wide."""

_PAGESET = ("count", "high", "batch", "high_min", "high_max")
_OF_VMSTAT = ("nr_page_table_pages", "nr_active_file", "nr_inactive_file")


def bytes_needed(pages: int, jobs: int) -> int:
    """Memory that `jobs` replays at a time take on a machine of this many pages."""
    return pages * (BYTES_SHARED + BYTES_EACH * jobs)


def check_size(pages: int, jobs: int, whose: str, remedy: str) -> None:
    """Refuse a machine whose arrays, for that many replays at a time, do not fit into the memory of this one.

    Raises:
        UsageError: they do not; `whose` says which machine it is, `remedy` what to do.
    """
    needed, there = bytes_needed(pages, jobs), physical_memory()
    if needed > there or pages >= MOST_PAGES:
        at_a_time = f"for {jobs} replays at a time, " if jobs > 1 else ""
        raise UsageError(
            f"{whose}: {needed / 2**30:,.0f} GiB of memory are needed {at_a_time}and there are {there / 2**30:,.0f}",
            remedy,
        )


def check_snapshots(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], moment: str, least: int) -> None:
    """Check what describes the machine at one moment (before or after).

    Args:
        connection: the warehouse.
        capture: a row of table capture.
        moment: whose snapshots are used.
        least: pages that the trace alone shows.

    Raises:
        UsageError: a number that no machine has, or a machine that does not fit into the memory of this one.
    """
    checked = _Checked(connection, capture, moment)
    ends = [(least, "the trace"), *checked.zones(), (checked.last_page(), f"kpageflags {moment} the recording")]
    if least < (told := capture["total_pages"] or 0):
        ends.append((told, f"zoneinfo or meminfo {moment} the recording"))
    pages, by = max(ends)
    remedy = "if no machine is that large, the number is damaged: mend it or leave the file out, and import again"
    check_size(pages, 1, f"capture {capture['name']}: a machine of {pages:,} pages, by {by}", remedy)
    checked.counts(pages)


class _Checked:
    """The numbers of one moment of a capture."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], moment: str) -> None:
        self._connection, self._name, self._moment = connection, capture["name"], moment
        self._given = {"capture": capture["capture_id"], "moment": moment}

    def _rows(self, sql: str, **more: Any) -> list[tuple[Any, ...]]:
        of_moment = sql.replace("OF_MOMENT", "capture_id = $capture AND moment = $moment")
        return self._connection.execute(of_moment, self._given | more).fetchall()

    def _refuse(self, source: str, what: str) -> NoReturn:
        raise UsageError(
            f"capture {self._name}: {source} {self._moment} the recording: {what}",
            f"the file is damaged: take it again, or import the trace without {source}",
        )

    def zones(self) -> list[tuple[int, str]]:
        """The page after the last one of each zone, and which it is."""
        ends = []
        rows = self._rows(
            """SELECT node, zone, start_pfn, spanned, present, managed, wmark_min, wmark_low, wmark_high, protection
               FROM zone WHERE OF_MOMENT AND coalesce(managed, present, spanned) <> 0"""
        )
        for node, zone, start, spanned, present, managed, *wmarks, protection in rows:
            place = f"zone {zone} of node {node}"
            named = {"start_pfn": start, "spanned": spanned, "present": present, "managed": managed}
            named |= dict(zip(("min", "low", "high"), wmarks, strict=True))
            named |= {f"protection[{i}]": value for i, value in enumerate(protection or [])}
            for name, value in named.items():
                if value is not None and not 0 <= value < 1 << 52:
                    self._refuse("zoneinfo", f"{place} has {name} {value:,}")
            for name, value in (("present", present), ("managed", managed)):
                if value is not None and spanned is not None and value > spanned:
                    self._refuse("zoneinfo", f"{place} has {name} {value:,}, but spanned {spanned:,}")
            end = (start or 0) + (spanned or present or managed or 0)
            ends.append((end, f"zoneinfo {self._moment} the recording, {place}"))
        return ends

    def last_page(self) -> int:
        """The page after the last one of kpageflags."""
        rows = self._rows("SELECT max(last_pfn) + 1 FROM page_flags WHERE OF_MOMENT")
        return int(rows[0][0] or 0)

    def counts(self, pages: int) -> None:
        """Counts of blocks and pages: none negative, none that memory has no room for."""
        for source, condition in (("buddyinfo", "migratetype IS NULL"), ("pagetypeinfo", "migratetype IS NOT NULL")):
            for node, zone, order, blocks in self._rows(
                f"""SELECT node, zone, page_order, blocks FROM free_blocks WHERE OF_MOMENT AND {condition}
                    AND (blocks < 0 OR blocks > $pages >> page_order) LIMIT 1""",
                pages=pages,
            ):
                self._refuse(source, f"zone {zone} of node {node} has {blocks:,} free blocks of order {order}")
        for node, zone, blocks in self._rows(
            "SELECT node, zone, blocks FROM pageblocks WHERE OF_MOMENT AND NOT blocks BETWEEN 0 AND $pages LIMIT 1",
            pages=pages,
        ):
            self._refuse("pagetypeinfo", f"zone {zone} of node {node} has {blocks:,} pageblocks of one type")
        for node, zone, cpu, name, value in self._rows(
            """SELECT node, zone, cpu, name, value FROM pageset WHERE OF_MOMENT AND list_contains($names, name)
               AND NOT value BETWEEN 0 AND $most LIMIT 1""",
            names=list(_PAGESET),
            most=max(pages, 1 << 16),
        ):
            self._refuse("zoneinfo", f"zone {zone} of node {node} has {name} {value:,} for CPU {cpu}")
        for name, value in self._rows(
            """SELECT name, value FROM snapshot_value WHERE OF_MOMENT AND source = 'vmstat'
               AND list_contains($names, name) AND NOT value BETWEEN 0 AND $pages LIMIT 1""",
            names=list(_OF_VMSTAT),
            pages=pages,
        ):
            self._refuse("vmstat", f"{name} is {value:,}, on a machine of {pages:,} pages")
