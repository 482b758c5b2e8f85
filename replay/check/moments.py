"""A moment of the search, and when two moments are the same."""

from collections.abc import Collection
from typing import Any, NamedTuple

from replay.check.decisions import Stage
from replay.check.toy import CHUNKS, PLACES, REGION_PAGES, REGION_SHIFT, Toy


class Frame(NamedTuple):
    """A decision under way, for a request."""

    stage: Stage
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

    A chunk is called by the order in which it is met; what is known of a page is a number below 256.

    `blocks`: whether it matters which chunk a page of the pool belongs to (only to a strategy that shrinks).
    """
    toy, tasks = state
    keyed, names = toy.keyed, dict[int, int]()
    name = names.setdefault
    pool: Any = len(toy.pool)
    if blocks:
        pool = bytes([2 * name(page >> REGION_SHIFT, len(names)) + (page in keyed) for page in toy.pool])
    order = _in_order(state)
    lists: Any = None
    if any(toy.on_cpu.values()):
        own = [toy.on_cpu.get(task, ()) for task in order]
        lists = tuple(
            bytes([name(page >> REGION_SHIFT, len(names)) for page in pages]) if blocks else len(pages) for pages in own
        )
    unmapped = toy.users and tuple(
        [(name(chunk.pfn >> REGION_SHIFT, len(names)), chunk.pfn % REGION_PAGES, chunk.order) for chunk in toy.chunks()]
    )
    frames: list[int] = []
    for task in order:
        for stage, tries, refused in tasks[task]:
            frames += stage.name, tries, refused
            for region in stage.regions:
                frames.append(name(region, len(names)))
        frames.append(_NEXT_TASK)
    if blocks and len(names) < len(toy.leaf):
        for region in _unnamed(toy, names):
            names[region] = len(names)
    places = [*map(order.index, range(len(order))), *_PLACES[len(order) :]]
    pages = [
        _OF_A_CHUNK * names.get(page >> REGION_SHIFT, CHUNKS) + 2 * places[place] + (page in keyed)
        for page, place in toy.place.items()
    ]
    leaves = [
        8 * names[first >> REGION_SHIFT] + 2 * level + (first in toy.whole)
        for first, level in toy.leaf.items()
        if first >> REGION_SHIFT in names
    ]
    locks = tuple(sorted([(lock, places[holder]) for lock, holder in toy.locks.items()]))
    return pool, lists, unmapped, *frames, bytes(sorted(pages)), bytes(sorted(leaves)), len(toy.leaf), locks


_PLACES = range(len(PLACES))
_OF_A_CHUNK = 2 * len(PLACES)
"""Numbers that the pages of a chunk can have: where a page is, and whether it has the key."""
_NEXT_TASK = -1


def _in_order(state: State) -> list[int]:
    """Tasks by what they do: tasks that differ only in their names come in the order of these."""
    toy, tasks = state
    if len(tasks) == 1:
        return [0]
    shapes = []
    for task, frames in enumerate(tasks):
        shape = [len(toy.on_cpu[task]) if task in toy.on_cpu else 0]
        for stage, tries, refused in frames:
            shape += stage.shape, tries, refused
        shapes.append((shape, task))
    shapes.sort()
    return [task for _, task in shapes]


def _unnamed(toy: Toy, names: Collection[int]) -> list[int]:
    """Chunks that nothing but their pages in use tells of, by level, then by which was taken first."""
    first = {page >> REGION_SHIFT: place for place, page in reversed([*enumerate(toy.place)])}
    unnamed = [first for first in toy.leaf if first >> REGION_SHIFT not in names]
    return [page >> REGION_SHIFT for page in sorted(unnamed, key=lambda p: (toy.leaf[p], first[p >> REGION_SHIFT]))]
