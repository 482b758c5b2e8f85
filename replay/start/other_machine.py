"""A machine of another size, age or page size than the recorded one: what is in use at the start is drawn by seed.

Profiles: profiles/machines.toml. Memory has no holes; zones and watermarks follow the rules of the kernel
(calculate_min_free_kbytes(), __setup_per_zone_wmarks(), setup_per_zone_lowmem_reserve() in mm/page_alloc.c and
set_recommended_min_free_kbytes() in mm/khugepaged.c, 6.18).
"""

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from ptpool.vocabulary import MOVABLE, UNMOVABLE
from replay import profiles
from replay.demand.demand import Demand
from replay.demand.program import ALLOC
from replay.kernel.buddy import build_free_lists
from replay.kernel.geometry import X86_64, Geometry, geometry_of
from replay.kernel.leaves import PMD, PTE, PUD
from replay.kernel.mmzone import CLAIM_STEAL, USED, page_allocator
from replay.start.allocator_setup import nodes_of, set_up_zones
from replay.start.checks import check_size
from replay.start.free_list_order import RECORDED_ORDER, list_order, order_free_lists
from replay.start.recorded_machine import InitialState
from replay.start.zones import ZONE_CLASS, Zone, Zones, zone_arrays

RECORDED = "recorded"
_UNITS = {"M": 20, "G": 30, "T": 40}
_LEAST = 64 << 20
_SUPERPAGEBLOCKS = (
    "Superpageblocks: unmovable pages start in as few blocks of the size of a PUD (1G with 4K pages) as hold them, and "
    'requests that take a pageblock over look for one in such a block, among the first eight of a list ("mm: reliable '
    '1GB page allocation", RFC, 2026-05-20, patch 11 of 40). Not modelled: lists for each of these blocks, the worker '
    "that moves movable pages out of them, and that movable requests keep away from them."
)
"""What is said of a machine that gathers unmovable pages."""


class Profile(NamedTuple):
    """A machine before the first event: its memory in bytes, shares of it in use, and how that is spread."""

    name: str
    size: int
    movable: float
    unmovable: float
    fragmentation: float
    geometry: Geometry | None = None
    """Page size and tables; None: those of the recorded machine, as its direct map's leaves."""
    in_blocks: bool = True
    """With a geometry: whether the direct map is in the largest leaves, or in pages only."""
    superpageblocks: bool = False
    """Whether the kernel gathers unmovable pages in few blocks of the size of a PUD."""


def profile_of(name: str) -> Profile | None:
    """The profile of that name, or of a new machine of that size; None: the recorded machine.

    Raises:
        UsageError: neither a name nor a size.
    """
    if name == RECORDED:
        return None
    known = profiles.read("machines")
    fields = dict(known.get(name, {}))
    text = str(fields.pop("size", name))
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([MGT])", text)
    if match is None:
        named = ", ".join(sorted(each for each, values in known.items() if "size" in values))
        remedy = f"choose {RECORDED}, a size such as 8G, or one of: {named}"
        raise UsageError(f"--machine {name}: no such machine", remedy)
    size = int(float(match[1]) * (1 << _UNITS[match[2]])) >> 22 << 22
    if size < _LEAST:
        raise UsageError(f"--machine {name}: too small", "the smallest machine that is simulated has 64M")
    geometry = geometry_of(fields.pop("arch"), fields.pop("page_kib") << 10) if "arch" in fields else None
    in_blocks = fields.pop("map", "blocks") == "blocks"
    return Profile(name, size, **(fields or known["fresh"]), geometry=geometry, in_blocks=in_blocks)


def pages_of(profile: Profile, page_shift: int) -> int:
    """How many pages the machine has; `page_shift` is the recorded machine's."""
    return profile.size >> (page_shift if profile.geometry is None else profile.geometry.page_shift)


def check_memory(profile: Profile, page_shift: int, jobs: int) -> None:
    """Refuse a machine whose arrays, for that many replays at a time, do not fit into the memory of this one.

    Raises:
        UsageError: they do not; `page_shift` is the recorded machine's.
    """
    remedy = "take a smaller machine, or fewer replays at a time (--jobs 1)"
    check_size(pages_of(profile, page_shift), jobs, f"--machine {profile.name}", remedy)


