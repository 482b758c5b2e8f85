"""A moment of the search, and when two moments are the same."""

from typing import Any, NamedTuple

from replay.check.toy import REGION_PAGES, Toy, region_of
from replay.contract.actions import Change, Chunk


class Frame(NamedTuple):
    """A decision under way: its kind, the results and the views of the pool so far, and the action it wants next."""

    kind: str
    argument: int
    results: tuple[Any, ...]
    sights: tuple[object, ...]
    wants: Any
    tries: int = 0
    refused: bool = False
    """Whether the page allocator refused one of its requests."""


Tasks = tuple[tuple[Frame, ...], ...]


class State(NamedTuple):
    """A moment: the machine, and the decisions of each task, the innermost last."""

    toy: Toy
    tasks: Tasks


def key_of(state: State, *, blocks: bool) -> Any:
    """What two equal moments share: everything except the names of tasks, of chunks, and of pages of a chunk.

    `blocks`: whether it matters which chunk a page of the pool belongs to (only to a strategy that shrinks).
    """
    toy, names = state.toy, _Names()
    own = [toy.on_cpu.get(task, ()) for task in range(len(state.tasks))]
    order = sorted(range(len(state.tasks)), key=lambda task: (_shape(state.tasks[task]), len(own[task])))
    place_of = {task: place for place, task in enumerate(order)}
    pool: Any = tuple((names[page], page in toy.keyed) for page in toy.pool) if blocks else len(toy.pool)
    lists = tuple(tuple(names[page] for page in own[task]) if blocks else len(own[task]) for task in order)
    shared = toy.chunks() if toy.users else ()
    unmapped = tuple((names[chunk.pfn], chunk.pfn % REGION_PAGES, chunk.order) for chunk in shared)
    tasks = tuple(
        tuple(
            (*frame[:2], names.of(frame.results), names.of(frame.sights), names.of(frame.wants), *frame[5:])
            for frame in state.tasks[task]
        )
        for task in order
    )
    pages: dict[Any, int] = {}
    for page in sorted(
        toy.place, key=lambda page: (page // REGION_PAGES not in names.known, toy.leaf[region_of(page)])
    ):
        name = names[page] if blocks or page // REGION_PAGES in names.known else -1
        what = (name, toy.place[page], page in toy.keyed, place_of.get(toy.holder.get(page, -1), -1))
        pages[what] = pages.get(what, 0) + 1
    leaves = tuple(
        sorted(
            (names[first], level, first in toy.whole)
            for first, level in toy.leaf.items()
            if first // REGION_PAGES in names.known
        )
    )
    locks = tuple(sorted((lock, place_of[holder]) for lock, holder in toy.locks.items()))
    return pool, lists, unmapped, tasks, tuple(sorted(pages.items())), leaves, len(toy.leaf), locks


class _Names:
    """Chunks by the order in which they are met."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def __getitem__(self, page: int) -> int:
        return self.known.setdefault(page // REGION_PAGES, len(self.known))

    def of(self, value: Any) -> Any:
        """A value with the chunks in it called by their names."""
        if isinstance(value, Chunk):
            return self[value.pfn], value.order
        if isinstance(value, Change) and value.pfn >= 0:
            return self[value.pfn], *value[1:]
        if isinstance(value, tuple):
            return type(value).__name__, *map(self.of, value)
        return value


def _shape(frames: tuple[Frame, ...]) -> tuple[Any, ...]:
    return tuple((f.kind, f.argument, len(f.results), f.tries, f.refused, type(f.wants).__name__) for f in frames)
