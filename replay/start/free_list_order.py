"""The order of free blocks on their lists at the start: /proc does not show it, the recording does in part.

The kernel takes blocks from the head. So the blocks that the recording touches come first, in the order in which it
first allocates a page of each. Page tables do not tell it where a pool supplied them, or a strategy's own recording
would flatter it; such tables have frames of their own, while those of an ordinary kernel share them with other pages.

Behind them come the others, as lists of real kernels lie: in visits of a few neighbours, drawn by seed. How many follow
one another goes by what the recording shows, where that is enough, else by how often memory was turned over.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS, MOVABLE, UNMOVABLE
from replay import profiles
from replay.demand.program import ALLOC, Program
from replay.kernel.lists import NEXT, PREV, list_add_tail
from replay.kernel.mmzone import FIRST_PFN, TYPES, PageAllocator, block_type_of

RECORDED_ORDER, WORN = "recorded", "worn"
"""As the recorder read the lists, and where it did not as on a machine in use (the default); and the latter."""

NEVER = np.iinfo(np.int32).max
"""No event."""

_ENOUGH, _FIRST = 128, 512
"""Least pairs of neighbours that show how lists lie; of each list, its first blocks count. Ours."""

_SHARED = 0.1
"""Least share of frames that page tables have in common with other single unmovable pages, of the fewer of the two,
where both come from the same lists. Ours: 0.53 to 0.99 in recordings of ordinary kernels, at most 0.004 with a pool."""


class Visits(NamedTuple):
    """How the blocks of a list came onto it; profiles/free_list_order.toml says what each number means."""

    together: float
    run: float
    gap: float


class ListOrder(NamedTuple):
    """What the lists of each type are drawn with."""

    name: str
    of_type: tuple[Visits, ...]
    """By migratetype."""
    turned_over: float | None = None
    """How often memory was turned over; None: not known, or the order does not depend on it."""
    shown: float | None = None
    """Share of neighbours on unmovable lists in one leaf, as the recording shows it; None: it does not show enough."""

    @property
    def words(self) -> str:
        """What it is drawn with, as the end of a sentence."""
        if self.name != WORN:
            return self.name
        unmovable, movable = (
            f"{visits.together:.0%} in runs of {visits.run:g}, {visits.gap:g} places apart"
            for visits in (self.of_type[UNMOVABLE], self.of_type[MOVABLE])
        )
        said = [f"unmovable {unmovable}", f"movable {movable}"] if unmovable != movable else [unmovable]
        if self.shown is not None:
            said.append(f"{self.shown:.0%} of unmovable neighbours were recorded in one pageblock")
        if self.turned_over is not None:
            said.append(f"memory was turned over {self.turned_over:.1f} times (vmstat)")
        return f"{self.name}: {'; '.join(said)}"


def list_order(name: str = WORN, turned_over: float | None = None) -> ListOrder:
    """The order of that name, for memory turned over so often: pages allocated so far over managed pages.

    Raises:
        UsageError: there is none of that name.
    """
    known = profiles.read("free_list_order")["order"]
    name = WORN if name == RECORDED_ORDER else name
    if name not in known:
        raise UsageError(f"--free-list-order {name}: no such order", f"there are: {RECORDED_ORDER}, {', '.join(known)}")
    table = known[name]
    if turned_over is None or "unmovable" not in table:
        return ListOrder(name, (Visits(**table["default"]),) * TYPES)
    rows = {
        lists: next(row for row in table[lists] if turned_over < row["below"]) for lists in ("movable", "unmovable")
    }
    return ListOrder(name, _by_type(rows), turned_over)


def per_cpu_order() -> ListOrder:
    """How single pages lie on per-CPU lists."""
    return ListOrder("per-CPU", _by_type(profiles.read("free_list_order")["per_cpu"]))


def _by_type(rows: dict[str, dict[str, float]]) -> tuple[Visits, ...]:
    visits = {lists: Visits(row["together"], row["run"], row["gap"]) for lists, row in rows.items()}
    return tuple(visits["movable" if migratetype == MOVABLE else "unmovable"] for migratetype in range(TYPES))


def first_allocation(program: Program, pages: int) -> NDArray[np.int32]:
    """(pages,) the first event that tells that a page was taken from a list; NEVER where none does."""
    first = np.full(pages, NEVER, np.int32)
    _first_allocation(program, _from_lists(program, pages), first)
    return first


def _from_lists(program: Program, pages: int) -> NDArray[np.bool_]:
    """(N,) allocations that the page allocator served: all, but those of page tables with frames of their own."""
    tables = np.isin(program.consumer, [CONSUMERS.index(name) for name in ("pgtable_user", "pgtable_kernel")])
    single = (program.op == ALLOC) & (program.order == 0) & (program.migratetype == UNMOVABLE)
    frames = np.zeros((2, pages), np.bool_)
    frames[0, program.pfn[single & tables]] = frames[1, program.pfn[single & ~tables]] = True
    apart = int(frames.all(axis=0).sum()) < _SHARED * int(frames.sum(axis=1).min())
    served: NDArray[np.bool_] = (program.op == ALLOC) & ~(tables & apart)
    return served


@compiled
def _first_allocation(program, from_lists, first):
    """Backwards: the earliest event stays."""
    for i in range(len(program.op) - 1, -1, -1):
        if from_lists[i]:
            for page in range(program.pfn[i], program.pfn[i] + (1 << np.int64(program.order[i]))):
                first[page] = i


def order_free_lists(
    allocator: PageAllocator, first: NDArray[np.int32], order: ListOrder, random: np.random.Generator
) -> list[str]:
    """Put the blocks of every free list into the order described above.

    `first` (pages,) is from `first_allocation`, and may cover fewer pages than the machine has.

    Returns:
        What was assumed.
    """
    heads = np.flatnonzero(allocator.order >= 0)
    if not len(heads):
        return []
    rank = np.full(len(heads), NEVER, np.int32)
    covered = int(np.searchsorted(heads, len(first)))
    if covered:
        ends = heads[:covered] + (1 << allocator.order[heads[:covered]].astype(np.int64))
        edges = np.stack([heads[:covered], ends], axis=1).ravel()
        rank[:covered] = np.minimum.reduceat(first, edges[:-1] if ends[-1] >= len(first) else edges)[::2]
    orders, leaf = allocator.order[heads], (heads >> allocator.pageblock_order).astype(np.int32)
    largest = orders == allocator.max_order
    lists = np.empty(len(heads), np.int16)
    _lists_of(allocator, heads, orders, lists)
    told, others = np.flatnonzero(rank != NEVER), np.flatnonzero((rank == NEVER) & ~largest)
    told = told[np.argsort(rank[told], kind="stable")]
    if order.name == WORN:
        order = as_shown(leaf[told], lists[told], order)
    others = others[draw(leaf[others], lists[others], order, random)]
    _empty_free_lists(allocator)
    for blocks in (told, np.flatnonzero((rank == NEVER) & largest), others):
        _append(allocator, heads[blocks], lists[blocks])
    return [
        f"How free blocks are ordered on their lists is not in /proc: the {len(told):,} that the recording takes "
        f"first lead, the other {len(others):,} are drawn by seed ({order.words})."
    ]


def as_shown(leaf: NDArray[Any], lists: NDArray[Any], order: ListOrder) -> ListOrder:
    """Numbers of unmovable lists by blocks in the order in which the recording takes them; `draw` has the arguments.

    Compaction takes blocks off movable lists, in the order of their addresses: those show nothing.
    """
    by_list = np.argsort(lists, kind="stable")
    by_list = by_list[lists[by_list] % TYPES != MOVABLE]
    leaf, lists = leaf[by_list], lists[by_list]
    early = np.arange(len(lists)) - np.searchsorted(lists, lists) < _FIRST
    leaf, lists = leaf[early], lists[early]
    pairs = lists[1:] == lists[:-1]
    if int(pairs.sum()) < _ENOUGH:
        return order
    shown = float((leaf[1:] == leaf[:-1])[pairs].mean())
    by_address = leaf[np.lexsort((leaf, lists))]

    def off(visits: Visits) -> float:
        drawn = by_address[draw(by_address, lists, ListOrder("", (visits,) * TYPES), np.random.default_rng(0))]
        return abs(float((drawn[1:] == drawn[:-1])[pairs].mean()) - shown)

    nearest = min((Visits(**row) for row in profiles.read("free_list_order")["shown"]["rows"]), key=off)
    of_type = (each if kind == MOVABLE else nearest for kind, each in enumerate(order.of_type))
    return ListOrder(order.name, tuple(of_type), order.turned_over, shown)


def draw(leaf: NDArray[Any], lists: NDArray[Any], order: ListOrder, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw the order of free blocks that are given by address.

    Args:
        leaf: (n,) the leaf of the direct map that each block is in; ascending.
        lists: (n,) the list that each block is on: a number whose remainder by TYPES is the list's migratetype.
        order: what they are drawn with.
        random: draws.

    Returns:
        (n,) places in `leaf`; those of one list, head first, are in list order.
    """
    n, numbers = len(leaf), np.array(order.of_type, np.float64)
    by_list = np.argsort(lists.astype(np.int16, copy=False), kind="stable")  # a radix sort
    leaf, lists = leaf[by_list], lists[by_list]
    chance = random.random((5, n), dtype=np.float32)
    visit, turn = np.zeros((2, n), np.int32)
    _visits(leaf, lists, numbers, chance[0], chance[1], visit)
    size = np.bincount(visit)
    start, place, drawn = np.zeros(len(size), np.int64), np.zeros(n), np.zeros(n, np.int64)
    _follow(lists, visit, size, chance[2], turn, start)
    _place(lists, numbers, visit, start, chance[3], chance[4], size, place)
    _sort(place, np.zeros(n + 1, np.int64), drawn)
    return by_list[drawn]


