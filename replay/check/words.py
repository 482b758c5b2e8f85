"""The steps of a counterexample, in words that can be pasted into a mail."""

from typing import assert_never

from replay.check.toy import BLOCK_ORDER, Toy, tables_of
from replay.contract import actions as act
from replay.kernel.leaves import KEYED

ALL_WAIT = "every task waits for a lock that another holds"

LIES = {3: "inside a 1G leaf", 2: "in 2M leaves", 1: "already in 4K pages"}
"""Where a new chunk lies in the direct map, by the level of its leaf."""

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


def acts(action: act.Action, toy: Toy) -> str:
    """What a task does with an action whose result is given."""
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
