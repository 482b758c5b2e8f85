"""A moment of the search, and when two moments are the same."""

from collections.abc import Mapping
from functools import lru_cache
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
    pool, known = _of_pool(toy.pool, toy.keyed) if blocks else (len(toy.pool), ())
    names = {chunk: number for number, chunk in enumerate(known)}
    name = names.setdefault
    order = _in_order(state)
    lists: Any = None
    if any(toy.on_cpu.values()):
        own = [toy.on_cpu.get(task, ()) for task in order]
        lists = tuple(
            tuple([name(page >> REGION_SHIFT, len(names)) for page in pages]) if blocks else len(pages) for pages in own
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
    place, leaf = toy.place, toy.leaf
    pages = _of_pages((*place,), (*place.values(),), toy.keyed, (*names,), order)
    leaves = _of_leaves((*leaf,), (*leaf.values(),), toy.whole, (*names,))
    locks = tuple(sorted([(lock, order.index(holder)) for lock, holder in toy.locks.items()]))
    return pool, lists, unmapped, *frames, pages, leaves, len(leaf), locks


_NEXT_TASK = -1

_remembered = lru_cache(1 << 14)
"""There are many moments, and few machines."""


@_remembered
def _of_pool(pool: tuple[int, ...], keyed: frozenset[int]) -> tuple[bytes, tuple[int, ...]]:
    """The chunk of each page and whether it has the key, and the chunks by their names."""
    known = dict.fromkeys(page >> REGION_SHIFT for page in pool)
    names = {chunk: number for number, chunk in enumerate(known)}
    return bytes(2 * names[page >> REGION_SHIFT] + (page in keyed) for page in pool), (*known,)


@_remembered
def _of_pages(
    pages: tuple[int, ...],
    places: tuple[int, ...],
    keyed: frozenset[int],
    known: tuple[int, ...],
    order: tuple[int, ...],
) -> bytes:
    """How many pages of a chunk are in a place, with the key or without."""
    names = {chunk: number for number, chunk in enumerate(known)}
    numbers = [*map(order.index, range(len(order))), *range(len(order), len(PLACES))]
    return bytes(
        sorted(
            2 * (len(PLACES) * names.get(page >> REGION_SHIFT, CHUNKS) + numbers[place]) + (page in keyed)
            for page, place in zip(pages, places, strict=True)
        )
    )


@_remembered
def _of_leaves(
    firsts: tuple[int, ...], levels: tuple[int, ...], whole: frozenset[int], known: tuple[int, ...]
) -> tuple[tuple[int, int, bool], ...]:
    """The level of each chunk's leaf, and whether it is still a whole block."""
    names = {chunk: number for number, chunk in enumerate(known)}
    found = [
        (names[first >> REGION_SHIFT], level, first in whole)
        for first, level in zip(firsts, levels, strict=True)
        if first >> REGION_SHIFT in names
    ]
    return tuple(sorted(found))


def _in_order(state: State) -> tuple[int, ...]:
    """Tasks by what they do: tasks that differ only in their names come in the order of these."""
    toy, tasks = state
    if len(tasks) == 1:
        return (0,)
    shapes = []
    for task, frames in enumerate(tasks):
        shape = [len(toy.on_cpu[task]) if task in toy.on_cpu else 0]
        for stage, tries, refused in frames:
            shape += stage.shape, tries, refused
        shapes.append((shape, task))
    shapes.sort()
    return tuple([task for _, task in shapes])


def _unnamed(toy: Toy, names: Mapping[int, int]) -> list[int]:
    """Chunks that nothing but their pages in use tells of, by level, then by which was taken first."""
    taken = {page >> REGION_SHIFT: number for number, page in reversed([*enumerate(toy.place)])}
    levels = {first >> REGION_SHIFT: level for first, level in toy.leaf.items()}
    return sorted(levels.keys() - names.keys(), key=lambda chunk: (levels[chunk], taken[chunk]))