@compiled
def _visits(leaf, lists, numbers, alone, cut, visit):
    """The visit of each block: list by list, and in each leaf by address, cut into stretches of geometric length."""
    visits, running = 0, -1
    for i in range(len(leaf)):
        together, run, _ = numbers[lists[i] % TYPES]
        if i and (lists[i] != lists[i - 1] or leaf[i] != leaf[i - 1]):
            running = -1
        if alone[i] >= together or running < 0 or cut[i] * run < 1:
            visit[i] = visits
            running = visits if alone[i] < together else running
            visits += 1
        else:
            visit[i] = running


@compiled
def _follow(lists, visit, size, chance, turn, start):
    """The visits of a list follow each other by chance, each from the place where those before it would end."""
    i = end = at = 0
    while i < len(lists):
        first, here = end, lists[i]
        while i < len(lists) and lists[i] == here:
            end = max(end, visit[i] + 1)
            i += 1
        for j in range(first, end):
            turn[j] = j
        for j in range(end - 1, first, -1):
            other = first + int(chance[j] * (j - first + 1))
            turn[j], turn[other] = turn[other], turn[j]
        for j in range(first, end):
            start[turn[j]] = at
            at += size[turn[j]]


@compiled
def _place(lists, numbers, visit, start, coin, chance, last, place):
    """In a visit, addresses go up or down; it is 1 + Exp(gap - 1) places to its next block. `last` is overwritten."""
    n = len(lists)
    for down in range(2):
        last[:] = -1
        for k in range(n):
            i = n - 1 - k if down else k
            mine = visit[i]
            if (coin[mine] < 0.5) == (down == 1):
                place[i] = start[mine]
                if last[mine] >= 0:
                    gap = numbers[lists[i] % TYPES, 2]
                    place[i] = place[last[mine]] + 1 - (gap - 1) * np.log(1 - chance[i])
                last[mine] = i


