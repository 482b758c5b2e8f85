"""The memory of a machine as flat arrays: nodes, zones, free areas, per-CPU pagesets (include/linux/mmzone.h, 6.12)."""

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.vocabulary import MIGRATETYPES, MOVABLE
from replay.kernel.geometry import Geometry
from replay.kernel.lists import new_links

TYPES = len(MIGRATETYPES)
PCPTYPES = 3
"""MIGRATE_PCPTYPES: types below it have per-CPU lists and merge with each other."""

# The kind of a page. A page in use has kind USED + migratetype.
HOLE, FREE, ON_PCP = 0, 1, 2
USED = 3
CALLER_KINDS = USED + TYPES
"""Kinds from here on belong to the caller, for its own pages in use. The page allocator never sets them."""

ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE = range(4)
FIRST_PFN, LAST_PFN, CLASS, NODE = range(4)  # columns of PageAllocator.zones
WMARK_MIN, WMARK_LOW, WMARK_HIGH = range(3)

# Columns of PageAllocator.zone_state.
MANAGED, FREE_CMA, FREE_HIGHATOMIC, RESERVED_HIGHATOMIC, BOOST, BOOSTED, BELOW_HIGH, BARREN = range(8)
ZONE_STATE = 8
"""BARREN: the share of movable pages for which reclaim found too few, until another comes into use (compaction.py)."""

# Columns of PageAllocator.pcp, one row per zone and CPU: struct per_cpu_pages.
PCP_COUNT, PCP_HIGH, PCP_HIGH_MIN, PCP_HIGH_MAX, PCP_BATCH, PCP_ALLOC_FACTOR, PCP_FREE_COUNT, PCP_FLAGS = range(8)

EXTFRAG, REFILLED, DRAINED, KSWAPD = range(4)
"""Places in PageAllocator.counts: fallbacks, pages to and from per-CPU lists; KSWAPD + order: wake-ups by order."""

NOW, VMSTAT_DUE, KSWAPD_DUE, BALANCE_DUE, WOKEN_ORDER, WOKEN_CLASS = range(6)
"""Places in PageAllocator.clock: times, and what kswapd was woken for (pgdat->kswapd_order, kswapd_highest_zoneidx)."""
NEVER = np.iinfo(np.int64).max

CLAIM_STEAL, STEAL_SUITABLE, MOVE_BLOCK = range(3)
"""Generations of fallback, newest first: see replay.kernel.fallback."""


class Features(NamedTuple):
    """Differences between kernels, by feature and not by version. Which kernel has what: ``profiles/kernels.toml``."""

    fallback: int = CLAIM_STEAL
    """CLAIM_STEAL, STEAL_SUITABLE or MOVE_BLOCK."""
    pcp_auto: bool = True
    """Per-CPU lists adjust their `high` and batch themselves (pcp->high_min, high_max, alloc_factor, free_count)."""
    pcp_order: int = 3
    """Orders up to this one have per-CPU lists: PAGE_ALLOC_COSTLY_ORDER."""
    pcp_thp: int = 2
    """Per-CPU lists for huge pages (NR_PCP_THP): 2, one of them for MOVABLE; 1 for all; or 0."""
    watermark_boost_factor: int = 15000
    """vm.watermark_boost_factor, of 10000; 0: no boost."""
    kswapd_ns: int = 10_000_000
    """Time from a boost of the watermarks until kswapd takes it back, and from a wake-up until kswapd has run, ns."""
    superpageblock_order: int = 0
    """Order of the aligned blocks in which pageblocks of unmovable pages are gathered; 0: no such rule, as in every
    kernel. "mm: reliable 1GB page allocation", RFC, 2026-05-20: that of a PUD."""


class PageAllocator(NamedTuple):
    """Page states, free lists and per-CPU lists of one machine. Pages are indexed by page frame number.

    Shapes: ``P`` pages, ``B`` pageblocks, ``Z`` zones in ascending order of address, ``N`` nodes, ``C`` CPUs,
    ``O`` orders, ``T`` types.
    """

    link: NDArray[np.int32]  # (P + heads, 2) see replay.kernel.lists; with the caller's lists at the end
    order: NDArray[np.int8]  # (P,) order of the free block that starts here, -1 elsewhere
    kind: NDArray[np.uint8]  # (P,) kind of the page
    block_type: NDArray[np.uint8]  # (B,) migratetype of the pageblock
    nr_free: NDArray[np.int64]  # (Z, O) free blocks of all types: free_area[].nr_free
    free_pages: NDArray[np.int64]  # (Z,) NR_FREE_PAGES
    zones: NDArray[np.int64]  # (Z, 4) FIRST_PFN, LAST_PFN, CLASS, NODE
    zone_state: NDArray[np.int64]  # (Z, ZONE_STATE)
    wmark: NDArray[np.int64]  # (Z, 3) min, low, high watermark, without boost
    lowmem_reserve: NDArray[np.int64]  # (Z, 4) pages withheld from requests of each zone class
    zonelist: NDArray[np.int64]  # (N, Z) zones in the order that requests from a node try them
    nofragment: NDArray[np.bool_]  # (N,) requests use a zone below NORMAL before they mix pageblocks
    node_of_cpu: NDArray[np.int64]  # (C,)
    pcp: NDArray[np.int64]  # (Z * C, 8) struct per_cpu_pages, row zone * C + CPU
    counts: NDArray[np.int64]  # EXTFRAG, REFILLED, DRAINED, then KSWAPD by order
    clock: NDArray[np.int64]  # NOW, VMSTAT_DUE, KSWAPD_DUE, BALANCE_DUE, ns; WOKEN_ORDER, WOKEN_CLASS
    features: Features
    pageblock_order: int
    max_order: int
    huge_order: int  # HPAGE_PMD_ORDER


