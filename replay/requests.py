"""What becomes of an event that the compiled loop cannot serve: decisions in which the strategy's are embedded.

Each is a generator like a strategy's own: it yields actions, is suspended while they take time, and ends by putting
what was asked for in its place.
"""

from typing import TYPE_CHECKING

from ptpool.vocabulary import UNMOVABLE
from replay import stretch
from replay.actions import Change, Chunk, Decision, Wait
from replay.kernel import direct_map as maps
from replay.kernel.fallback import unreserve_highatomic
from replay.kernel.gfp import GFP_KERNEL, MAY_RECLAIM, MEMALLOC
from replay.kernel.page_alloc import alloc_pages, alloc_pages_after_reclaim
from replay.kernel.per_cpu import drain_all_pages
from replay.schedule import DeadlockError

if TYPE_CHECKING:
    from replay.machine import Machine

CAUSES = ("ptp", "refill", "shrink", "outside", "warm_up")
"""Why the direct map was split; a cause's place in this tuple is its code in the log."""
WARM_UP = CAUSES.index("warm_up")

FLAGS = ("kswapd", "compact_async", "reclaim", "compact_sync", "oom_kill", "null")
COSTLY_ORDER = 3
"""PAGE_ALLOC_COSTLY_ORDER: above it the kernel reclaims once and gives up instead of killing."""

_REFILL_TRIES = 8
"""Refills for one request before it counts as refused: each refill yields at least a page more than it costs."""


def table_from_pool(machine: "Machine", recorded: int, order: int) -> Decision:
    """Serve a page table from the pool: refill until it can, or until the strategy refuses."""
    pfn = machine.take_above_reserve(order)
    for _ in range(_REFILL_TRIES):
        if pfn >= 0:
            break
        served = yield from _unless_deadlocked(machine, machine.strategy.refill(machine.view, order))
        if served is None:
            break
        pfn = served.pfn if isinstance(served, Chunk) else machine.take_above_reserve(order)
    if pfn < 0:
        machine.incident("ptp_null", order, "the pool is empty and cannot be refilled")
        machine.unplaced()
        return
    a, d, t = machine.allocator, machine.direct_map, machine.tally
    stretch.place_table_of_pool(a, d, t, recorded, pfn, order, machine.now, machine.cause)
    stretch.count_allocation(machine.direct_map, machine.tally, pfn)


def constructed_table(machine: "Machine", recorded: int, pfn: int, order: int) -> Decision:
    """Let the strategy set the key of a page table whose page lies under a large leaf."""
    keyed = yield from _unless_deadlocked(machine, machine.strategy.construct(machine.view, Chunk(pfn, order)))
    machine.place_constructed(recorded, pfn, order, keyed=bool(keyed))


def new_table(machine: "Machine", recorded: int, order: int) -> Decision:
    """The same for one whose pages the compiled loop has just got."""
    pfn = int(machine.tally.counts[stretch.NEW_TABLE])
    return _new_table(machine, recorded, pfn, order)


def _new_table(machine: "Machine", recorded: int, pfn: int, order: int) -> Decision:
    yield from constructed_table(machine, recorded, pfn, order)
    stretch.count_allocation(machine.direct_map, machine.tally, pfn)


def table_from_page_allocator(machine: "Machine", recorded: int) -> Decision:
    """A page table alive at the start of which only the existence is known."""
    if (pfn := (yield from pages(machine, 0))) >= 0:
        yield from table_on_pages(machine, recorded, pfn, 0)
    else:
        machine.incident("ptp_null", 0, "the page allocator has no page for a page table")


def short_of_memory(machine: "Machine", at: int) -> Decision:
    """The slow path of an allocation of the recorded workload, or of a page table taken from the page allocator."""
    program, tally = machine.demand.program, machine.tally
    recorded, order = int(program.pfn[at]), int(program.order[at])
    is_table = bool(tally.protected[program.consumer[at]])
    migratetype = UNMOVABLE if is_table else int(program.migratetype[at])
    context = GFP_KERNEL if is_table else int(program.context[at])
    pfn = yield from slow_path(machine, order, migratetype, context)
    if pfn < 0:
        if is_table:
            machine.incident("ptp_null", order, "the page allocator has no page for a page table")
        machine.unplaced()
        return
    if is_table:
        yield from table_on_pages(machine, recorded, pfn, order)
    else:
        stretch.place(machine.allocator, tally, recorded, pfn, order)
    stretch.count_allocation(machine.direct_map, tally, pfn)
    if program.consumer[at] == stretch.SECRET:
        yield from outside_change(machine, at)


