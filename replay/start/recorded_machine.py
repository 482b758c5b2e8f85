"""The machine as it was before the first event: what was free, what the pages held, how the direct map was laid out.

It is read from the snapshots, best source first (`read_machine`); what no snapshot shows is drawn by seed (`drawn`).
Every run keeps a list of what was assumed or drawn.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from ptpool.vocabulary import MIGRATETYPES, MOVABLE, UNMOVABLE
from replay.demand.demand import Demand
from replay.kernel.buddy import build_free_lists
from replay.kernel.geometry import Geometry, assumptions_of, recorded_geometry
from replay.kernel.mmzone import HOLE, USED, PageAllocator, page_allocator
from replay.start.allocator_setup import Pagesets, features_of, fill_from_trace, nodes_of, read_pagesets, set_up_zones
from replay.start.checks import check_snapshots
from replay.start.direct_map_layout import lay_out
from replay.start.free_list_order import RECORDED_ORDER, first_allocation, list_order, order_free_lists
from replay.start.pages import Pages, kinds, moment_of_flags, pages_at_start
from replay.start.per_cpu import MayWait, fill_up_per_cpu_lists, may_wait
from replay.start.recorded_lists import as_on_lists, build_lists, read_lists, set_block_types
from replay.start.zones import Zones, outside, snapshot_values, zone_arrays


@dataclass
class InitialState:
    """The recorded machine before the first event. Shapes: ``P`` pages, ``M`` PMD-sized pieces."""

    arch: str
    cpus: int
    geometry: Geometry
    allocator: PageAllocator
    mapped: NDArray[np.bool_]
    """(P,) pages in the direct map."""
    level: NDArray[np.uint8]
    """(M,) level of the leaf that maps each piece of the direct map."""
    page_tables: NDArray[np.int64]
    """Page tables alive: their page frame numbers, ascending."""
    page_tables_elsewhere: int = 0
    """Page tables alive of which only the number is known."""
    page_tables_known: bool = True
    """Whether a snapshot shows how many were alive."""
    assumptions: list[str] = field(default_factory=list)
    stands_for: NDArray[np.int32] | None = None
    """(demand.pages,) page that stands for each recorded one at the start, -1 for none; None: each for itself."""
    page_cache: float | None = None
    """Share of the movable pages in use that were page cache; None: no snapshot shows it."""
    reclaimable: float | None = None
    """Share of the movable pages in use that reclaim can take, where it was drawn; None: as the variant says."""
    switched_on: bool = False
    """Whether the strategy begins at this moment, on the machine as it is, instead of at boot: a pool of the lab."""


@dataclass(frozen=True)
class Recorded:
    """The recorded machine before the first event, as far as its snapshots and the recording show it."""

    state: InitialState
    """Free blocks lie on their lists by address."""
    waiting: MayWait | None
    """Pages that may wait on per-CPU lists; None: free lists and per-CPU lists are as the recorder read them, so that
    nothing is left to draw."""
    zones: Zones
    pagesets: Pagesets
    seed: int | None
    """Seed used to draw the addresses of free blocks where only their counts are known; None: nothing was drawn."""
    turned_over: float | None
    """Pages allocated since boot over managed pages; None: no snapshot shows it."""

    @property
    def exact(self) -> bool:
        """Whether nothing is left to draw."""
        return self.waiting is None


def recorded_machine(
    connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], demand: Demand, seed: int = 0
) -> InitialState:
    """Rebuild the machine that a capture was recorded on, as it was before the first event; see `read_machine`."""
    return drawn(read_machine(connection, capture, demand, seed), demand, seed)


def drawn(recorded: Recorded, demand: Demand, seed: int, free_list_order: str = RECORDED_ORDER) -> InitialState:
    """The recorded machine, with what no snapshot shows drawn by seed.

    That is the order of free lists, as far as the recording does not show it, and which pages wait on per-CPU lists;
    nothing, where the recorder read the lists themselves.

    Raises:
        UsageError: there is no such order.
    """
    if recorded.waiting is None:
        return recorded.state
    random = np.random.default_rng(seed)
    allocator, assumptions = copy.deepcopy(recorded.state.allocator), [*recorded.state.assumptions]
    order = list_order(free_list_order, recorded.turned_over)
    assumptions += order_free_lists(allocator, first_allocation(demand.program, demand.pages), order, random)
    fill_up_per_cpu_lists(allocator, recorded.waiting, recorded.zones, recorded.pagesets, random, assumptions)
    return replace(recorded.state, allocator=allocator, assumptions=assumptions)


def read_machine(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    demand: Demand,
    seed: int = 0,
    *,
    with_lists: bool = True,
) -> Recorded:
    """Read what is known of the machine that a capture (row of table capture) was recorded on.

    Where only the number of free blocks is known, their addresses are drawn by seed. Without `with_lists`, free lists
    that the recorder read are not looked at.

    Raises:
        UsageError: the replay has no rules for the architecture, or snapshots are damaged, or contradict each other or
            the trace.
    """
    geometry = recorded_geometry(capture)
    assumptions = assumptions_of(capture, geometry)
    capture_id = capture["capture_id"]
    flags_of = moment_of_flags(connection, capture)
    check_snapshots(connection, capture, flags_of or "before", demand.pages)
    pages = pages_at_start(
        connection, capture, flags_of, demand, geometry, np.random.default_rng([seed, 2]), assumptions
    )
    zones = Zones.read(connection, capture_id, pages.moment)
    lists = read_lists(connection, capture_id, zones) if with_lists else None
    if lists is not None and flags_of != "before":
        assumptions.append("The recorded free lists are not used: there is no kpageflags from before with them.")
        lists = None
    if lists is not None:
        pages = as_on_lists(pages, lists)
    bounds, wmark, reserve = zone_arrays(zones, len(pages.present), assumptions)
    pagesets = read_pagesets(connection, capture_id, pages.moment)
    features = features_of(capture["kernel_release"], pagesets, assumptions)
    cpus = max(capture["cpus"], int(demand.program.cpu.max(initial=0)) + 1)
    nodes = nodes_of(bounds, cpus, assumptions)
    allocator = page_allocator(len(pages.present), bounds, geometry, features, cpus, nodes)
    allocator.wmark[:] = wmark
    allocator.lowmem_reserve[:] = reserve
    allocator.kind[:] = kinds(pages, HOLE, USED)
    known = leave_out_strangers(allocator, pages, demand, assumptions)
    if lists is None:
        _set_block_types(connection, capture_id, pages, zones, allocator, assumptions)
        build_free_lists(allocator, pages.free & pages.present)
    else:
        set_block_types(allocator, lists)
        build_lists(allocator, lists)
        assumptions.append("Free lists, per-CPU lists and pageblock types are as the recorder read them (free_lists).")
    _check(connection, capture, pages, zones, allocator, demand, assumptions)
    mapped, level = lay_out(connection, capture_id, pages.moment, pages.present, allocator, geometry, assumptions)
    set_up_zones(zones, allocator, pagesets, geometry.page_shift)
    if lists is None:
        fill_from_trace(allocator, known, demand, assumptions)
    state = InitialState(
        geometry.arch, capture["cpus"], geometry, allocator, mapped, level, known, assumptions=assumptions
    )
    state.page_cache = _page_cache(connection, capture_id, pages.moment, int((allocator.kind == USED + MOVABLE).sum()))
    if pages.tables is None:
        _count_page_tables(connection, capture_id, state)
    if pages.moment == "after" and capture["window_to_ns"] is not None:
        assumptions.append("The snapshot is from after the recording, later than the window's end.")
    if capture["window_from_ns"] is not None:
        assumptions.append(
            "A window of the recording: page states were brought forward to its start; pageblock types and the leaves "
            "of the direct map are those of the start of the recording."
        )
    waiting = may_wait(allocator, pages.plain, demand) if lists is None else None
    turned_over = _turned_over(connection, capture_id, pages.moment, zones)
    drawn_by = None if pages.block_type is None or lists is not None else seed
    return Recorded(state, waiting, zones, pagesets, drawn_by, turned_over)


_DIFFERENT_SHARE = 0.5
"""Snapshots that lack more of the trace's pages than this are of another machine."""


