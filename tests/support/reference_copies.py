"""Scaled demand, slowly: how long each allocated page lives, on what, and whose it is; not by which name it goes."""

from replay.demand.demand import Demand
from replay.demand.program import ALLOC, MOVE, OUTSIDE_CHANGE

NEVER = -1


def lifetimes(demand: Demand) -> list[tuple[int, ...]]:
    """One row a page: order, place in the block, consumer; time, CPU and task of its allocation; the same of its end."""
    program, alive, ended, moved = demand.program, {}, [], 0
    for op, ts, pfn, order, consumer, cpu, task in rows(program):
        for nth, page in enumerate(range(pfn, pfn + (1 << order)) if op != OUTSIDE_CHANGE else ()):
            data = alive.pop(page, None)
            if op == MOVE:
                if data is not None:
                    alive[demand.pages + 1 + moved] = data
                moved += 1
            elif data is not None:
                ended.append((*data, ts, cpu, task))
            if op == ALLOC:
                alive[page] = (order, nth, consumer, ts, cpu, task)
    return sorted(ended + [(*data, NEVER, NEVER, NEVER) for data in alive.values()])


def rows(program) -> list[tuple[int, ...]]:
    """Events, field by field."""
    fields = ("op", "ts", "pfn", "order", "consumer", "cpu", "task")
    return list(zip(*(getattr(program, field).tolist() for field in fields), strict=True))


def owners_of(demand: Demand, tables: int) -> list[int]:
    """Tasks that allocate consumer `tables`, ascending."""
    return sorted({row[6] for row in rows(demand.program) if row[0] == ALLOC and row[4] == tables})


def scaled_lifetimes(demand: Demand, tables: int, late: list[int]) -> list[tuple[int, ...]]:
    """Those of the recording, and of each copy: later, on the next CPU, by tasks of its own where those own tables."""
    owners, result = owners_of(demand, tables), lifetimes(demand)
    cpus = max((row[5] for row in rows(demand.program)), default=0) + 1
    for copy, shift in enumerate(late):

        def when(ts: int, cpu: int, task: int, copy: int = copy, shift: int = shift) -> tuple[int, int, int]:
            if ts == NEVER:
                return (NEVER, NEVER, NEVER)
            own = demand.tasks + copy * len(owners) + owners.index(task) if task in owners else task
            return ts + shift, (cpu + copy + 1) % cpus, own

        for order, nth, consumer, *allocation in lifetimes(demand):
            begin, end = allocation[:3], allocation[3:]
            if begin[2] in owners:
                result.append((order, nth, consumer, *when(*begin), *when(*end)))
    return sorted(result)
