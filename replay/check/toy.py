"""The smallest machine that can break a strategy: a pool, a few chunks of memory, tasks, locks.

The direct map has tables of 8 entries: a "2M block" is 8 pages, and four pages (order 2, the smallest chunk that any
posting refills with) are still less than a block. Every chunk lies in a 1G leaf of its own: the adversary says
whether that is mapped by one 1G leaf, by 2M leaves or by 4K pages when the chunk is handed out, which covers whatever
happened to its neighbours before.
"""

from collections import Counter
from copy import copy
from dataclasses import dataclass, field
from itertools import count

from replay.contract.actions import Change, Chunk
from replay.contract.strategy import PoolView
from replay.kernel.leaves import PMD, PTE

TABLE_SHIFT = 3
BLOCK_ORDER = TABLE_SHIFT
BLOCK_PAGES = 1 << BLOCK_ORDER
REGION_PAGES = 1 << 2 * TABLE_SHIFT
"""Pages of a 1G leaf: every chunk starts at a multiple of it."""
CHUNKS = 4
"""Chunks that the machine can have outside the page allocator at a time."""

POOLED, ON_CPU, IN_USE, SPLIT_TABLE, IN_HAND = "pooled", "on a CPU's list", "in use", "split table", "in hand"
UNMAPPED = "not mapped"
"""Where a page is: on the list that page tables come from, on a CPU's, handed out, a table of the direct map, with the
decision that holds it, or on a shared list of memory that is not mapped."""


