"""A machine with little usable memory: all of it is filled by seed before the first event.

How much is left and how fragmented that is are given; what fills the rest is drawn (profiles/pressure.toml).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.errors import UsageError
from ptpool.vocabulary import CMA, ISOLATE, MOVABLE, UNMOVABLE
from replay import profiles
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, MOVE, OUTSIDE_CHANGE
from replay.kernel import mmzone as mm
from replay.kernel.buddy import build_free_lists
from replay.kernel.mmzone import PageAllocator, page_allocator
from replay.start.free_list_order import list_order, order_free_lists
from replay.start.other_machine import alive_at_start, stand_ins
from replay.start.recorded_machine import InitialState

AS_RECORDED = "as-recorded"
"""A fragmentation that is not in the profile: see `fragmentation_of`."""

HOLES = {"unmovable": UNMOVABLE, "movable": MOVABLE}
"""What the pages are that free memory below a pageblock lies between: compaction can move the movable ones away."""

SMALL_ZONE = 16
"""Zones with less than this part of the largest one's memory are full of unmovable pages: ZONE_DMA."""

_MIXED_EVERY = 32
_MOST_FILLED, _MOST_HOLES = 0.9, 0.4


class Fragmentation(NamedTuple):
    """How the free memory lies; the profile says what each number means."""

    name: str
    unusable_2: float
    unusable_4: float
    unusable_9: float
    mixed: float
    between: int = UNMOVABLE
    """Of what kind the pages are that fill the rest of the machine: a value of `HOLES`."""


def fragmentations() -> dict[str, Fragmentation]:
    """Every fragmentation with a name, the mildest first."""
    return {name: Fragmentation(name, **row) for name, row in profiles.read("pressure")["fragmentation"].items()}


def fragmentation_of(name: str, holes: str, recorded: InitialState) -> Fragmentation:
    """A fragmentation by its name, with holes between such pages.

    A number is an unusable index at order 2. `AS_RECORDED` is how memory lay on the recorded machine before the first
    event.
    """
    found = _fragmentation_of(name, recorded)
    return found if holes == "unmovable" else found._replace(mixed=0.0, between=HOLES[holes])


