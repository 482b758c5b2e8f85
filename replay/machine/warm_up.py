"""The warm-up of a run: the strategy boots, and supplies the page tables that were alive before the first event."""

from replay.contract.actions import Decision
from replay.kernel import direct_map as maps
from replay.kernel.page_alloc import free_pages
from replay.machine.decisions import memory_from_pool, table_from_page_allocator, table_on_pages
from replay.machine.pool import SPLIT_TABLE
from replay.machine.schedule import Perform, Running, Schedule
from replay.machine.state import WARM_UP, Baseline, State
from replay.machine.tally import CLOCK, POOLED


def warm_up(state: State, perform: Perform) -> Baseline:
    """Bring a machine to the moment of the first event; nothing takes time until then, and accounts start at zero.

    Args:
        state: as it was set up.
        perform: carries out actions.
    """
    schedule = Schedule(state, perform, lambda _: None, timeless=True)

    def at_once(decision: Decision) -> None:
        schedule.begin(Running([decision], -1, 0, WARM_UP, "boot", state.now, range(0)))

    if state.strategy.boot_map_4k:
        _take_tables_of_4k_map(state)
    state.tally.counts[CLOCK] = state.demand.first_ns
    at_once(state.strategy.boot(state.view))
    state.booting = False
    for pfn in state.start.page_tables.tolist():
        at_once(_adopted(state, pfn))
    for nth in range(state.start.page_tables_elsewhere):
        at_once(_supplied(state, len(state.tally.page_of) - 1 - nth))
    return state.start_counting()


def _take_tables_of_4k_map(state: State) -> None:
    """Take the memory of the tables that an all-4K direct map has more than this machine's."""
    start = state.start
    wanted = int(state.direct_map.counts[maps.TABLES])
    wanted -= int(maps.direct_map(start.mapped, start.level, start.geometry).counts[maps.TABLES])
    state.boot_memory.check(wanted)
    while wanted > 0:
        order = min(start.geometry.pageblock_order, wanted.bit_length() - 1)
        pfn = state.boot_memory.take(order, memblock=True)
        state.allocator.kind[pfn : pfn + (1 << order)] = SPLIT_TABLE
        wanted -= 1 << order


def _adopted(state: State, pfn: int) -> Decision:
    """Supply a table that was alive before the recording the way this strategy would have supplied it."""
    here = int(state.tally.page_of[pfn])
    if not state.tally.fast[POOLED]:
        return table_on_pages(state, pfn, here, 0)
    state.tally.page_of[pfn] = -1
    free_pages(state.allocator, state.cpu, here, 0)
    return memory_from_pool(state, pfn, 0)


def _supplied(state: State, recorded: int) -> Decision:
    """Supply a table of which only the existence is known."""
    if state.tally.fast[POOLED]:
        return memory_from_pool(state, recorded, 0)
    return table_from_page_allocator(state, recorded)
