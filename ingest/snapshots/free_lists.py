"""The page allocator's own lists, block by block: the snapshot ``free_lists`` that `ptpool ingest capture` takes.

Rows of 16 bytes, little endian: pfn, order, migratetype, place, in the order of each list. A place is ``zone | cpu + 1
<< 8 | node << 20``, where 0 for cpu + 1 means the zone's own lists (struct free_area, Linux 6.1 to 7.3), not those of a
CPU (struct per_cpu_pages). A row of place 0xffff has the type of a pageblock. ``free_lists.json`` beside it has the
kernel's numbers of types and zones, and how quiet the machine was; where it is missing, they are those of the other
snapshots.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.snapshots.proc import MalformedError, Rows, Runs
from ingest.source import read_whole
from ingest.trace import MAX_PFN
from ptpool.vocabulary import KPF_BUDDY, KPF_NOPAGE, KPF_OFFLINE, MIGRATETYPES

if TYPE_CHECKING:
    import pyarrow as pa

ROW = np.dtype([("pfn", "<u4"), ("order", "<u4"), ("type", "<u4"), ("place", "<u4")])
PAGEBLOCK = 0xFFFF

_ZONE, _CPU, _NODE_SHIFT = 0xFF, 0xFFF, 20  # of a place; a node has as many bits as a CPU
_HIGHEST_ORDER = 30
_MOST_BYTES = 1 << 29  # 32 million blocks
_STRAYS = 1000  # one wrong row in so many is left out; with more the lists are not used
_FEW_BLOCKS, _FEW_PAGES = 64, 1024  # lists may differ from buddyinfo by these and a quarter of the blocks, a tenth of
_SHARE_OF_BLOCKS, _SHARE_OF_PAGES = 4, 10  # the pages: it was read some milliseconds to seconds earlier

_COUNTED = ("nr_free_differs", "pcp_count_differs")
_TYPES = {name.upper(): name for name in MIGRATETYPES}


class Zone(NamedTuple):
    """A zone: its node, name, first page and the page after its last."""

    node: int
    name: str
    start: int
    end: int


@dataclass
class Notes:
    """What ``free_lists.json`` says; empty where it does not."""

    types: dict[int, str] = field(default_factory=dict)
    zones: dict[int, Zone] = field(default_factory=dict)  # by the bits of a place that tell node and zone
    disturbed: int = 0  # counts of the kernel that its lists did not have while they were read


class Machine(NamedTuple):
    """What the other snapshots of the moment say."""

    zones: dict[int, Zone]
    types: dict[int, str]
    cpus: int | None
    buddyinfo: Rows
    flags: Runs | None


@dataclass
class FreeLists:
    """The rows that can be used, none where too many are wrong, and what was counted (names of ingest/quality.toml)."""

    blocks: NDArray[np.void]
    pageblocks: NDArray[np.void]
    zones: dict[int, Zone]
    types: dict[int, str]
    counts: dict[str, int]

    def table(self) -> "pa.Table":
        """Columns of table free_list, without capture and moment."""
        import pyarrow as pa

        zone, cpu = _zone_of(self.blocks), _cpu_of(self.blocks)
        places, at = np.unique(zone, return_inverse=True)
        zones = [self.zones[place] for place in places.tolist()]
        return pa.table(
            {
                "place": np.arange(len(self.blocks), dtype=np.int32),
                "node": np.array([zone.node for zone in zones], np.int16)[at],
                "zone": pa.DictionaryArray.from_arrays(
                    at.astype(np.int32), pa.array([z.name for z in zones], pa.string())
                ),
                "cpu": pa.array((cpu - 1).astype(np.int16), mask=cpu == 0),
                "migratetype": self._names(self.blocks["type"]),
                "page_order": self.blocks["order"].astype(np.int8),
                "first_pfn": self.blocks["pfn"].astype(np.int64),
            }
        )

    def pageblock_table(self) -> "pa.Table":
        """Columns of table pageblock_type, without capture and moment: runs of pageblocks of one type."""
        import pyarrow as pa

        rows = self.pageblocks[np.argsort(self.pageblocks["pfn"])]
        first, end, kind = rows["pfn"].astype(np.int64), _ends(rows), rows["type"]
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = (first[1:] != end[:-1]) | (kind[1:] != kind[:-1])
        starts = np.flatnonzero(begins)
        last = np.append(starts[1:], len(rows))[: len(starts)] - 1
        return pa.table(
            {"first_pfn": first[starts], "last_pfn": end[last] - 1, "migratetype": self._names(kind[starts])}
        )

    def _names(self, numbers: NDArray[np.uint32]) -> "pa.Array":
        import pyarrow as pa

        names = [self.types.get(number) for number in range(max(self.types) + 1)]
        return pa.DictionaryArray.from_arrays(numbers.astype(np.int32), pa.array(names, pa.string()))


def read_rows(path: Path) -> NDArray[np.void]:
    """The rows of a file, plain or compressed."""
    data = read_whole(path, _MOST_BYTES)
    if not data:
        raise MalformedError(0, "the file is empty")
    if len(data) > _MOST_BYTES:
        raise MalformedError(0, f"it is longer than {_MOST_BYTES >> 20} MiB")
    if len(data) % ROW.itemsize:
        raise MalformedError(0, f"its size is no multiple of {ROW.itemsize} bytes")
    return np.frombuffer(data, ROW)


def read_notes(path: Path) -> Notes:
    """The notes of a reading."""
    try:
        said: Mapping[str, Any] = json.loads(path.read_bytes())
        words = {name.removeprefix("MIGRATE_").upper(): number for name, number in said.get("types", {}).items()}
        types = {_number(words[word], 0xFF): name for word, name in _TYPES.items() if word in words}
        zones = {}
        for zone in said.get("zones", []):
            place = _number(zone["index"], _ZONE) | _number(zone["node"], _CPU) << _NODE_SHIFT
            start = _number(zone["start"], MAX_PFN)
            end = start + _number(zone["spanned"], MAX_PFN)
            zones[place] = Zone(zone["node"], str(zone["name"]).encode().decode(), start, end)  # no half a surrogate
        return Notes(types, zones, sum(_number(said.get(name, 0), MAX_PFN) for name in _COUNTED))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedError(0, f"{type(error).__name__}: {error}") from error


def _number(value: object, most: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{value!r} is no number up to {most}")
    return value


def zones_of(values: Rows) -> dict[int, Zone]:
    """Zones by node and number, from the rows of zoneinfo: it has all zones of a node in the kernel's order."""
    known: dict[str, int] = dict(values)
    found: dict[int, Zone] = {}
    numbers: dict[int, int] = {}
    for heading in dict.fromkeys(name.rpartition(", ")[0] for name in known):
        node, name = int(heading.split()[1].rstrip(",")), heading.rpartition(" ")[2]
        number = numbers[node] = numbers.get(node, -1) + 1
        start = known.get(f"{heading}, start_pfn", 0)
        found[number | node << _NODE_SHIFT] = Zone(node, name, start, start + known.get(f"{heading}, spanned", 0))
    return found


