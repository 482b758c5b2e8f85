"""Kernel shadow stacks, a hypothetical user: one page for each kernel stack.

No kernel has them for itself, and no series that adds them was found. Rick Edgecombe names them among the users that
wait for cheaper permissions of the direct map (2025-09-18); they would be a page for each thread. A thread's kernel
stack is 16 KiB on x86-64 and arm64 (THREAD_SIZE); its pages come from vmalloc one by one, and go together
(kernel/fork.c, CONFIG_VMAP_STACK).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import CONSUMERS
from replay.contract.permissions import SHADOW_STACK
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, FREE_EVENT, RECLAIMED, Program

THREAD_SIZE = 16384
KSTACK = CONSUMERS.index("kstack")
_ADDED = "Added: {} kernel shadow stacks of one page, one for each kernel stack (hypothetical: no series was found)."
_LEFT_OUT = "Left out: shadow stacks of kernel stacks older than the recording, of which it frees {} pages."


def with_shadow_stacks(demand: Demand, page_size: int) -> Demand:
    """The demand with a shadow stack, allocated and freed right after each kernel stack.

    Of the pages of kernel stacks in the order of their frees every n-th counts for a stack, n being the pages of one.
    A stack that was there before the first event gets none: how many such stacks lived on is unknown.
    """
    program = demand.program
    born, gone, older = _lives(program)
    per_stack = max(THREAD_SIZE // page_size, 1)
    whole = program.order[born] > 0  # without CONFIG_VMAP_STACK: a stack in one piece
    chosen = whole | (np.cumsum(~whole) % per_stack == 0)
    born, gone = born[chosen], gone[chosen]
    name = demand.pages + 1 + demand.moves + np.arange(len(born))
    freed = gone < len(program.op)
    said = {_ADDED: len(born), _LEFT_OUT: older}
    return replace(
        demand,
        program=_with(program, born, gone[freed], name, name[freed]),
        moves=demand.moves + len(born),
        changed=demand.changed | {what: count for what, count in said.items() if count},
    )


def _lives(program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Allocation and free of each piece of a kernel stack, by event, in the order of the frees; how many are older.

    A piece whose free was not recorded is freed after the last event.
    """
    events = len(program.op)
    changes = (program.op == ALLOC) | (program.op == FREE_EVENT) | (program.op == RECLAIMED)
    place = np.flatnonzero(changes)
    place = place[np.lexsort((place, program.pfn[place]))]  # the events of each page together, by time
    page, op, stack = program.pfn[place], program.op[place], program.consumer[place] == KSTACK
    follows = np.append(page[1:] == page[:-1], [False]) if len(place) else np.zeros(0, np.bool_)
    after = np.append(place[1:], [events]) if len(place) else place
    after = np.where(follows, after, events)
    ends_stack = np.append(stack[1:] & (op[1:] != ALLOC), [False]) if len(place) else stack
    lives = (op == ALLOC) & (stack | (follows & ends_stack))
    first_free = stack & (op != ALLOC) & np.insert(~follows[:-1] | (op[:-1] != ALLOC), 0, True)[: len(place)]
    born, gone = place[lives], after[lives]
    by_free = np.lexsort((born, gone))
    return born[by_free], gone[by_free], int(first_free.sum())


def _with(
    program: Program,
    born: NDArray[np.int64],
    gone: NDArray[np.int64],
    names: NDArray[np.int64],
    freed: NDArray[np.int64],
) -> Program:
    """The program with shadow stacks allocated after the events `born`, by `names`, `freed` after those of `gone`."""
    at = np.concatenate([born, gone])
    added = Program._make(column[at] for column in program)._replace(
        op=np.repeat([ALLOC, FREE_EVENT], [len(born), len(gone)]).astype(np.uint8),
        pfn=np.concatenate([names, freed]),
        order=np.zeros(len(at), np.int8),
        consumer=np.full(len(at), SHADOW_STACK, np.uint8),
    )
    return Program(*(np.insert(column, at + 1, getattr(added, name)) for name, column in program._asdict().items()))