def other_machine(
    profile: Profile, recorded: InitialState, demand: Demand, seed: int, free_list_order: str = RECORDED_ORDER
) -> InitialState:
    """Build a machine that the recorded processes can run on, before the first event.

    From the recorded machine come its architecture, CPUs, kernel, page tables alive, and what a page held that the
    recording frees. Everything else is drawn by seed.

    Raises:
        UsageError: there is no such order of free lists.
    """
    random = np.random.default_rng(seed)
    geometry = profile.geometry or recorded.geometry
    arch = geometry.arch
    geometry = geometry._replace(max_order=max(geometry.max_order, _largest_request(demand)))
    pages = profile.size >> geometry.page_shift
    zones = _zones(pages, geometry)
    leaves = "in the largest leaves" if profile.in_blocks else "in single pages"
    assumptions = [
        f"A machine of {profile.size >> 20:,} MiB ({profile.name}) instead of the recorded one: {profile.movable:.0%} "
        f"in movable and {profile.unmovable:.0%} in unmovable use before the first event, fragmentation "
        f"{profile.fragmentation:g}, placed by seed {seed}; memory without holes, direct map {leaves}."
    ]
    if (geometry.page_shift, geometry.arm64) != (recorded.geometry.page_shift, recorded.geometry.arm64):
        assumptions += _of_another_granule(arch, geometry, recorded)
    bounds, wmark, reserve = zone_arrays(zones, pages, assumptions)
    cpus = len(recorded.allocator.node_of_cpu)
    nodes = nodes_of(bounds, cpus, assumptions)
    features = recorded.allocator.features
    if profile.superpageblocks:
        features = features._replace(fallback=CLAIM_STEAL, superpageblock_order=geometry.pud_pages.bit_length() - 1)
        assumptions.append(_SUPERPAGEBLOCKS)
    allocator = page_allocator(pages, bounds, geometry, features, cpus, nodes)
    allocator.wmark[:], allocator.lowmem_reserve[:] = wmark, reserve
    allocator.kind[:] = _in_use(profile, allocator.block_type, pages, geometry, random)
    build_free_lists(allocator, allocator.kind == 0)
    assumptions += order_free_lists(allocator, np.empty(0, np.int32), list_order(free_list_order), random)
    set_up_zones(zones, allocator, {}, geometry.page_shift)
    mapped = np.ones(pages, np.bool_)
    level = _direct_map(_largest_leaf(profile, recorded), pages, geometry)
    state = InitialState(
        arch, recorded.cpus, geometry, allocator, mapped, level, np.empty(0, np.int64), assumptions=assumptions
    )
    state.page_tables_known, state.page_cache = recorded.page_tables_known, recorded.page_cache
    state.page_tables_elsewhere = len(recorded.page_tables) + recorded.page_tables_elsewhere
    assumptions.append(
        f"{state.page_tables_elsewhere:,} pages of page tables alive at the start, as on the recorded machine, are "
        "allocated again before the first event and never freed."
    )
    state.stands_for = stand_ins(recorded, demand, allocator.kind, random)
    return state


def _largest_request(demand: Demand) -> int:
    """Order of the largest block that the recording asks for: its kernel may have had larger ones than this machine."""
    return int(demand.program.order[demand.program.op == ALLOC].max(initial=0))


