"""The smallest machine that can break a strategy: a pool, a few chunks of memory, tasks, locks.

The direct map has tables of 8 entries: a "2M block" is 8 pages, and four pages (order 2, the smallest chunk that any
posting refills with) are still less than a block. Every chunk lies in a 1G leaf of its own: the adversary says
whether that is mapped by one 1G leaf, by 2M leaves or by 4K pages when the chunk is handed out, which covers whatever
happened to its neighbours before.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from replay.contract.actions import Chunk
from replay.kernel.leaves import PMD, PTE

TABLE_SHIFT = 3
BLOCK_ORDER = TABLE_SHIFT
BLOCK_PAGES = 1 << BLOCK_ORDER
REGION_SHIFT = 2 * TABLE_SHIFT
REGION_PAGES = 1 << REGION_SHIFT
"""Pages of a 1G leaf: every chunk starts at a multiple of it."""
CHUNKS = 4
"""Chunks that the machine can have outside the page allocator at a time."""

MOST_TASKS = 4
PLACES = (*["in hand"] * MOST_TASKS, "pooled", "on a CPU's list", "in use", "split table", "not mapped")
"""Where a page can be: in a task's hands, on the list that page tables come from, on a CPU's, handed out, a table of
the direct map, or on a shared list of memory that is not mapped."""
POOLED, ON_CPU, IN_USE, SPLIT_TABLE, UNMAPPED = range(MOST_TASKS, len(PLACES))


class BrokenInvariantError(Exception):
    """An invariant does not hold: its kind, as in the incident table, and what happened, in words."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(slots=True)