def table_on_pages(machine: "Machine", recorded: int, pfn: int, order: int) -> Decision:
    """Put a page table on pages of the page allocator, with its key where each table gets one."""
    a, d, t = machine.allocator, machine.direct_map, machine.tally
    if stretch.needs_construction(d, t, pfn, order):
        yield from constructed_table(machine, recorded, pfn, order)
    else:
        stretch.place_table_on_pages(a, d, t, recorded, pfn, order, machine.now, machine.cause)


def outside_change(machine: "Machine", at: int) -> Decision:
    """A permission change by others: secret memory, or one whose place the trace does not tell."""
    program, tally = machine.demand.program, machine.tally
    if program.op[at] == stretch.OUTSIDE_CHANGE:
        change = Change(int(tally.counts[stretch.LAST_UNMOVABLE]), 1, maps.READ_ONLY)
    else:
        change = Change(int(tally.page_of[program.pfn[at]]), 1 << int(program.order[at]), maps.NOT_PRESENT)
    if not (yield from _unless_deadlocked(machine, machine.strategy.outside(machine.view, change))):
        machine.incident("split_starvation", None, "-ENOMEM for a permission change by others")


def pages(machine: "Machine", order: int) -> Decision:
    """alloc_pages(GFP_KERNEL, order), slow path included; first page frame number, or -1."""
    machine.tally.attempts[order] += 1
    context = GFP_KERNEL | MEMALLOC if machine.running.reclaiming else GFP_KERNEL  # PF_MEMALLOC: below all watermarks
    pfn = int(alloc_pages(machine.allocator, machine.cpu, order, UNMOVABLE, context))
    return pfn if pfn >= 0 else (yield from slow_path(machine, order, UNMOVABLE, context))


def slow_path(machine: "Machine", order: int, migratetype: int, context: int) -> Decision:
    """__alloc_pages_slowpath() with reclaim and compaction that free nothing but what shrinkers give back.

    Returns:
        First page frame number, or -1: NULL (order > 3, not allowed to reclaim, or in reclaim), or an OOM kill.
    """
    flags = machine.flags[order]
    pfn = -1
    if machine.strategy.shrinks_early and not machine.running.reclaiming and (yield from _shrink(machine)):
        pfn = int(alloc_pages(machine.allocator, machine.cpu, order, migratetype, context))
        if pfn >= 0:
            return pfn
    if context & MAY_RECLAIM and not machine.running.reclaiming:
        machine.stalls += 1
        yield Wait(machine.costs.stall_ns)
        flags[FLAGS.index("compact_async")] += order > 0
        flags[FLAGS.index("reclaim")] += 1
        again = True
        while pfn < 0 and again:
            again = (yield from _shrink(machine)) > 0 and order <= COSTLY_ORDER  # a costly request reclaims once
            pfn = _after_reclaim(machine, order, migratetype, context)
        flags[FLAGS.index("compact_sync")] += pfn < 0 and order > 0
        if pfn < 0 and order <= COSTLY_ORDER and unreserve_highatomic(machine.allocator, migratetype, True):
            pfn = _after_reclaim(machine, order, migratetype, context)  # should_reclaim_retry()
        if pfn < 0 and order <= COSTLY_ORDER:
            flags[FLAGS.index("oom_kill")] += 1
            machine.incident("oom_kill", order, "nothing left to reclaim")
    if pfn < 0:
        flags[FLAGS.index("null")] += 1
        machine.failures[order] += 1
    return pfn


def _after_reclaim(machine: "Machine", order: int, migratetype: int, context: int) -> int:
    """__alloc_pages_direct_reclaim(): try, and again with what per-CPU lists and reserves hold back."""
    request = (machine.allocator, machine.cpu, order, migratetype, context)
    pfn = int(alloc_pages_after_reclaim(*request))
    if pfn < 0:
        unreserve_highatomic(machine.allocator, migratetype, False)
        drain_all_pages(machine.allocator)
        pfn = int(alloc_pages_after_reclaim(*request))
    return pfn


def _unless_deadlocked(machine: "Machine", decision: Decision) -> Decision:
    """A strategy's decision; None if it would never end: what it has in hand goes back."""
    try:
        return (yield from decision)
    except DeadlockError as never:
        machine.abandon(str(never))
        return None


def _shrink(machine: "Machine") -> Decision:
    """Enter the strategy's shrinker, as direct reclaim does; it is not entered from within itself."""
    running = machine.running
    before = running.cause
    if before != WARM_UP:
        running.cause = CAUSES.index("shrink")
    running.reclaiming = True
    freed = (yield from _unless_deadlocked(machine, machine.strategy.shrink(machine.view))) or 0
    running.reclaiming = False
    running.cause = before
    machine.shrunk += freed
    return int(freed)