def _zones(pages: int, geometry: Geometry) -> Zones:
    """Zones of a machine with one node, with their watermarks."""
    four_gib = (4 << 30) >> geometry.page_shift
    dma = [("DMA", four_gib)] if geometry.arm64 else [("DMA", four_gib // 256), ("DMA32", four_gib)]
    edges, first = [], 0
    for name, end in [*dma, ("Normal", pages)]:
        if first < min(end, pages):
            edges.append((name, first, min(end, pages) - 1))
            first = min(end, pages)
    kilobytes = pages << geometry.page_shift - 10
    least = min(max(math.isqrt(16 * kilobytes), 128), 262_144) >> geometry.page_shift - 10
    recommended = (len(edges) * 11) << geometry.pageblock_order
    least = max(least, min(recommended, pages // 20))
    rows = []
    for place, (name, first, last) in enumerate(edges):
        managed = last - first + 1
        low = least * managed // pages
        step = max(low // 4, managed // 1000)
        protection = [0] * 4
        for above, _, end in edges[place + 1 :]:
            protection[ZONE_CLASS[above]] = (end - last) // 256
        protection[ZONE_CLASS["Movable"]] = max(protection)
        rows.append(Zone(0, name, first, last, low, low + step, low + 2 * step, managed, protection))
    return Zones(rows)


def _in_use(
    profile: Profile, block_type: NDArray[np.uint8], pages: int, geometry: Geometry, random: np.random.Generator
) -> NDArray[np.uint8]:
    """(P,) what uses each page, 0 where it is free; sets the types of the pageblocks.

    With fragmentation f, half of f times the free memory lies between unmovable pages, and as much between movable.
    With superpageblocks, those of unmovable pages fill one after the other; movable pages lie anywhere in the rest.
    """
    size = 1 << geometry.pageblock_order
    blocks = pages // size
    between = profile.fragmentation * (1 - profile.movable - profile.unmovable) / 2
    places = random.permutation(blocks)
    if profile.superpageblocks:
        of = places // (geometry.pud_pages >> geometry.pageblock_order)
        gathered = places[np.argsort(random.permutation(of.max() + 1)[of], kind="stable")]
        unmovable = round((profile.unmovable + between) * blocks)
        places = np.concatenate((gathered[:unmovable], random.permutation(gathered[unmovable:])))
    kind = np.zeros(pages, np.uint8)
    at = 0
    for share, migratetype in ((profile.unmovable, UNMOVABLE), (profile.movable, MOVABLE)):
        mine = places[at : at + round((share + between) * blocks)]
        at += len(mine)
        block_type[mine] = migratetype
        for part in np.array_split(mine, len(mine) // 8192 + 1):
            used = random.random((len(part), size), dtype=np.float32) < share / (share + between)
            kind[: blocks * size].reshape(-1, size)[part] = np.where(used, USED + migratetype, 0)
    return kind


def _of_another_granule(arch: str, geometry: Geometry, recorded: InitialState) -> list[str]:
    """What a recording says of a machine with other tables, and what it does not."""
    here, there = (f"{g.leaf_name(PTE)} pages" for g in (geometry, recorded.geometry))
    said = [
        f"Recorded with {there} ({recorded.arch}), replayed with {here} ({arch}): each request keeps its order, each "
        "table is one page, as if the kernel had asked for as many pages. A kernel with larger pages asks for fewer "
        "pages and tables: such a run shows effects of the direct map, not how much memory this load takes. Orders in "
        f"a strategy's parameters count these pages: {geometry.pageblock_order} is a leaf of {geometry.leaf_name(PMD)}."
    ]
    if geometry.page_shift != X86_64.page_shift:
        said.append(
            f"The direct map of {arch} with {here} is unvalidated: its rules were read, not compared with a kernel."
        )
    return said


def _largest_leaf(profile: Profile, recorded: InitialState) -> int:
    """Level of the largest leaf of the direct map: where the profile does not say, the recorded machine's."""
    if profile.geometry is None:
        return int(recorded.level.max(initial=PTE))
    return (PUD if profile.geometry.pud_leaf else PMD) if profile.in_blocks else PTE


def _direct_map(largest: int, pages: int, geometry: Geometry) -> NDArray[np.uint8]:
    """(M,) levels: the largest leaves that fit; x86 boots with the first 2M in 4K pages, the rest of that 1G in 2M.

    arm64 maps every memory block in the largest leaves (arch/arm64/mm/mmu.c:__map_memblock(), 6.18).
    """
    level = np.full(-(-pages // geometry.pmd_pages), largest, np.uint8)
    per_pud = geometry.pud_pages // geometry.pmd_pages
    whole = len(level) // per_pud * per_pud
    level[whole:] = np.minimum(level[whole:], PMD)
    if not geometry.arm64:
        level[:per_pud] = np.minimum(level[:per_pud], PMD)
        level[0] = PTE
    return level


def alive_at_start(recorded: InitialState, demand: Demand) -> NDArray[np.int64]:
    """Recorded pages that the recording frees without having allocated them, page tables apart, ascending."""
    alive = np.flatnonzero(demand.first_seen == 0)
    return np.setdiff1d(alive[alive < len(recorded.allocator.kind)], recorded.page_tables)


def stand_ins(
    recorded: InitialState, demand: Demand, kind: NDArray[np.uint8], random: np.random.Generator
) -> NDArray[np.int32]:
    """(demand.pages,) the simulated page that stands for each recorded page alive at the start, -1 for the others."""
    stands_for = np.full(demand.pages, -1, np.int32)
    alive = alive_at_start(recorded, demand)
    for migratetype in (UNMOVABLE, MOVABLE):
        mine = alive[(recorded.allocator.kind[alive] == USED + MOVABLE) == (migratetype == MOVABLE)]
        there = np.flatnonzero(kind == USED + migratetype)
        chosen = random.choice(there, min(len(mine), len(there)), replace=False, shuffle=False)
        stands_for[mine[: len(chosen)]] = chosen
    return stands_for
