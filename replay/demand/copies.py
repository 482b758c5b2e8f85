"""Scaled demand: the recorded processes again, several times over, on the same machine.

A copy repeats what tasks with page tables of their own (those that allocate user page tables in the recording)
allocate, and the frees of these pages by any task. What only the kernel asks for is there once, and so is what was
alive before the first event. A copy shares no page with another: page cache and shared memory, which real processes
would share, count each time.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.errors import UsageError
from ptpool.files import physical_memory
from ptpool.vocabulary import CONSUMERS
from replay.demand.demand import Demand
from replay.demand.program import ALLOC, FREE_EVENT, MOVE, OUTSIDE_CHANGE, Program, first_seen

SPREAD = 10
"""Copies start within the first 1/SPREAD of the recording: their peaks meet. Ours."""

_BYTES_AN_EVENT = 64
"""Memory that an event takes while copies are merged."""

_LEFT_OUT, _COPIED, _GONE = range(3)
"""What a copy does with an event; _GONE: others allocate a page whose free was not recorded, so the copy frees it."""


def scaled(demand: Demand, copies: int, seed: int, first_name: int = 0) -> Demand:
    """The demand with its processes `copies` times over.

    Every copy starts at a time drawn by `seed`, has page names and tasks of its own, and runs one CPU further on than
    the copy before it, among the CPUs that the recording uses.

    `copies` includes the recorded processes. Copies name their pages from `first_name` on, or from `demand.pages` if
    that is more: `first_name` is at least the pages of a machine on which every page in use goes by its own number.

    Raises:
        UsageError: the copies' events would not fit into memory.
    """
    if copies == 1:
        return demand
    program, moved = demand.program, demand.pages + 1
    owns = np.zeros(demand.tasks, np.bool_)
    owns[program.task[(program.op == ALLOC) & (program.consumer == CONSUMERS.index("pgtable_user"))]] = True
    fate = np.zeros(len(program.op), np.uint8)
    _fates(program, owns, np.zeros(moved + demand.moves, np.bool_), np.int64(moved), fate)
    again = np.flatnonzero(fate)
    _check_memory(copies, len(program.op) + (copies - 1) * len(again))
    recorded = program._replace(pfn=np.where(program.pfn < moved, program.pfn, moved - 1 - program.pfn))
    copied = Program._make(column[again] for column in recorded)
    copied = copied._replace(op=np.where(fate[again] == _GONE, FREE_EVENT, copied.op).astype(np.uint8))
    number, names = _numbered(copied, demand.pages)
    owners = int(owns.sum())
    nth_owner = np.cumsum(owns) - 1
    cpus = int(program.cpu.max(initial=0)) + 1
    late = np.random.default_rng(seed).integers(0, (demand.last_ns - demand.first_ns) // SPREAD + 1, copies - 1)
    first = max(demand.pages, first_name)
    parts = [recorded]
    for copy in range(copies - 1):
        own_task = demand.tasks + copy * owners + nth_owner[copied.task]
        parts.append(
            copied._replace(
                ts=copied.ts + late[copy],
                pfn=np.where(copied.pfn >= 0, first + copy * names + number[np.maximum(copied.pfn, 0)], copied.pfn),
                cpu=((copied.cpu + copy + 1) % cpus).astype(np.int16),
                task=np.where(owns[copied.task], own_task, copied.task).astype(np.int32),
            )
        )
    pages = first + (copies - 1) * names
    nth_move = np.cumsum(program.op == MOVE) - 1
    merged = _merged(parts, [nth_move] + [nth_move[again]] * (copies - 1), pages + 1)
    added = (
        f"Added: {{}} events of {copies - 1} copies of the {owners:,} tasks with page tables of their own, each "
        f"starting within the first {1 / SPREAD:.0%} of the recording; what was alive before it is not copied."
    )
    return replace(
        demand,
        program=merged,
        last_ns=demand.last_ns + int(late.max()),
        pages=pages,
        first_seen=first_seen(merged, np.full(pages, -1, np.int8)),
        tasks=demand.tasks + (copies - 1) * owners,
        changed=demand.changed | {added: (copies - 1) * len(again)},
        moves=int((merged.op == MOVE).sum()),
    )


@compiled
def _fates(program, owns, copied, first_moved, fate):
    """Follow the pages of tasks that own page tables: which events a copy of them repeats.

    `owns` (tasks,) says whether a task has page tables, `copied` (names,), all False at first, whether a copy has a
    page by this name; `first_moved` is the name of the first page that is moved. `fate` (N,) is filled in.
    """
    moved = first_moved
    for i in range(len(program.op)):
        op, owner = program.op[i], owns[program.task[i]]
        if op == OUTSIDE_CHANGE:
            named = program.pfn[i] != 0  # page 0 is never allocated: a change of unknown place
            fate[i] = _COPIED if owner and (not named or copied[program.pfn[i]]) else _LEFT_OUT
            continue
        there = False
        for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
            there = there or copied[page]
            copied[page] = op == ALLOC and owner
        if op == MOVE:
            copied[moved] = there
            moved += 1
        if op == ALLOC and owner:
            fate[i] = _COPIED
        elif there:
            fate[i] = _GONE if op == ALLOC else _COPIED


def _numbered(copied: Program, pages: int) -> tuple[NDArray[np.int64], int]:
    """(pages + 1,) a copy's number for each recorded page, without gaps, and how many there are.

    Pages of one event stay neighbours, because each of them has a number.
    """
    named = (copied.op != OUTSIDE_CHANGE) & (copied.pfn >= 0)
    edges = np.zeros(pages + 1, np.int64)
    np.add.at(edges, copied.pfn[named], 1)
    np.add.at(edges, copied.pfn[named] + (1 << copied.order[named].astype(np.int64)), -1)
    has_number = np.cumsum(edges) > 0
    return np.cumsum(has_number) - 1, int(has_number.sum())


def _merged(parts: list[Program], nth_move: list[NDArray[np.int64]], first_moved: int) -> Program:
    """Merge programs by time; -1 - n as the page of an event stands for the page that the n-th recorded move moved.

    The loop names moved pages in the order in which they are moved (`Tally.counts[NEXT_NAME]`), so each program's get
    the names of its own moves in the whole.

    The recording is the first of the parts. `nth_move` of a part, (its events,), says which move of the recording an
    event is, if it is one; `first_moved` is the first name of a moved page in the whole.
    """
    order = np.argsort(np.concatenate([np.maximum.accumulate(part.ts) for part in parts]), kind="stable")
    whole = Program._make(np.concatenate(columns)[order] for columns in zip(*parts, strict=True))
    part_of = np.repeat(np.arange(len(parts)), [len(part.op) for part in parts])[order]
    move = np.flatnonzero(whole.op == MOVE)
    name = np.zeros((len(parts), int(nth_move[0].max(initial=-1)) + 1), np.int64)
    name[part_of[move], np.concatenate(nth_move)[order][move]] = first_moved + np.arange(len(move))
    of_moved = np.flatnonzero(whole.pfn < 0)
    whole.pfn[of_moved] = name[part_of[of_moved], -1 - whole.pfn[of_moved]]
    return whole


def _check_memory(copies: int, events: int) -> None:
    there = physical_memory()
    if events * _BYTES_AN_EVENT > there // 2:
        raise UsageError(
            f"--copies {copies}: {events:,} events would take {events * _BYTES_AN_EVENT / 2**30:.0f} GiB of memory",
            "take fewer copies, or a part of the recording (ptpool ingest trace --from, --to)",
        )