class BrokenInvariantError(Exception):
    """An invariant does not hold: its kind, as in the incident table, and what happened, in words."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass
class Toy:
    """The machine. Everything that differs between two moments of a search."""

    pool: list[int] = field(default_factory=list)
    """Pages on the list, the next one to be handed out first."""
    place: dict[int, str] = field(default_factory=dict)
    """Where each page is that the strategy has; others belong to the page allocator."""
    keyed: set[int] = field(default_factory=set)
    leaf: dict[int, int] = field(default_factory=dict)
    """Level of the leaf that maps each chunk, by the chunk's first page."""
    whole: set[int] = field(default_factory=set)
    """Blocks on the list that came in one piece and of which nothing was withdrawn, by first page."""
    holder: dict[int, int] = field(default_factory=dict)
    """The task that has a page in hand."""
    locks: dict[str, int] = field(default_factory=dict)
    """The task that holds each lock."""
    on_cpu: dict[int, list[int]] = field(default_factory=dict)
    """Pages on the list of each task's CPU, the next one to be handed out first: every task has a CPU of its own."""
    merges: bool = False
    """The pool is a private buddy."""
    key_each: bool = False
    """Each table gets the key when it is handed out."""
    users: bool = False
    """Kinds of user have lists: `pool` is that of page tables, and the shared list is memory that is not mapped."""
    unmapped: list[int] = field(default_factory=list)
    """Pages of that shared list."""

    def copy(self) -> "Toy":
        """An independent copy."""
        toy = Toy(**{name: copy(value) for name, value in vars(self).items()})
        toy.on_cpu = {task: pages.copy() for task, pages in self.on_cpu.items()}
        return toy

    # ------------------------------------------------------------------------------------- the page allocator

    @property
    def memory_left(self) -> bool:
        """Whether the page allocator has another chunk."""
        return len(self.leaf) < CHUNKS

    def allocate(self, order: int, level: int, task: int) -> Chunk:
        """Hand out a chunk that lies under a leaf of this level."""
        first = next(first for first in count(0, REGION_PAGES) if first not in self.leaf)
        self.leaf[first] = level
        for page in range(first, first + (1 << order)):
            self.place[page] = IN_HAND
            self.holder[page] = task
        return Chunk(first, order)

    def isolate(self, chunk: Chunk, task: int) -> Chunk:
        """Hand out the page after a chunk, which lies in the same block."""
        page = chunk.pfn + chunk.pages
        self.place[page] = IN_HAND
        self.holder[page] = task
        return Chunk(page, 0)

    def free(self, chunk: Chunk) -> None:
        """Take a chunk back."""
        for page in range(chunk.pfn, chunk.pfn + chunk.pages):
            self._expect(page, IN_HAND, "freed")
            if page in self.keyed:
                raise BrokenInvariantError("unkeyed_table", "a page goes back to the page allocator with the key")
            del self.place[page], self.holder[page]
        region = region_of(chunk.pfn)
        if not any(region_of(page) == region for page in self.place):
            del self.leaf[region]

    # --------------------------------------------------------------------------------------------- the pool

    def give(self, chunk: Chunk) -> None:
        """Put a chunk at the head of the list."""
        for page in range(chunk.pfn + chunk.pages - 1, chunk.pfn - 1, -1):
            if self.place.get(page) == SPLIT_TABLE:
                continue
            self._expect(page, IN_HAND, "given to the pool")
            del self.holder[page]
            self.place[page] = POOLED
            self.pool.insert(0, page)
        if chunk.order >= BLOCK_ORDER:
            self.whole.add(chunk.pfn)

    def give_rest(self, chunk: Chunk, order: int, task: int) -> Chunk | None:
        """Put a chunk at the head of the list, except its first pages, which stay in hand; None if it is too small."""
        self.give(chunk)
        if order > chunk.order:
            return None
        for page in range(chunk.pfn, chunk.pfn + (1 << order)):
            self.pool.remove(page)
            self.place[page] = IN_HAND
            self.holder[page] = task
        return Chunk(chunk.pfn, order)

    def share(self, chunk: Chunk) -> None:
        """Put a chunk on the list of pages that are not mapped."""
        for page in range(chunk.pfn, chunk.pfn + chunk.pages):
            self._expect(page, IN_HAND, "shared")
            del self.holder[page]
            self.place[page] = UNMAPPED
            self.unmapped.append(page)
        self.unmapped.sort()

    def take_unmapped(self, order: int, task: int) -> Chunk | None:
        """A chunk of the pages that are not mapped, out of the smallest that has it; None when there is none."""
        found = next((chunk for chunk in self.chunks() if chunk.order >= order), None)
        return Chunk(found.pfn, order) if found is not None and self.withdraw(Chunk(found.pfn, order), task) else None

    def withdraw(self, chunk: Chunk, task: int) -> bool:
        """Take idle pages off the list; False when they are not all on it."""
        pages = range(chunk.pfn, chunk.pfn + chunk.pages)
        source, place = (self.unmapped, UNMAPPED) if self.users else (self.pool, POOLED)
        if any(self.place.get(page) != place for page in pages):
            return False
        self.whole.discard(region_of(chunk.pfn))
        for page in pages:
            source.remove(page)
            self.place[page] = IN_HAND
            self.holder[page] = task
        return True

    def can_serve(self, task: int, reserve: int) -> bool:
        """Whether a page table can be handed out without a decision."""
        return bool(self.on_cpu.get(task)) or len(self.pool) - 1 >= reserve

    def hand_out(self, task: int, reserve: int, batch: int) -> None:
        """A page becomes a page table in use: of the CPU's list, filled from the shared one, where CPUs have lists."""
        if not batch:
            self._serve(self.next_page())
            return
        own = self.on_cpu.setdefault(task, [])
        if not own:
            for _ in range(min(batch, len(self.pool) - reserve)):
                own.append(self.next_page())
                self.place[own[-1]] = ON_CPU
        self._serve(own.pop(0))

    def _serve(self, page: int) -> None:
        if self.key_each:
            self.keyed.add(page)
        self.use(page, IN_USE)

    def next_page(self) -> int:
        """Take the next page off the shared list: its head, or the first of the smallest chunk."""
        page = self.chunks()[0].pfn if self.merges else self.pool[0]
        self.pool.remove(page)
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

    def use(self, page: int, as_what: str) -> None:
        """A page becomes a table: it has to carry the key."""
        self.place[page] = as_what
        self.holder.pop(page, None)
        if page not in self.keyed:
            what = "a page table" if as_what == IN_USE else "a table of the direct map"
            raise BrokenInvariantError("unkeyed_table", f"{what} is used without the key")

    def put_back(self, page: int, task: int, batch: int) -> None:
        """A page table in use is freed: head of the list; of two full batches on a CPU's list one goes back."""
        if self.key_each:
            self.keyed.discard(page)
        if not batch:
            self.place[page] = POOLED
            self.pool.insert(0, page)
            return
        own = self.on_cpu.setdefault(task, [])
        self.place[page] = ON_CPU
        own.insert(0, page)
        if len(own) > 2 * batch:
            for _ in range(batch):
                self.pool.insert(0, own.pop())
                self.place[self.pool[0]] = POOLED

    # ---------------------------------------------------------------------------------------- the direct map

    def tables_for(self, chunk: Chunk) -> int:
        """Tables that a permission change of a chunk takes: what lies above it is split until it fits."""
        level = self.leaf[region_of(chunk.pfn)]
        return max(level - (PMD if chunk.order >= BLOCK_ORDER else PTE), 0)

    def was_split(self, chunk: Chunk) -> None:
        """The leaf above a chunk is now of the chunk's own size."""
        region = region_of(chunk.pfn)
        self.leaf[region] = min(self.leaf[region], PMD if chunk.order >= BLOCK_ORDER else PTE)

    def take_tables(self, needed: int, whose: str) -> None:
        """Spend pages of the pool as tables of the direct map."""
        if needed > len(self.pool):
            raise BrokenInvariantError(
                "split_starvation", f"{whose} needs {tables_of(needed)} and the pool has {len(self.pool) or 'none'}"
            )
        for _ in range(needed):
            self.use(self.next_page(), SPLIT_TABLE)

    # ------------------------------------------------------------------------------------------------ states

    def _expect(self, page: int, place: str, what: str) -> None:
        if self.place.get(page) != place:
            raise BrokenInvariantError("lost_page", f"a page is {what} that is {self.place.get(page, 'not ours')}")

    def in_hand_of(self, task: int) -> int:
        """Pages that a task has in hand."""
        return sum(holder == task for holder in self.holder.values())