def page_allocator(
    pages: int,
    zones: NDArray[np.int64],
    geometry: Geometry,
    features: Features | None = None,
    cpus: int = 1,
    node_of_cpu: NDArray[np.int64] | None = None,
) -> PageAllocator:
    """An allocator whose pages are all holes, with watermarks of 0 and per-CPU lists that hold nothing.

    Args:
        pages: page frame numbers run from 0 to this, exclusive.
        zones: (Z, 4) first pfn, last pfn, zone class, node, ascending.
        geometry: orders.
        features: of the kernel; the newest by default.
        cpus: number of CPUs.
        node_of_cpu: (cpus,) node of each; all on node 0 by default.

    Raises:
        ValueError: zones overlap, do not ascend, or reach beyond the pages: compiled code would write elsewhere.
    """
    first, last = zones[:, FIRST_PFN], zones[:, LAST_PFN]
    if (first < 0).any() or (last < first).any() or (last >= pages).any() or (first[1:] <= last[:-1]).any():
        raise ValueError(f"zones {zones.tolist()} do not lie apart, in order, within {pages} pages")
    features = features or Features()
    orders = geometry.max_order + 1
    pcps = len(zones) * cpus
    heads = len(zones) * orders * TYPES + pcps * pcp_lists(features)
    pcp = np.zeros((pcps, 8), np.int64)
    pcp[:, PCP_BATCH] = 1
    return PageAllocator(
        link=new_links(0, pages + heads),
        order=np.full(pages, -1, np.int8),
        kind=np.zeros(pages, np.uint8),
        block_type=np.full((pages >> geometry.pageblock_order) + 1, MOVABLE, np.uint8),
        nr_free=np.zeros((len(zones), orders), np.int64),
        free_pages=np.zeros(len(zones), np.int64),
        zones=zones,
        zone_state=np.zeros((len(zones), ZONE_STATE), np.int64),
        wmark=np.zeros((len(zones), 3), np.int64),
        lowmem_reserve=np.zeros((len(zones), 4), np.int64),
        zonelist=build_zonelists(zones),
        nofragment=_nofragment(zones),
        node_of_cpu=np.zeros(cpus, np.int64) if node_of_cpu is None else node_of_cpu,
        pcp=pcp,
        counts=np.zeros(KSWAPD + orders, np.int64),
        clock=np.array([0, NEVER, NEVER, NEVER, 0, 0], np.int64),
        features=features,
        pageblock_order=geometry.pageblock_order,
        max_order=geometry.max_order,
        huge_order=geometry.table_shift,
    )


def with_lists(a: PageAllocator, lists: int) -> PageAllocator:
    """A copy of an allocator with more lists, empty ones for the caller; their heads are the last of its links."""
    own = copy.deepcopy(a._replace(link=a.link[:0]))
    return own._replace(link=np.concatenate([a.link, new_links(len(a.link), len(a.link) + lists)]))


def pcp_lists(features: Features) -> int:
    """NR_PCP_LISTS."""
    return PCPTYPES * (features.pcp_order + 1) + features.pcp_thp


def build_zonelists(zones: NDArray[np.int64]) -> NDArray[np.int64]:
    """mm/page_alloc.c:build_zonelists(): highest zone first; the own node, then those after it, then those before it.

    This is the order of find_next_best_node() when all distances between nodes are equal.
    """
    nodes = int(zones[:, NODE].max(initial=0)) + 1
    rows = []
    for node in range(nodes):
        away = (zones[:, NODE] - node) % nodes
        rows.append(np.lexsort((-zones[:, FIRST_PFN], -zones[:, CLASS], away)))
    return np.array(rows, np.int64)


def _nofragment(zones: NDArray[np.int64]) -> NDArray[np.bool_]:
    """alloc_flags_nofragment(): always on one node; on several, where the node has a DMA32 zone."""
    nodes = int(zones[:, NODE].max(initial=0)) + 1
    with_dma32 = zones[zones[:, CLASS] == ZONE_DMA32, NODE]
    return np.array([nodes == 1 or node in with_dma32 for node in range(nodes)])


@compiled
def zone_of(a, pfn):
    """Index of the zone that holds a page, -1 outside all zones."""
    for zone in range(len(a.zones)):
        if a.zones[zone, FIRST_PFN] <= pfn <= a.zones[zone, LAST_PFN]:
            return zone
    return -1


@compiled
def free_list(a, zone, order, migratetype):
    """Head of free_area[order].free_list[migratetype]."""
    return len(a.kind) + (zone * (a.max_order + 1) + order) * TYPES + migratetype


@compiled
def pcp_list(a, pcp, pindex):
    """Head of a list of per-CPU pages: `pcp` is the row of PageAllocator.pcp, `pindex` the list's place in it."""
    lists = PCPTYPES * (a.features.pcp_order + 1) + a.features.pcp_thp
    return len(a.kind) + len(a.zones) * (a.max_order + 1) * TYPES + pcp * lists + pindex


@compiled
def block_type_of(a, pfn):
    """get_pfnblock_migratetype()."""
    return np.int64(a.block_type[pfn >> a.pageblock_order])


@compiled
def mark(a, pfn, order, kind):
    """Set the kind of 2^order pages."""
    for page in range(pfn, pfn + (1 << order)):
        a.kind[page] = kind
