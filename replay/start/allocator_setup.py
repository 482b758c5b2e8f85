"""The page allocator of the recorded kernel: which rules it had, and its per-CPU lists before the first event."""

import re
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import HIGHATOMIC, UNMOVABLE
from replay import profiles
from replay.demand.demand import Demand
from replay.demand.program import ALLOC
from replay.kernel import mmzone as mm
from replay.kernel.mmzone import Features, PageAllocator
from replay.kernel.per_cpu import fill_pcp
from replay.start.zones import Zones

_FALLBACK = {"claim": mm.CLAIM_STEAL, "suitable": mm.STEAL_SUITABLE, "move": mm.MOVE_BLOCK}


def features_of(release: str | None, pagesets: "Pagesets", assumptions: list[str]) -> Features:
    """Features of a kernel, by its release (`uname -r`).

    Its zoneinfo also shows features that a stable kernel may have backported. What is assumed goes to `assumptions`.
    """
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release or "")
    if match is None:
        assumptions.append("The kernel release was not recorded: its page allocator is taken to be the newest known.")
        return Features()
    here = tuple(int(part or 0) for part in match.groups())
    values: dict[str, Any] = {}
    for change in profiles.read("kernels")["change"]:
        if tuple(int(part) for part in change["from"].split(".")) <= here or not values:
            values |= {name: value for name, value in change.items() if name not in ("from", "source")}
    if any(name == "high_min" for recorded in pagesets.values() for _, name in recorded):
        values["pcp_auto"] = True
    assumptions.append(
        f'Page allocator as in Linux {match[0]}, chosen by its release: fallback "{values["fallback"]}", per-CPU lists '
        f"of orders 0 to {values['pcp_order']}{' and huge pages' if values['pcp_thp'] else ''}."
    )
    values["fallback"] = _FALLBACK[values["fallback"]]
    return Features(**values)


def nodes_of(zones: NDArray[np.int64], cpus: int, assumptions: list[str]) -> NDArray[np.int64]:
    """(cpus,) node of each CPU: no file of a capture says, so CPUs are dealt out evenly to the nodes."""
    nodes = int(zones[:, mm.NODE].max(initial=0)) + 1
    if nodes > 1:
        assumptions.append(f"{nodes} nodes: which CPUs belong to which is not recorded; they are dealt out in order.")
    return np.arange(cpus, dtype=np.int64) * nodes // cpus


def zone_batchsize(managed: int, page_shift: int) -> int:
    """mm/page_alloc.c:zone_batchsize() (6.12)."""
    batch = max(min(managed >> 10, (1 << 20) >> page_shift) // 4, 1)
    return max((1 << (batch + batch // 2).bit_length() - 1) - 1, 1)


Pagesets = dict[tuple[int, str], dict[tuple[int, str], int]]
"""zoneinfo's pagesets: by node and zone, then by CPU and name, such as `high` and `batch`."""


def read_pagesets(connection: duckdb.DuckDBPyConnection, capture_id: str, moment: str) -> Pagesets:
    """What zoneinfo says of the per-CPU lists; empty without it."""
    rows = connection.execute(
        "SELECT node, zone, cpu, name, value FROM pageset WHERE capture_id = ? AND moment = ?", [capture_id, moment]
    ).fetchall()
    found: Pagesets = {}
    for node, zone, cpu, name, value in rows:
        found.setdefault((node, zone), {})[cpu, name] = value
    return found


def set_up_zones(zones: Zones, allocator: PageAllocator, pagesets: Pagesets, page_shift: int) -> None:
    """Managed pages, limits of the per-CPU lists, and pageblocks reserved for high-order atomic requests of each zone.

    Limits after zone_set_pageset_high_and_batch() (6.12), where zoneinfo does not say them. Watermarks and pageblock
    types have to be set. Without zoneinfo there is one zone, of all pages.
    """
    rows = [((row.node, row.zone), row.managed) for row in zones.rows]
    rows = rows or [((0, ""), int((allocator.kind != mm.HOLE).sum()))]
    cpus, shift = len(allocator.node_of_cpu), allocator.pageblock_order
    for zone, (place, managed) in enumerate(rows):
        recorded = pagesets.get(place, {})
        own = int((allocator.node_of_cpu == allocator.zones[zone, mm.NODE]).sum()) or cpus
        for cpu in range(cpus):
            row = allocator.pcp[zone * cpus + cpu]
            batch = max(recorded.get((cpu, "batch"), 1), zone_batchsize(managed, page_shift))
            row[mm.PCP_BATCH] = batch
            row[mm.PCP_HIGH_MIN] = recorded.get(
                (cpu, "high_min"), max(allocator.wmark[zone, mm.WMARK_LOW] // own, 4 * batch)
            )
            row[mm.PCP_HIGH_MAX] = recorded.get((cpu, "high_max"), max(managed // 8 // own, 4 * batch))
            row[mm.PCP_HIGH] = max(recorded.get((cpu, "high"), 0), row[mm.PCP_HIGH_MIN])
        first, last = allocator.zones[zone, mm.FIRST_PFN] >> shift, allocator.zones[zone, mm.LAST_PFN] >> shift
        reserved = int((allocator.block_type[first : last + 1] == HIGHATOMIC).sum())
        allocator.zone_state[zone, mm.MANAGED] = managed
        allocator.zone_state[zone, mm.RESERVED_HIGHATOMIC] = reserved << shift


def fill_from_trace(
    allocator: PageAllocator, tables: NDArray[np.int64], demand: Demand, assumptions: list[str]
) -> None:
    """Pages that seem in use by the snapshot, but that the trace allocates first: they lay on per-CPU lists.

    Each goes to the lists of the CPU that allocates it, in the order in which they are allocated. Page tables alive,
    `tables`, are on no list. The allocator has its free lists.
    """
    program = demand.program
    single = np.flatnonzero((program.op == ALLOC) & (program.order == 0))
    pages, first = np.unique(program.pfn[single], return_index=True)
    event = single[first]
    waiting = (demand.first_seen[pages] == 1) & (allocator.kind[pages] == mm.USED + UNMOVABLE) & ~np.isin(pages, tables)
    pages, event = pages[waiting], event[waiting]
    in_order = np.argsort(event)
    pages, cpu = pages[in_order], program.cpu[event[in_order]]
    for each in np.unique(cpu):
        fill_pcp(allocator, int(each), pages[cpu == each])
    if len(pages):
        assumptions.append(
            f"{len(pages):,} pages were neither free nor in use before the recording, since it allocates them first: "
            "they start on the per-CPU lists of the CPUs that allocate them."
        )
