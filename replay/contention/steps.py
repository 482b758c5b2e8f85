"""What a CPU does for one page table, as steps: the fast path, and the refill as the strategy's decision makes it."""

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
    Withdraw,
)
from replay.contract.strategy import PoolView, Strategy
from replay.profiles.costs import Costs

THINK, BEGIN, OWN, LOCK, UNLOCK, WAIT, HOLD, GIVE, TRY, TAKE, IF_SERVED, AGAIN, END = range(13)
"""THINK: whatever the task does between two page tables. OWN: a table off the CPU's own list. HOLD: so many pages
are the strategy's from now on. TRY: a table off the shared list, or as many as the CPU's own list takes, while the
reserve stays. TAKE: one of the reserve, too. IF_SERVED: go to the end."""

LIST = 0
"""The lock of the shared list; those that the strategy names follow."""

_TABLES = {9: 0}
"""Page tables that keying a chunk takes by its order, in a direct map of 2M leaves: none for a leaf, else one."""


class Steps(NamedTuple):
    """A page table's way, step by step: ``(S,)`` each."""

    code: NDArray[np.int64]
    arg: NDArray[np.int64]
    batch: int
    """Pages that a CPU's own list takes at a time; 0: it has none."""
    reserve: int
    locks: int


def steps_of(strategy: Strategy, largest: int, change_ns: int, costs: Costs) -> Steps:
    """The steps of a strategy whose page allocator has nothing larger than 2^largest pages, and always that.

    Args:
        strategy: one with a pool that keeps its key.
        largest: largest order that is free.
        change_ns: what one permission change takes, with all that it splits and flushes.
        costs: everything else.
    """
    fast = strategy.fast_path()
    if not fast.pooled or fast.key_each or fast.merges:
        raise ValueError("steps are known for pools of keyed pages on one list")
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
    """Run the strategy's refill once, and write down what it asks for."""
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
                case SetKey():
                    steps.append((WAIT, change_ns))
                    result = True
                case Give(chunk):
                    net = chunk.pages - _TABLES.get(chunk.order, 1)
                    steps += [(LOCK, LIST), (WAIT, chunk.pages * costs.page_ns), (GIVE, net), (UNLOCK, LIST)]
                    steps.append((HOLD, net - chunk.pages))
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
                ):
                    raise ValueError(f"no step for {action}")
                case _:
                    assert_never(action)
    except StopIteration:
        return steps


class _Missing(PoolView):
    """The pool as the decision sees it that a miss begins."""

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve

    @property
    def cached(self) -> int:
        return self._reserve

    def tables_needed(self, change: Change) -> int:
        return _TABLES.get(int(change.pages).bit_length() - 1, 1)
