"""What strategies keep books of, slow and obvious: lists of pages, and a dict of leaves.

Written from the postings as the strategies' docstrings give them, not from their code. What a strategy cannot know in
advance (which pages the page allocator gives, when memory is short) is read from what happened: see `World`.
"""

from collections import deque

from reference_direct_map import NOT_PRESENT, ReferenceDirectMap

KEYED = 1
ORDINARY = NOT_PRESENT | 4  # secret, read-only
BLOCK = 4  # pages, on the toy machine


class World:
    """The direct map, and what the page allocator answered, in order: ``(what, ...)``."""

    def __init__(self, leaves):
        self.map = ReferenceDirectMap(leaves, BLOCK)
        self.log = deque()

    def needed(self, first, pages, set_bits, clear_bits):
        """Leaves that a change would split."""
        trial = ReferenceDirectMap([], BLOCK)
        trial.leaves = {page: list(leaf) for page, leaf in self.map.leaves.items()}
        trial.change(first, pages, set_bits, clear_bits)
        return len(trial.log)

    def told(self, what, shrinks):
        """The next answer; the shrinker is entered while the page allocator looks for memory."""
        while self.log[0][0] == "shrink":
            shrinks(*self.log.popleft()[1:])
        entry = self.log.popleft()
        assert entry[0] == what, (entry, what)
        return entry[1:]


class Unprotected:
    """Page tables are what the page allocator gives; so are the tables of the direct map."""

    adopts = 0  # most pages of what others free into marked blocks and it takes

    def __init__(self, strategy, world):
        self.s, self.world = strategy, world
        self.idle, self.own = [], [[]]  # the shared list, and those of CPUs or users; head first
        self.live, self.marked = {}, set()  # page tables, with the key or not; blocks
        self.refills = self.nulls = self.refused = self.starved = self.shrunk = self.warns = self.deadlocks = 0

    # ------------------------------------------------------------------------------------- the page allocator

    def alloc(self, order):
        asked, pages = self.world.told("alloc", self.shrink_now)
        assert asked == order
        return pages

    def change(self, pages, set_bits=0, clear_bits=0, tables="buddy", own=True):
        """A permission change with tables from somewhere; False when there are none."""
        plan = pages[0], len(pages), set_bits, clear_bits
        done = self.supply(tables, self.world.needed(*plan), pages)
        self.starved += own and not done
        if done:
            self.world.map.change(*plan)
        return done

    def supply(self, tables, needed, pages):
        if tables in ("buddy", "aside"):
            (done,) = self.world.told("tables", self.shrink_now)
            return done
        if tables == "pool" and needed > len(self.splitters()):
            return False
        for _ in range(needed if tables == "pool" else 0):
            self.spend()
        return True

    def splitters(self):
        return self.idle

    def spend(self):
        self.idle.pop(0)

    # ----------------------------------------------------------------------------------------------- requests

    def boot(self):
        pass

    def table(self, order, pages):
        """A page table; `pages` is what the page allocator gave, where it is asked; None: nothing."""
        if pages is None:
            self.nulls += 1
            return
        self.live.update(dict.fromkeys(pages, False))

    def free(self, pages):
        for page in pages:
            del self.live[page]

    def after_free(self):
        pass

    def ordinary_free(self, pages, *, unmovable):
        """Memory of others is freed: it is ordinary again, and goes to the strategy if that has marked its block."""
        attributes = self.world.map.leaves[self.world.map.leaf_of(pages[0])][1]
        if unmovable and attributes & ORDINARY and not self.world.needed(pages[0], len(pages), 0, ORDINARY):
            self.world.map.change(pages[0], len(pages), 0, ORDINARY)
        if pages[0] // BLOCK in self.marked and len(pages) <= self.adopts:
            self.give(pages)

    def others(self, change):
        first, count, set_bits, clear_bits = change
        done = self.change(range(first, first + count), set_bits, clear_bits, self.tables_of_others, own=False)
        self.starved += not done

    tables_of_others = "buddy"

    def shrink_now(self, *request):
        """The shrinker, or what a request of others (its order and type) falls back to."""
        self.shrunk += self.shrink(*request)

    def shrink(self):
        return 0


class PteMapped(Unprotected):
    """The key page by page; nothing splits."""

    def table(self, order, pages):
        super().table(order, pages)
        if pages is not None and self.construct(pages):
            self.live.update(dict.fromkeys(pages, True))

    def construct(self, pages):
        self.world.map.change(pages[0], len(pages), KEYED, 0)
        return True

    def free(self, pages):
        if self.live[pages[0]]:
            self.world.map.change(pages[0], len(pages), 0, KEYED)
        super().free(pages)