def _page_cache(connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, movable: int) -> float | None:
    """Share of the movable pages that lie on the kernel's lists of file pages."""
    names = ("nr_active_file", "nr_inactive_file")
    values = snapshot_values(connection, capture_id, moment, "vmstat", names)
    return min(sum(values.values()) / movable, 1.0) if values and movable else None


def _turned_over(connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str, zones: Zones) -> float | None:
    names = [f"pgalloc_{zone}" for zone in ("dma", "dma32", "normal", "movable")]
    allocated = sum(snapshot_values(connection, capture_id, moment, "vmstat", names).values())
    managed = sum(row.managed for row in zones.rows)
    return allocated / managed if allocated and managed else None


def leave_out_strangers(
    allocator: PageAllocator, pages: Pages, demand: Demand, assumptions: list[str]
) -> NDArray[np.int64]:
    """Make holes of the pages that lie in no zone. Returns the page tables alive that lie in one."""
    strangers = outside(allocator.zones, len(allocator.kind))
    allocator.kind[strangers] = HOLE
    tables = np.empty(0, np.int64) if pages.tables is None else pages.tables
    freed = int((demand.first_seen[strangers[: demand.pages].nonzero()[0]] == 0).sum())
    alive = int(strangers[tables].sum())
    if freed or alive:
        assumptions.append(
            f"Left out: {freed:,} pages that the recording frees and {alive:,} page tables alive at its start, because "
            "they lie in no zone of zoneinfo: they are not the page allocator's."
        )
    return tables[~strangers[tables]]