def check(rows: NDArray[np.void], notes: Notes, machine: Machine) -> FreeLists:
    """Check the lists against themselves and the other snapshots of their moment.

    A few wrong rows are left out. Where more are wrong, or the lists are those of another moment or machine, all are.
    """
    zones, types = notes.zones or machine.zones, notes.types or machine.types or dict(enumerate(MIGRATETYPES))
    told = rows["place"] == PAGEBLOCK
    blocks, pageblocks = rows[~told], rows[told]
    known = np.isin(rows["type"], list(types))
    known &= told | np.isin(_zone_of(rows), list(zones))
    if machine.cpus is not None:
        known &= told | (_cpu_of(rows) <= machine.cpus)
    placed = _aligned(rows)
    placed[~told] &= _inside(blocks, zones, machine.flags)
    twice = np.zeros(len(rows), np.bool_)
    for part in (told, ~told):
        usable = np.flatnonzero(part & known & placed)
        twice[usable] = _over(rows[usable])
    good = known & placed & ~twice
    blocks, pageblocks = rows[~told & good], rows[told & good]
    counts = {
        "free_list_rows_unknown": int((~known).sum()),
        "free_list_rows_misplaced": int((known & ~placed).sum()),
        "free_list_rows_twice": int(twice.sum()),
        "free_lists_disturbed": notes.disturbed,
    }
    used = int((~good).sum()) <= 1 + len(rows) // _STRAYS
    own = blocks[_cpu_of(blocks) == 0]
    pages = int(_sizes(own).sum())
    if machine.buddyinfo:
        by_order = _differences(own, zones, machine.buddyinfo)
        counts["free_list_buddyinfo_differs"] = sum(by_order.values())
        used &= counts["free_list_buddyinfo_differs"] <= _FEW_BLOCKS + len(own) // _SHARE_OF_BLOCKS
        used &= sum(n << order for order, n in by_order.items()) <= _FEW_PAGES + pages // _SHARE_OF_PAGES
    if machine.flags is not None:
        counts["free_list_page_flags_differ"] = _flags_differ(blocks, machine.flags)
        used &= counts["free_list_page_flags_differ"] <= _FEW_PAGES + pages // _SHARE_OF_PAGES
    counts["free_lists_not_used"] = int(not used)
    return FreeLists(blocks if used else blocks[:0], pageblocks if used else pageblocks[:0], zones, types, counts)


