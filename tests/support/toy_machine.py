"""A machine of 4-entry tables, small enough to look at, and programs for it written by hand."""

import numpy as np

from ptpool.vocabulary import CONSUMERS
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, FREE_EVENT, OUTSIDE_CHANGE, RECLAIMED, Program
from replay.kernel import direct_map as maps
from replay.kernel import mmzone
from replay.kernel.buddy import build_free_lists
from replay.kernel.geometry import Geometry
from replay.kernel.gfp import GFP_KERNEL, WAKES_KSWAPD
from replay.machine.machine import Machine
from replay.machine.state import State
from replay.start.recorded_machine import InitialState

TOY = Geometry(page_shift=12, table_shift=2, pageblock_order=2, max_order=3)
"""Four entries per table."""

PGTABLE = CONSUMERS.index("pgtable_user")
OTHER = CONSUMERS.index("other")
SECRET = CONSUMERS.index("secret")
KSTACK = CONSUMERS.index("kstack")
KERNEL = GFP_KERNEL & ~WAKES_KSWAPD


def machine_of(pages=256, *, level=maps.PUD, free=None, geometry=TOY, tables=(), cpus=2, types=None) -> InitialState:
    """A machine whose direct map is all of one level and whose pages are free unless said."""
    zones = np.array([[0, pages - 1, mmzone.ZONE_NORMAL, 0]], np.int64)
    a = mmzone.page_allocator(pages, zones, geometry, cpus=cpus)
    if types is not None:
        a.block_type[: len(types)] = types
    mask = np.ones(pages, np.bool_) if free is None else np.asarray(free, np.bool_)
    a.kind[:] = mmzone.USED + 1
    a.kind[list(tables)] = mmzone.USED
    mask[list(tables)] = False
    build_free_lists(a, mask)
    return InitialState(
        arch="x86_64",
        cpus=cpus,
        geometry=geometry,
        allocator=a,
        mapped=np.ones(pages, np.bool_),
        level=np.full(pages >> geometry.table_shift, level, np.uint8),
        page_tables=np.array(sorted(tables), np.int64),
    )


def demand_of(events, pages=4096, *, tasks=None) -> Demand:
    """A demand from rows ``(op, recorded page, order, consumer)``, one microsecond apart; op is alloc, free, reclaim or change.

    All of one task, unless said which.
    """
    codes = {
        "alloc": ALLOC,
        "free": FREE_EVENT,
        "change": OUTSIDE_CHANGE,
        "reclaim": RECLAIMED,
    }
    rows = [(codes[op], pfn, order, consumer) for op, pfn, order, consumer in events]
    columns = np.array(rows, np.int64).reshape(-1, 4)
    program = Program(
        op=columns[:, 0].astype(np.uint8),
        ts=np.arange(len(rows), dtype=np.int64) * 1000,
        pfn=columns[:, 1].copy(),
        order=columns[:, 2].astype(np.int8),
        migratetype=np.where(columns[:, 3] == OTHER, 1, 0).astype(np.uint8),
        context=np.where(
            columns[:, 0] == OUTSIDE_CHANGE, 0, np.where(columns[:, 3] == PGTABLE, GFP_KERNEL, KERNEL)
        ).astype(np.uint16),
        consumer=columns[:, 3].astype(np.uint8),
        cpu=np.zeros(len(rows), np.int16),
        task=np.array(tasks if tasks is not None else [0] * len(rows), np.int32),
    )
    return Demand(program, 0, max(len(rows), 1) * 1000, pages, np.full(pages, -1, np.int8), max(tasks or [0]) + 1, {})


def tables(count):
    """Events that ask for so many page tables."""
    return [("alloc", page, 0, PGTABLE) for page in range(count)]


def finished(start, demand, strategy, reclaim="none") -> Machine:
    """A machine after its replay."""
    machine = Machine(State(start, demand, strategy, reclaim))
    machine.replay()
    return machine


def toy_geometry(pageblock_order=2, max_order=3) -> Geometry:
    return Geometry(table_shift=2, pageblock_order=pageblock_order, max_order=max_order)