def _check(
    connection: duckdb.DuckDBPyConnection,
    capture: dict[str, Any],
    pages: Pages,
    zones: Zones,
    allocator: PageAllocator,
    demand: Demand,
    assumptions: list[str],
) -> None:
    """Compare the snapshots with each other and the trace: small contradictions are noted, large ones refused."""
    touched = np.flatnonzero(demand.first_seen >= 0)
    absent = int((~pages.present[touched]).sum()) if zones.rows else 0
    if absent > _DIFFERENT_SHARE * len(touched):
        raise UsageError(
            f"capture {capture['name']}: {absent:,} of the {len(touched):,} pages in the trace do not exist on the "
            "machine that its snapshots show",
            "the snapshots are of another machine: import the trace again with its own, or with none (--snapshots)",
        )
    if absent:
        assumptions.append(
            f"{absent:,} pages of the trace do not exist in the snapshots: memory that was added while recording, or "
            "that the snapshots leave out. What was placed there is placed elsewhere."
        )
    counted = dict(
        connection.execute(
            """SELECT zone, sum(blocks << page_order) FROM free_blocks
               WHERE capture_id = ? AND moment = ? AND migratetype IS NULL GROUP BY zone""",
            [capture["capture_id"], pages.moment],
        ).fetchall()
    )
    if counted and pages.moment == "before":
        away = abs(sum(counted.values()) - int(allocator.free_pages.sum()))
        if away:
            assumptions.append(
                f"The state at the start has {away:,} free pages more or less than buddyinfo counted: the snapshots "
                "were not taken at one moment, or disagree."
            )


def _count_page_tables(connection: duckdb.DuckDBPyConnection, capture_id: str, state: InitialState) -> None:
    """Without kpageflags from before, only nr_page_table_pages shows how many page tables were alive."""
    values = snapshot_values(connection, capture_id, "before", "vmstat", ["nr_page_table_pages"])
    state.page_tables_known = bool(values)
    state.page_tables_elsewhere = sum(values.values())
    state.assumptions.append(
        f"{state.page_tables_elsewhere:,} pages of page tables were alive at the start (nr_page_table_pages); where is "
        "unknown: they are allocated again before the first event and never freed."
        if values
        else "How many page tables were alive at the start is not recorded: none are replayed."
    )


def _set_block_types(
    connection: duckdb.DuckDBPyConnection,
    capture_id: str,
    pages: Pages,
    zones: Zones,
    allocator: PageAllocator,
    assumptions: list[str],
) -> None:
    """As many pageblocks of each type as pagetypeinfo counts: those with most pages of the kind."""
    if pages.block_type is not None:
        allocator.block_type[:] = pages.block_type
        return
    shift = allocator.pageblock_order
    unmovable = pages.present & ~pages.free & ~pages.movable
    weight = np.add.reduceat(unmovable, np.arange(0, len(unmovable), 1 << shift), dtype=np.int64)
    counts = [zones.pageblocks(connection, capture_id, pages.moment, row, shift) for row in zones.rows]
    if not any(counts):
        assumptions.append(
            "The capture has no pagetypeinfo: pageblocks more than half unmovable are taken as Unmovable."
        )
        allocator.block_type[: len(weight)][weight > 1 << shift - 1] = UNMOVABLE
        return
    assumptions.append(
        "Which pageblocks are Unmovable or Reclaimable is not recorded, only how many: those with most unmovable pages."
    )
    for (first, last, *_), counted in zip(allocator.zones, counts, strict=True):
        blocks = np.arange(first >> shift, (last >> shift) + 1)
        ranked = blocks[np.argsort(-weight[blocks], kind="stable")]
        done = 0
        for migratetype in ("Unmovable", "Reclaimable"):
            wanted = counted.get(migratetype, 0)
            allocator.block_type[ranked[done : done + wanted]] = MIGRATETYPES.index(migratetype)
            done += wanted