@compiled
def _sort(place, count, drawn):
    """Blocks by place, rounded down; those beyond the end share the last. `count` (n + 1,) is zeros."""
    end = len(place) - 1.0
    for i in range(len(place)):
        count[np.int64(min(place[i], end)) + 1] += 1
    for i in range(len(place)):
        count[i + 1] += count[i]
    for i in range(len(place)):
        to = np.int64(min(place[i], end))
        drawn[count[to]] = i
        count[to] += 1


@compiled
def _lists_of(a, heads, orders, lists):
    """The list that each free block is on: a number whose remainder by TYPES is its migratetype."""
    zone = 0
    for i in range(len(heads)):
        while zone + 1 < len(a.zones) and heads[i] >= a.zones[zone + 1, FIRST_PFN]:
            zone += 1
        lists[i] = (zone * (a.max_order + 1) + orders[i]) * TYPES + block_type_of(a, heads[i])


@compiled
def _empty_free_lists(a):
    for place in range(len(a.zones) * (a.max_order + 1) * TYPES):
        head = len(a.kind) + place
        a.link[head, NEXT] = a.link[head, PREV] = head


@compiled
def _append(a, blocks, lists):
    """Put each free block at the tail of its list, one after the other."""
    for i in range(len(blocks)):
        list_add_tail(a.link, len(a.kind) + np.int64(lists[i]), blocks[i])