def _fragmentation_of(name: str, recorded: InitialState) -> Fragmentation:
    if name in fragmentations():
        return fragmentations()[name]
    if name != AS_RECORDED:
        curve = profiles.read("pressure")["curve"]
        at = curve["unusable_2"]
        at_2, at_4, at_9 = (float(np.interp(float(name), at, curve[f"unusable_{order}"])) for order in (2, 4, 9))
        return Fragmentation(name, at_2, at_4, at_9, curve["mixed"])
    allocator = recorded.allocator
    size = 1 << allocator.pageblock_order
    by_block = allocator.kind[: len(allocator.kind) // size * size].reshape(-1, size)
    movable = by_block[(by_block == mm.USED + MOVABLE).any(axis=1)]
    mixed = float((movable == mm.USED + UNMOVABLE).any(axis=1).mean()) if len(movable) else 0.0
    at_2, at_4, at_9 = (unusable_index(allocator, order) or 0.0 for order in (2, 4, 9))
    return Fragmentation(name, at_2, at_4, at_9, mixed)


class Zone(NamedTuple):
    """The part of a zone that is filled by seed."""

    blocks: NDArray[np.int64]
    """Pageblocks."""
    kept: int
    """Pages kept for emergencies: the min watermark, and the lowmem reserve against GFP_KERNEL."""
    share: float
    """Its part of all memory that is filled."""


def zones_to_fill(start: InitialState) -> list[Zone]:
    """The zones that UNMOVABLE may use, without the small ones, and their pageblocks that are whole and not CMA's.

    Raises:
        UsageError: there is none.
    """
    allocator = start.allocator
    size, zones = 1 << allocator.pageblock_order, []
    for first, last, zone_class, _ in allocator.zones.tolist():
        blocks = np.arange(-(-first // size), (last + 1) // size)
        whole = (allocator.kind[: len(allocator.kind) // size * size].reshape(-1, size) != mm.HOLE).all(axis=1)
        mine = blocks[whole[blocks] & ~np.isin(allocator.block_type[blocks], (CMA, ISOLATE))]
        zones.append(mine if zone_class <= mm.ZONE_NORMAL else mine[:0])
    largest = max(len(blocks) for blocks in zones)
    if not largest:
        raise UsageError(
            "this machine has no memory that unmovable pages may use",
            "use a capture with its snapshots, or a larger machine (--machine 2G)",
        )
    chosen = [place for place, blocks in enumerate(zones) if len(blocks) * SMALL_ZONE >= largest]
    total = sum(len(zones[place]) for place in chosen)
    kept = allocator.wmark[:, mm.WMARK_MIN] + allocator.lowmem_reserve[:, mm.ZONE_NORMAL]
    return [Zone(zones[place], int(kept[place]), len(zones[place]) / total) for place in chosen]


class Target(NamedTuple):
    """How much of a machine is left."""

    usable: int
    """Pages: free and reclaimable memory for UNMOVABLE above the min watermark, page tables alive at the start not
    counted."""
    reclaimable: float
    """Share of the movable pages in use that reclaim can take; 0: it takes none, and they are only in the way."""
    fragmentation: Fragmentation

    def of_zone(self, zone: Zone, tables: int) -> tuple[int, int]:
        """Pages free, and pages in movable use, of a zone."""
        free_share = profiles.read("pressure")["free"]
        usable, reclaimable = self.usable * zone.share, (1 - free_share) * self.usable * zone.share
        movable = reclaimable / (self.reclaimable or 1)
        free = (free_share * usable if self.reclaimable else usable) + zone.kept + tables * zone.share
        return round(free), round(movable)

    def fits(self, zones: list[Zone], tables: int, size: int) -> bool:
        """Whether the machine is large enough."""
        for zone in zones:
            free, movable = self.of_zone(zone, tables)
            pages = len(zone.blocks) * size
            holes = free * self.fragmentation.unusable_9
            if free + movable > _MOST_FILLED * pages or holes > _MOST_HOLES * (pages - free + holes):
                return False
        return True


def pressed(start: InitialState, recorded: InitialState, demand: Demand, target: Target, seed: int) -> InitialState:
    """The machine with all its memory filled by seed, except for what the target leaves.

    Zones, watermarks, CPUs and direct map are those of `start`: the recorded machine, or one instead of it. The
    recorded machine says which page tables were alive, and what a page held that the recording frees.
    """
    old, random = start.allocator, np.random.default_rng(seed)
    tables = len(recorded.page_tables) + recorded.page_tables_elsewhere
    nodes = old.node_of_cpu
    new = page_allocator(len(old.kind), old.zones, start.geometry, old.features, len(nodes), nodes)
    new.wmark[:], new.lowmem_reserve[:] = old.wmark, old.lowmem_reserve
    new.zone_state[:, mm.MANAGED] = old.zone_state[:, mm.MANAGED]
    new.pcp[:] = old.pcp
    new.pcp[:, [mm.PCP_COUNT, mm.PCP_ALLOC_FACTOR, mm.PCP_FREE_COUNT, mm.PCP_FLAGS]] = 0
    new.block_type[:] = old.block_type
    for first, last, zone_class, _ in old.zones.tolist():
        mine = new.kind[first : last + 1]
        mine[:] = np.where(old.kind[first : last + 1] == mm.ON_PCP, mm.FREE, old.kind[first : last + 1])
        if zone_class <= mm.ZONE_NORMAL:
            types = old.block_type[np.arange(first, last + 1) >> old.pageblock_order]
            mine[(mine != mm.HOLE) & (types != CMA) & (types != ISOLATE)] = mm.USED + UNMOVABLE
    reclaimable = 0.0
    for zone in zones_to_fill(start):
        pages, movable = target.of_zone(zone, tables)
        reclaimable += movable * target.reclaimable
        all_movable = target.fragmentation.between == MOVABLE
        _fill(new, zone.blocks, pages, len(new.kind) if all_movable else movable, target.fragmentation, random)
    free = new.kind == mm.FREE
    new.kind[free] = mm.HOLE
    build_free_lists(new, free)
    order_free_lists(new, np.empty(0, np.int32), list_order(), random)
    state = replace(start, allocator=new, page_tables=recorded.page_tables[:0], page_tables_elsewhere=tables)
    state.stands_for = stand_ins(recorded, demand, new.kind, random)
    state.page_cache = None
    if target.fragmentation.between == MOVABLE:  # most of them are not what was to be reclaimable
        state.reclaimable = reclaimable / max(int((new.kind == mm.USED + MOVABLE).sum()), 1)
    return state


def _fill(
    allocator: PageAllocator,
    blocks: NDArray[np.int64],
    free: int,
    movable: int,
    fragmentation: Fragmentation,
    random: np.random.Generator,
) -> None:
    """Draw what uses the pages of some pageblocks, which are free, movable and unmovable pages in those numbers."""
    size = 1 << allocator.pageblock_order
    places = random.permutation(blocks)
    whole = int(free * (1 - fragmentation.unusable_9)) // size
    rest = places[whole:]
    used = np.full((len(rest), size), mm.USED + UNMOVABLE, np.uint8)
    small = free - whole * size
    for mine, order, chunks in _holes(small, len(rest), fragmentation, allocator.pageblock_order):
        slots = size >> order + 1
        slot = random.permutation(len(mine) * slots)[:chunks]
        first = (slot % slots << order + 1) + (random.integers(0, 2, len(slot)) << order)
        at = (slot // slots + mine.start) * size + first
        used.reshape(-1)[(at[:, None] + np.arange(1 << order)).ravel()] = mm.FREE
    missing = small - int((used == mm.FREE).sum())
    if missing > 0:  # from the last pageblock backwards; none gets free as a whole
        can_be_free = used != mm.FREE
        can_be_free[np.arange(len(used)), can_be_free.argmax(axis=1)] = False
        used.reshape(-1)[np.flatnonzero(can_be_free)[-missing:]] = mm.FREE
    order_of_blocks = random.permutation(len(rest) - 1)
    can_move = used[order_of_blocks] != mm.FREE
    mixed = random.random(len(order_of_blocks)) < fragmentation.mixed
    can_move[mixed, random.integers(0, _MIXED_EVERY) :: _MIXED_EVERY] = False
    until = np.cumsum(can_move.sum(axis=1))
    full = int(np.searchsorted(until, movable, side="right"))
    can_move[full + 1 :] = False
    if full < len(until):
        places_in = np.flatnonzero(can_move[full])
        can_move[full, places_in[movable - (int(until[full - 1]) if full else 0) :]] = False
    used[order_of_blocks] = np.where(can_move, mm.USED + MOVABLE, used[order_of_blocks])
    by_block = allocator.kind[: len(allocator.kind) // size * size].reshape(-1, size)
    by_block[places[:whole]] = mm.FREE
    by_block[rest] = used
    allocator.block_type[blocks] = UNMOVABLE
    allocator.block_type[places[:whole]] = MOVABLE
    allocator.block_type[rest[order_of_blocks[: full + (movable > 0)]]] = MOVABLE


def _holes(pages: int, blocks: int, fragmentation: Fragmentation, pageblock_order: int) -> list[tuple[range, int, int]]:
    """Free chunks below a pageblock: which blocks they lie in, by their order, and how many."""
    if not fragmentation.unusable_9:
        return []
    u2, u4, u9 = fragmentation.unusable_2, fragmentation.unusable_4, fragmentation.unusable_9
    classes = ((u2, range(2)), (u4 - u2, range(2, 4)), (u9 - u4, range(4, pageblock_order)))
    shares = [
        (order, share / u9 / len(orders))
        for share, every in classes
        if (orders := [order for order in every if order < pageblock_order])
        for order in orders
    ]
    ends = np.round(np.cumsum([0.0] + [share for _, share in shares]) * blocks).astype(int).tolist()
    return [
        (range(first, end), order, round(pages * share) >> order)
        for (order, share), first, end in zip(shares, ends, ends[1:], strict=False)
    ]


def unusable_index(allocator: PageAllocator, order: int) -> float | None:
    """Share of free memory in blocks too small for 2^order pages, over the zones that UNMOVABLE may use.

    unusable_free_index(), mm/vmstat.c (6.12), which is per zone; None without free memory.
    """
    mine = allocator.zones[:, mm.CLASS] <= mm.ZONE_NORMAL
    pages = allocator.nr_free[mine].sum(axis=0) << np.arange(allocator.max_order + 1)
    return 1 - float(pages[order:].sum()) / float(pages.sum()) if pages.sum() else None


def peak_net_demand(recorded: InitialState, demand: Demand) -> int:
    """The most pages that a recording ever has over what it began with; what it frees of that counts against it."""
    there = np.zeros(demand.pages + 1 + demand.moves, np.bool_)
    there[alive_at_start(recorded, demand)] = True
    return int(_peak(demand.program, there, np.int64(demand.pages + 1)))


@compiled
def _peak(program, there, first_moved):
    """Follow the pages in use, by name."""
    net = peak = np.int64(0)
    moved = first_moved
    for i in range(len(program.op)):
        op = program.op[i]
        if op == OUTSIDE_CHANGE:
            continue
        if op == MOVE:
            there[moved] = there[program.pfn[i]]
            there[program.pfn[i]] = False
            moved += 1
            continue
        for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
            net += np.int64(op == ALLOC) - np.int64(there[page])
            there[page] = op == ALLOC
        peak = max(peak, net)
    return peak