def region_of(page: int) -> int:
    """The first page of the 1G leaf that a page lies under: of the chunk that it belongs to."""
    return page - page % REGION_PAGES


def tables_of(number: int) -> str:
    """A number of tables, in words."""
    return "1 table" if number == 1 else f"{number} tables"


class LoggedView(PoolView):
    """The pool as a decision sees it: first what the log says that it saw before, then what is there now.

    A generator cannot be copied; it is run again from its beginning with the same results and the same views.
    """

    def __init__(self, toy: Toy, log: tuple[object, ...]) -> None:
        self._toy, self.log, self.at = toy, list(log), 0

    def _see(self, now: object) -> object:
        if self.at < len(self.log):
            now = self.log[self.at]
        else:
            self.log.append(now)
        self.at += 1
        return now

    @property
    def block_order(self) -> int:
        """A block's."""
        return BLOCK_ORDER

    @property
    def cached(self) -> int:
        """Pages on the list."""
        return self._see(len(self._toy.pool))  # type: ignore[return-value]

    def tables_needed(self, change: Change) -> int:
        """Tables that a change takes: for one elsewhere the adversary has said so (its first page number)."""
        if change.pfn < 0:
            return -change.pfn
        order = change.pages.bit_length() - 1
        region = self._toy.leaf.get(region_of(change.pfn))
        return self._see(0 if region is None else self._toy.tables_for(Chunk(change.pfn, order)))  # type: ignore[return-value]

    @property
    def tables_for_4k(self) -> int:
        """What is set aside covers the worst case: how much that is does not matter here."""
        return 0

    @property
    def largest_free(self) -> int:
        """A block: the adversary can refuse it."""
        return BLOCK_ORDER

    def idle_chunks(self) -> list[Chunk]:
        """What idle pages have merged into."""
        return list(self._see(tuple(self._toy.chunks())))  # type: ignore[call-overload,no-any-return]

    def idle_blocks(self) -> list[tuple[int, int, bool]]:
        """Idle pages by block, and whether it is whole."""
        idle = Counter(page - page % BLOCK_PAGES for page in self._toy.pool)
        found = tuple((first, pages, first in self._toy.whole) for first, pages in sorted(idle.items()))
        return list(self._see(found))  # type: ignore[call-overload,no-any-return]

    def idle_pages(self, first: int) -> list[int]:
        """Idle pages of a block."""
        found = tuple(sorted(page for page in self._toy.pool if first <= page < first + BLOCK_PAGES))
        return list(self._see(found))  # type: ignore[call-overload,no-any-return]