def _zone_of(rows: NDArray[np.void]) -> NDArray[np.uint32]:
    """Node and zone of each row, as keys of zones."""
    return np.asarray(rows["place"] & ~np.uint32(_CPU << 8))


def _cpu_of(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """CPU + 1 of each row; 0: it is on a list of the zone itself."""
    return (rows["place"] >> 8 & _CPU).astype(np.int64)


def _sizes(rows: NDArray[np.void]) -> NDArray[np.int64]:
    return np.asarray(1 << np.minimum(rows["order"], _HIGHEST_ORDER).astype(np.int64))


def _ends(rows: NDArray[np.void]) -> NDArray[np.int64]:
    return rows["pfn"].astype(np.int64) + _sizes(rows)


def _aligned(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    return np.asarray((rows["order"] <= _HIGHEST_ORDER) & (rows["pfn"].astype(np.int64) & (_sizes(rows) - 1) == 0))


def _inside(blocks: NDArray[np.void], zones: Mapping[int, Zone], flags: Runs | None) -> NDArray[np.bool_]:
    """Whether each block lies in its zone, if that is known, and on memory that there is."""
    good = np.ones(len(blocks), np.bool_)
    for place, zone in zones.items():
        of_zone = _zone_of(blocks) == place
        good[of_zone] = (blocks["pfn"][of_zone] >= zone.start) & (_ends(blocks)[of_zone] <= zone.end)
    if flags is not None:
        first, last, words = flags
        missing = words >> KPF_NOPAGE & 1 | words >> KPF_OFFLINE & 1
        until = np.append(0, np.cumsum(np.where(missing == 1, last - first + 1, 0)))  # missing pages before each run

        def before(pages: NDArray[np.int64]) -> NDArray[np.int64]:
            run = np.searchsorted(first, pages, side="right") - 1
            return np.asarray(until[run] + np.where(missing[run] == 1, pages - first[run], 0))

        good &= (before(_ends(blocks)) == before(blocks["pfn"].astype(np.int64))) & (_ends(blocks) <= last[-1] + 1)
    return good


def _over(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether each block has a page that another has too, of which the lower, and of two equal the earlier, is kept."""
    order = np.argsort(rows["pfn"], kind="stable")
    first, ends = rows["pfn"][order].astype(np.int64), _ends(rows)[order]
    over = np.zeros(len(rows), np.bool_)
    over[order[1:]] = first[1:] < np.maximum.accumulate(ends)[:-1]
    return over


def _differences(own: NDArray[np.void], zones: Mapping[int, Zone], buddyinfo: Rows) -> dict[int, int]:
    """Blocks more or less than in buddyinfo, by order."""
    kinds, numbers = np.unique(_zone_of(own).astype(np.int64) << 8 | own["order"], return_counts=True)
    counted = {
        (zones[kind >> 8].node, zones[kind >> 8].name, kind & 0xFF): n
        for kind, n in zip(kinds.tolist(), numbers.tolist(), strict=True)
    }
    differences: dict[int, int] = {}
    recorded = {(node, zone, order): n for node, zone, _, order, n in buddyinfo}
    for key in {*counted, *recorded}:
        difference = abs(counted.get(key, 0) - recorded.get(key, 0))
        differences[key[2]] = differences.get(key[2], 0) + difference
    return differences


def _flags_differ(blocks: NDArray[np.void], flags: Runs) -> int:
    """Pages that are free by flags but on no list, or on a list of a zone but not free by flags."""
    first, last, words = flags
    free = words >> KPF_BUDDY & 1 == 1
    by_flags = first[free], last[free] + 1
    blocks = blocks[np.argsort(blocks["pfn"])]
    listed = blocks["pfn"].astype(np.int64), _ends(blocks)
    own = _cpu_of(blocks) == 0
    on_no_list = int((by_flags[1] - by_flags[0]).sum()) - _common(*by_flags, *listed)
    return on_no_list + int(_sizes(blocks[own]).sum()) - _common(*by_flags, listed[0][own], listed[1][own])


def _common(
    first: NDArray[np.int64], end: NDArray[np.int64], other: NDArray[np.int64], other_end: NDArray[np.int64]
) -> int:
    """Pages that two sets of ranges have in common, each set sorted and without overlaps."""
    edges = np.concatenate([first, end, other, other_end])
    step = np.repeat([1, -1, 1, -1], [len(first), len(end), len(other), len(other_end)])
    order = np.argsort(edges, kind="stable")
    depth = np.cumsum(step[order])[:-1]
    return int(np.diff(edges[order])[depth == 2].sum())
