"""What a CPU does for one page table, as steps: the fast path, and the refill as the strategy's generator makes it."""

from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from replay.contract.actions import (
    Action,
    Alloc,
    Apply,
    Change,
    Chunk,
    Convert,
    Free,
    Give,
    GiveBlock,
    GiveRest,
    Isolate,
    Lock,
    MapSmall,
    Mark,
    ResetKey,
    SetAside,
    SetKey,
    Take,
    Unlock,
    Wait,
    Walk,
    Warn,
    Withdraw,
)
from replay.contract.strategy import PoolView, Strategy
from replay.kernel.geometry import X86_64
from replay.profiles.costs import Costs

THINK, BEGIN, OWN, LOCK, UNLOCK, WAIT, HOLD, GIVE, TRY, TAKE, IF_SERVED, AGAIN, END = range(13)
"""THINK: the task works between two page tables. OWN: take a table from the CPU's own list. HOLD: the strategy holds so
many more pages. TRY: take a table from the shared list, or a batch for the CPU's own list, but not the reserve. TAKE:
take one even from the reserve. IF_SERVED: go to the end."""

LIST = 0
"""The lock of the shared list; the locks that the strategy names follow."""

_TABLES = {9: 0}
"""Page tables needed to key a chunk of an order, in a direct map of 2M leaves: none for a whole leaf, otherwise one."""


class Steps(NamedTuple):
    """The steps for one page table: ``(S,)`` each."""

    code: NDArray[np.int64]
    arg: NDArray[np.int64]
    batch: int
    """Pages that a CPU's own list takes at a time; 0: there are no such lists."""
    reserve: int
    locks: int


def steps_of(strategy: Strategy, largest: int, change_ns: int, costs: Costs) -> Steps:
    """The steps of a strategy when the page allocator always has blocks of 2^largest pages, and never larger ones.

    Args:
        strategy: one with a pool that keeps its key.
        largest: largest order that is free.
        change_ns: duration of a permission change, with its splits and flushes.
        costs: of all other operations.
    """
    strategy = strategy.on(X86_64)
    fast = strategy.fast_path()
    if not fast.pooled or fast.key_each or fast.merges:
        raise ValueError("only pools of keyed pages on one list can be simulated")
    steps: list[tuple[int, int]] = [(THINK, 0), (BEGIN, 0)]
    again = len(steps)
    if fast.cpu_batch:
        steps.append((OWN, 0))
    steps += [(LOCK, LIST), (TRY, 0), (UNLOCK, LIST), (IF_SERVED, 0)]
    locks: dict[str, int] = {}
    steps += _refill(strategy, largest, change_ns, costs, locks)
    steps += [(IF_SERVED, 0), (AGAIN, again), (END, 0)]
    code, arg = (np.array(column, np.int64) for column in zip(*steps, strict=True))
    return Steps(code, arg, fast.cpu_batch, fast.reserve, 1 + len(locks))


def _refill(
    strategy: Strategy, largest: int, change_ns: int, costs: Costs, locks: dict[str, int]
) -> list[tuple[int, int]]:
    """Run the strategy's refill once, and record the actions that it asks for."""
    steps: list[tuple[int, int]] = []
    decision = strategy.refill(_Missing(strategy.fast_path().reserve), 0)
    result: object = None
    try:
        while True:
            action: Action = decision.send(result)
            result = None
            match action:
                case Alloc(order):
                    steps.append((WAIT, costs.alloc_ns))
                    if order <= largest:
                        steps.append((HOLD, 1 << order))
                        result = Chunk(0, order)
                case Lock(name):
                    steps.append((LOCK, locks.setdefault(name, len(locks) + 1)))
                case Unlock(name):
                    steps.append((UNLOCK, locks[name]))
                case SetKey(chunk, _, unlock):
                    split_ns = min(_TABLES.get(chunk.order, 1) * costs.split_ns, change_ns)
                    steps += [(WAIT, split_ns), (UNLOCK, locks[unlock])] if unlock else []
                    steps.append((WAIT, change_ns - split_ns if unlock else change_ns))
                    result = True
                case Give(chunk):
                    net = chunk.pages - _TABLES.get(chunk.order, 1)
                    steps += [(LOCK, LIST), (WAIT, chunk.pages * costs.page_ns), (GIVE, net), (UNLOCK, LIST)]
                    steps.append((HOLD, net - chunk.pages))
                case GiveRest(chunk, _):
                    net = chunk.pages - _TABLES.get(chunk.order, 1)
                    steps += [(LOCK, LIST), (WAIT, chunk.pages * costs.page_ns), (GIVE, net), (TAKE, 0), (UNLOCK, LIST)]
                    steps.append((HOLD, net - chunk.pages))
                    result = Chunk(0, 0)
                case Take():
                    steps += [(LOCK, LIST), (TAKE, 0), (UNLOCK, LIST)]
                    result = Chunk(0, 0)
                case Wait(ns):
                    steps.append((WAIT, ns))
                case (
                    Isolate()
                    | Free()
                    | ResetKey()
                    | Convert()
                    | MapSmall()
                    | Apply()
                    | GiveBlock()
                    | Mark()
                    | Withdraw()
                    | SetAside()
                    | Walk()
                    | Warn()
                ):
                    raise ValueError(f"no step for {action}")
                case _:
                    assert_never(action)
    except StopIteration:
        return steps


class _Missing(PoolView):
    """The pool as the refill after a miss sees it."""

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve

    @property
    def block_order(self) -> int:
        return X86_64.pageblock_order

    @property
    def cached(self) -> int:
        return self._reserve

    def tables_needed(self, change: Change) -> int:
        return _TABLES.get(int(change.pages).bit_length() - 1, 1)