class Toy:
    """The machine. Everything that differs between two moments of a search.

    No value is changed in place, so that machines can share them: a copy costs little.
    """

    merges: bool = False
    """The pool is a private buddy."""
    key_each: bool = False
    """Each table gets the key when it is handed out."""
    users: bool = False
    """Kinds of user have lists: `pool` is that of page tables, and the shared list is memory that is not mapped."""
    pool: tuple[int, ...] = ()
    """Pages on the list, the next one to be handed out first."""
    place: Mapping[int, int] = field(default_factory=dict)
    """Where each page is that the strategy has (of `PLACES`): with a task, by its number, if a decision has it in hand.
    Other pages belong to the page allocator."""
    keyed: frozenset[int] = frozenset()
    leaf: Mapping[int, int] = field(default_factory=dict)
    """Level of the leaf that maps each chunk, by the chunk's first page."""
    whole: frozenset[int] = frozenset()
    """Blocks on the list that came in one piece and of which nothing was withdrawn, by first page."""
    locks: Mapping[str, int] = field(default_factory=dict)
    """The task that holds each lock."""
    on_cpu: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Pages on the list of each task's CPU, the next one to be handed out first: every task has a CPU of its own."""
    unmapped: tuple[int, ...] = ()
    """Pages of the shared list of memory that is not mapped."""

    def copy(self) -> "Toy":
        """An independent copy."""
        return Toy(
            self.merges,
            self.key_each,
            self.users,
            self.pool,
            self.place,
            self.keyed,
            self.leaf,
            self.whole,
            self.locks,
            self.on_cpu,
            self.unmapped,
        )

    # ------------------------------------------------------------------------------------- the page allocator

    @property
    def memory_left(self) -> bool:
        """Whether the page allocator has another chunk."""
        return len(self.leaf) < CHUNKS

    def allocate(self, order: int, level: int, task: int) -> Chunk:
        """Hand out a chunk that lies under a leaf of this level."""
        first = next(first for first in count(0, REGION_PAGES) if first not in self.leaf)
        self.leaf = {**self.leaf, first: level}
        self.move(range(first, first + (1 << order)), task)
        return Chunk(first, order)

    def isolate(self, chunk: Chunk, task: int) -> Chunk:
        """Hand out the page after a chunk, which lies in the same block."""
        page = chunk.pfn + chunk.pages
        self.move([page], task)
        return Chunk(page, 0)

    def free(self, chunk: Chunk) -> None:
        """Take a chunk back."""
        pages, region = pages_of(chunk), region_of(chunk.pfn)
        for page in pages:
            self._expect_in_hand(page, "freed")
            if page in self.keyed:
                raise BrokenInvariantError("unkeyed_table", "a page goes back to the page allocator with the key")
        self.place = {page: place for page, place in self.place.items() if page not in pages}
        if not any(region_of(page) == region for page in self.place):
            self.leaf = {first: level for first, level in self.leaf.items() if first != region}

    # --------------------------------------------------------------------------------------------- the pool

    def give(self, chunk: Chunk) -> None:
        """Put a chunk at the head of the list."""
        pages = [page for page in pages_of(chunk) if self.place.get(page) != SPLIT_TABLE]
        for page in reversed(pages):
            self._expect_in_hand(page, "given to the pool")
        self.move(pages, POOLED)
        self.pool = (*pages, *self.pool)
        if chunk.order >= BLOCK_ORDER:
            self.whole |= {chunk.pfn}

    def give_rest(self, chunk: Chunk, order: int, task: int) -> Chunk | None:
        """Put a chunk at the head of the list, except its first pages, which stay in hand; None if it is too small."""
        self.give(chunk)
        if order > chunk.order:
            return None
        kept = Chunk(chunk.pfn, order)
        self.pool = _without(self.pool, pages_of(kept))
        self.move(pages_of(kept), task)
        return kept

    def share(self, chunk: Chunk) -> None:
        """Put a chunk on the list of pages that are not mapped."""
        pages = pages_of(chunk)
        for page in pages:
            self._expect_in_hand(page, "shared")
        self.move(pages, UNMAPPED)
        self.unmapped = tuple(sorted((*self.unmapped, *pages)))

    def take_unmapped(self, order: int, task: int) -> Chunk | None:
        """A chunk of the pages that are not mapped, out of the smallest that has it; None when there is none."""
        found = next((chunk for chunk in self.chunks() if chunk.order >= order), None)
        return Chunk(found.pfn, order) if found is not None and self.withdraw(Chunk(found.pfn, order), task) else None

    def withdraw(self, chunk: Chunk, task: int) -> bool:
        """Take idle pages off the list; False when they are not all on it."""
        pages, place = pages_of(chunk), UNMAPPED if self.users else POOLED
        if any(self.place.get(page) != place for page in pages):
            return False
        self.whole -= {region_of(chunk.pfn)}
        if self.users:
            self.unmapped = _without(self.unmapped, pages)
        else:
            self.pool = _without(self.pool, pages)
        self.move(pages, task)
        return True

    def can_serve(self, task: int, reserve: int) -> bool:
        """Whether a page table can be handed out without a decision."""
        return bool(self.on_cpu.get(task)) or len(self.pool) - 1 >= reserve

    def hand_out(self, task: int, reserve: int, batch: int) -> None:
        """A page becomes a page table in use: of the CPU's list, filled from the shared one, where CPUs have lists."""
        if not batch:
            self._serve(self.next_page())
            return
        own = self.on_cpu.get(task, ())
        if not own:
            own = tuple(self.next_page() for _ in range(min(batch, len(self.pool) - reserve)))
            self.move(own, ON_CPU)
        self.on_cpu = {**self.on_cpu, task: own[1:]}
        self._serve(own[0])

    def _serve(self, page: int) -> None:
        if self.key_each:
            self.keyed |= {page}
        self.use(page, IN_USE)

    def next_page(self) -> int:
        """Take the next page off the shared list: its head, or the first of the smallest chunk."""
        page = self.chunks()[0].pfn if self.merges else self.pool[0]
        self.pool = _without(self.pool, [page])
        return page

    def chunks(self) -> list[Chunk]:
        """What the pages of the shared list merge into, the smallest first."""
        left, found = set(self.unmapped if self.users else self.pool), []
        for order in range(BLOCK_ORDER if self.merges or self.users else 0, -1, -1):
            for first in sorted(page for page in left if page % (1 << order) == 0):
                pages = range(first, first + (1 << order))
                if left.issuperset(pages):
                    left.difference_update(pages)
                    found.append(Chunk(first, order))
        return sorted(found, key=lambda chunk: (chunk.order, chunk.pfn))

    def use(self, page: int, as_what: int) -> None:
        """A page becomes a table: it has to carry the key."""
        self.move([page], as_what)
        if page not in self.keyed:
            what = "a page table" if as_what == IN_USE else "a table of the direct map"
            raise BrokenInvariantError("unkeyed_table", f"{what} is used without the key")

    def put_back(self, page: int, task: int, batch: int) -> None:
        """A page table in use is freed: head of the list; of two full batches on a CPU's list one goes back."""
        if self.key_each:
            self.keyed -= {page}
        if not batch:
            self.move([page], POOLED)
            self.pool = (page, *self.pool)
            return
        self.move([page], ON_CPU)
        own = (page, *self.on_cpu.get(task, ()))
        if len(own) > 2 * batch:
            self.move(own[-batch:], POOLED)
            self.pool = own[-batch:] + self.pool
            own = own[:-batch]
        self.on_cpu = {**self.on_cpu, task: own}

    def idle_blocks(self) -> tuple[tuple[int, int, bool], ...]:
        """First page and number of idle pages of every block that has some, and whether it is whole."""
        idle = Counter(page - page % BLOCK_PAGES for page in self.pool)
        return tuple((first, pages, first in self.whole) for first, pages in sorted(idle.items()))

    def idle_pages(self, first: int) -> tuple[int, ...]:
        """Idle pages of a block."""
        return tuple(sorted(page for page in self.pool if first <= page < first + BLOCK_PAGES))

    # ---------------------------------------------------------------------------------------- the direct map

    def tables_for(self, chunk: Chunk) -> int:
        """Tables that a permission change of a chunk takes: what lies above it is split until it fits."""
        level = self.leaf[region_of(chunk.pfn)]
        return max(level - (PMD if chunk.order >= BLOCK_ORDER else PTE), 0)

    def was_split(self, chunk: Chunk) -> None:
        """The leaf above a chunk is now of the chunk's own size."""
        region = region_of(chunk.pfn)
        self.leaf = {**self.leaf, region: min(self.leaf[region], PMD if chunk.order >= BLOCK_ORDER else PTE)}

    def set_key(self, chunk: Chunk) -> None:
        """The pages of a chunk have the key."""
        self.keyed = self.keyed.union(pages_of(chunk))

    def clear_key(self, chunk: Chunk) -> None:
        """They do not have it any more."""
        self.keyed = self.keyed.difference(pages_of(chunk))

    def take_tables(self, needed: int, whose: str) -> None:
        """Spend pages of the pool as tables of the direct map."""
        if needed > len(self.pool):
            raise BrokenInvariantError(
                "split_starvation", f"{whose} needs {tables_of(needed)} and the pool has {len(self.pool) or 'none'}"
            )
        for _ in range(needed):
            self.use(self.next_page(), SPLIT_TABLE)

    # ------------------------------------------------------------------------------------------------- locks

    def lock(self, name: str, task: int) -> None:
        """A task acquires a lock."""
        self.locks = {**self.locks, name: task}

    def unlock(self, name: str) -> None:
        """A lock is released."""
        locks = {**self.locks}
        del locks[name]
        self.locks = locks

    # ------------------------------------------------------------------------------------------------ states

    def move(self, pages: Iterable[int], place: int) -> None:
        """Pages are somewhere else from now on."""
        self.place = {**self.place, **dict.fromkeys(pages, place)}

    def _expect_in_hand(self, page: int, what: str) -> None:
        place = self.place.get(page)
        if place is None or place >= MOST_TASKS:
            where = "not ours" if place is None else PLACES[place]
            raise BrokenInvariantError("lost_page", f"a page is {what} that is {where}")

    def in_hand_of(self, task: int) -> int:
        """Pages that a task has in hand."""
        return list(self.place.values()).count(task)


def pages_of(chunk: Chunk) -> range:
    """Its pages."""
    return range(chunk.pfn, chunk.pfn + chunk.pages)


def _without(pages: tuple[int, ...], taken: Iterable[int]) -> tuple[int, ...]:
    left = list(pages)
    for page in taken:
        left.remove(page)
    return tuple(left)


def region_of(page: int) -> int:
    """The first page of the 1G leaf that a page lies under: of the chunk that it belongs to."""
    return page - page % REGION_PAGES


def tables_of(number: int) -> str:
    """A number of tables, in words."""
    return "1 table" if number == 1 else f"{number} tables"
