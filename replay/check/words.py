"""The steps of a counterexample, in words that can be pasted into a mail."""

from typing import assert_never

from replay.check.toy import BLOCK_ORDER, Toy, tables_of
from replay.contract import actions as act
from replay.kernel.leaves import KEYED

ALL_WAIT = "every task waits for a lock that another holds"

_LIES = {3: "inside a 1G leaf", 2: "in 2M leaves", 1: "already in 4K pages"}
"""Where a new chunk lies in the direct map, by the level of its leaf."""

_SHRINKS = ("enters the shrinker", "falls back to the pool")

_TABLES = {
    act.Tables.POOL: "from the pool",
    act.Tables.BUDDY: "from the page allocator",
    act.Tables.BOOT: "set aside at boot",
    act.Tables.ASIDE: "set aside at boot",
    act.Tables.OWN: "from the pages themselves",
}


def task(number: int) -> str:
    """What a task is called."""
    return f"task {number + 1}"


def order(number: int) -> str:
    """An order, as it is on a real machine."""
    return "a 2M block" if number >= BLOCK_ORDER else f"order {number} ({1 << number} page{'s' * (number > 0)})"


def served(number: int, toy: Toy) -> str:
    """A task gets a page table without a decision."""
    pages = len(toy.pool)
    where = f"its CPU's list: the pool has {pages}" if toy.on_cpu.get(number) else f"the pool: {pages - 1} left"
    return f"{asks(number)} and gets one from {where}"


def refills(number: int, toy: Toy, reserve: int) -> str:
    """A task has to refill the pool for one."""
    return f"{asks(number)}; the pool has {len(toy.pool)} and keeps {reserve}: it refills"


def asks(number: int) -> str:
    """A task wants a page table."""
    return f"{task(number)} asks for a page table"


def frees(number: int) -> str:
    """A page table is freed."""
    return f"{task(number)} frees a page table"


def shrinks(number: int, falls_back: bool) -> str:
    """Idle pages may go back, because memory is short."""
    return f"{task(number)}{'' if falls_back else ' (kswapd)'} {_SHRINKS[falls_back]}"


def reclaims(number: int, falls_back: bool) -> str:
    """The same, within a request of the task's own."""
    return f"{task(number)} finds memory short, reclaims, and {_SHRINKS[falls_back]}"


def changes(number: int, tables: int) -> str:
    """A permission change by others."""
    return f"{task(number)} changes permissions elsewhere, which takes {tables_of(tables)}"


def allocated(number: int, wanted: int, level: int | None) -> str:
    """What the page allocator answers: a chunk that lies under a leaf of this level, or (None) nothing."""
    answer = "there is none" if level is None else f"it lies {_LIES[level]}"
    return f"{task(number)} asks the page allocator for {order(wanted)}: {answer}"


def isolated(number: int, pages: int) -> str:
    """What else was free in a block."""
    return f"{task(number)} takes what else is free in that 2M block: {('no pages', '1 page')[pages]}"


def acts(number: int, action: act.Action, toy: Toy) -> str:
    """What a task does with an action whose result is given."""
    return f"{task(number)} {_acts(action, toy)}"


def _acts(action: act.Action, toy: Toy) -> str:
    match action:
        case act.SetKey(chunk, tables, unlock):
            said = f"sets the key of {order(chunk.order)}: {_spent(toy.tables_for(chunk), tables, toy)}"
            return f"{said}; releases {unlock}" if unlock else said
        case act.ResetKey(chunk, tables, _):
            return f"clears the key of {order(chunk.order)}: {_spent(toy.tables_for(chunk), tables, toy)}"
        case act.Convert(change, tables, _):
            chunk = act.Chunk(change.pfn, change.pages.bit_length() - 1)
            what = "clears the key of" if change.clear_bits & KEYED else "changes the permission of"
            what = "sets the key of" if change.set_bits & KEYED else what
            return f"{what} {order(chunk.order)}: {_spent(toy.tables_for(chunk), tables, toy)}"
        case act.MapSmall(chunk, tables):
            return f"maps its 2M block in 4K pages: {_spent(toy.tables_for(act.Chunk(chunk.pfn, 0)), tables, toy)}"
        case act.Apply(act.Change(pfn, _, _, _), tables):
            return f"carries out the change: {_spent(-pfn, tables, toy)}"
        case act.Mark(_, marked):
            return (
                "marks the pageblock: what is freed into it goes to the pool" if marked else "takes the mark away again"
            )
        case act.Give(chunk, None) if toy.users:
            return f"puts {order(chunk.order)} into the pool of memory that is not mapped"
        case act.Give(chunk) | act.GiveBlock(chunk):
            return f"puts {order(chunk.order)} into the pool: {len(toy.pool) + chunk.pages} there"
        case act.GiveRest(chunk, served):
            kept = f"keeps {order(served)} of {order(chunk.order)}, puts the rest into the pool"
            return f"{kept}: {len(toy.pool) + chunk.pages - (1 << served)} there"
        case act.Take(wanted) if toy.users:
            return f"asks the pool of memory that is not mapped for {order(wanted)}"
        case act.Take(_):
            return f"takes a page of the pool, reserve included: {max(len(toy.pool) - 1, 0)} left"
        case act.Withdraw(chunk) if toy.users:
            return f"takes {order(chunk.order)} out of the pool of memory that is not mapped"
        case act.Withdraw(chunk):
            return f"takes {order(chunk.order)} out of the pool: {len(toy.pool) - chunk.pages} left"
        case act.Free(chunk):
            return f"gives {order(chunk.order)} back to the page allocator"
        case act.Lock(name):
            return f"takes {name}"
        case act.Unlock(name):
            return f"releases {name}"
        case act.Alloc(wanted):
            return f"asks for {order(wanted)}"
        case act.Isolate(_):
            return "takes what else is free in its 2M block"
        case act.SetAside(_):
            return "sets tables aside"
        case act.Walk(pages):
            return f"walks over {pages} pages of the list"
        case act.Warn(detail):
            return f"hits a {detail}"
        case act.Wait(_):
            return "works for a while"
        case _:
            assert_never(action)


def _spent(needed: int, tables: act.Tables | tuple[act.Chunk, ...], toy: Toy) -> str:
    if needed == 0:
        return "nothing to split"
    if isinstance(tables, tuple):
        return f"{tables_of(needed)} allocated for it"
    if tables is act.Tables.POOL:
        return f"{tables_of(needed)} from the pool, which has {len(toy.pool)}"
    return f"{tables_of(needed)} {_TABLES[tables]}"