class CtorNaive(PteMapped):
    """A constructor that needs a table constructs that under the lock which it holds: it never ends."""

    def construct(self, pages):
        if self.world.needed(pages[0], len(pages), KEYED, 0):
            self.alloc(0)
            return False
        return super().construct(pages)

    def others(self, change):
        if self.world.needed(*change):
            self.alloc(0)
            self.starved += 1
        else:
            self.world.map.change(*change)


class Pool(Unprotected):
    """A list, most recently used first; refilled with one of some orders, keyed as a whole."""

    reserve = batch = 0
    tables, tables_of_others = "pool", "pool"
    key_each = pairs = False

    def orders(self, order):
        return self.s.refill_orders

    def table(self, order, pages):
        if order and not self.pairs:
            super().table(order, pages)
        elif not self.special(None, order):
            self.nulls += 1

    def special(self, user, order):
        """Look, and refill and look again, at most eight times; what a refill hands out itself is taken."""
        got = self.take(order, self.reserve)
        for _ in range(8):
            if got is not None:
                break
            got = self.refill(order)
            if got is None:
                break
            if got is True:
                got = self.take(order, self.reserve)
        if got is None:
            return False
        if self.key_each:
            self.world.map.change(got[0], len(got), KEYED, 0)
        self.live.update(dict.fromkeys(got, True))
        return True

    def free(self, pages):
        keyed = self.live[pages[0]]
        super().free(pages)
        if not keyed:
            return
        if self.key_each:
            self.world.map.change(pages[0], len(pages), 0, KEYED)
        if not self.batch or len(pages) > 1:
            self.put(pages)
            return
        (own,) = self.own
        own[:0] = pages
        if len(own) > 2 * self.batch:
            for _ in range(self.batch):
                self.put([own.pop()])

    def take(self, order, reserve):
        """From the CPU's list (the runs are of one CPU), which takes a batch from the shared one when it is empty."""
        if not self.batch or order:
            return self.from_shared(order) if self.count() - (1 << order) >= reserve else None
        (own,) = self.own
        if not own:
            for _ in range(min(self.batch, self.count() - reserve)):
                own += self.from_shared(0)
        return [own.pop(0)] if own else None

    def count(self):
        return len(self.idle)

    def from_shared(self, order):
        return [self.idle.pop(0)] if self.idle else None

    def put(self, pages):
        self.idle[:0] = pages

    def give(self, pages):
        self.put(pages)

    def withdraw(self, pages):
        for page in pages:
            self.idle.remove(page)

    def convert(self, pages):
        return self.change(pages, KEYED, 0, self.tables)

    def refill(self, order):
        for wanted in self.orders(order):
            if (pages := self.alloc(wanted)) is not None:
                if not self.convert(pages):
                    return None
                self.refills += 1
                self.give(pages)
                return True
        return None

    def give_back(self, pages, tables, key=True):
        """Clear the key and free; what cannot be cleared stays."""
        self.withdraw(pages)
        if key and not self.change(pages, 0, KEYED, tables):
            self.put(pages)
            return 0
        return len(pages)


class Buddy(Pool):
    """A private buddy: chunks on a list for each order, the smallest that serves; what comes back merges."""

    tables = tables_of_others = "buddy"
    pairs = True

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.chunks = {order: [] for order in range(3)}
        self.batch = getattr(strategy, "pcp_batch", 0)

    def count(self):
        return sum(len(chunks) << order for order, chunks in self.chunks.items())

    def from_shared(self, order):
        larger = next((larger for larger in range(order, 3) if self.chunks[larger]), None)
        if larger is None:
            return None
        first = self.chunks[larger].pop(0)
        for half in range(larger - 1, order - 1, -1):
            self.chunks[half].insert(0, first + (1 << half))
        return list(range(first, first + (1 << order)))

    def put(self, pages):
        for page in reversed(pages):
            self.merge(page, 0)

    def merge(self, page, order):
        while order < 2 and page ^ 1 << order in self.chunks[order]:
            self.chunks[order].remove(page ^ 1 << order)
            page &= ~(1 << order)
            order += 1
        self.chunks[order].insert(0, page)

    def withdraw(self, pages):
        for page in pages:
            order = next(order for order in range(3) if page >> order << order in self.chunks[order])
            self.chunks[order].remove(page >> order << order)
            while order > 0:
                order -= 1
                self.chunks[order].insert(0, (page >> order << order) ^ 1 << order)

    def all_chunks(self):
        return [list(range(page, page + (1 << order))) for order in range(3) for page in sorted(self.chunks[order])]
