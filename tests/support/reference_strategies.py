"""Each strategy's bookkeeping again, slow and obvious: lists of pages, and a dict of leaves.

Written from the postings as the strategies' docstrings give them, not from their code. What a strategy cannot know in
advance (which pages the page allocator gives, when memory is short) is read from what happened: see `World`.
"""

from collections import deque

from reference_direct_map import KERNEL_4K, NOT_PRESENT, ReferenceDirectMap

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
            self.log.popleft()
            shrinks()
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
        self.refills = self.nulls = self.refused = self.starved = self.shrunk = 0

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

    def bypasses(self, order):
        return order == 1 and self.s.pgd == "bypass"

    def table(self, order, pages):
        """A page table; `pages` is what the page allocator gave, where it is asked; None: nothing."""
        if pages is None:
            self.nulls += 1
            return
        self.live.update(dict.fromkeys(pages, False))

    def free(self, pages):
        for page in pages:
            del self.live[page]

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

    def shrink_now(self):
        self.shrunk += self.shrink()

    def shrink(self):
        return 0


class PteMapped(Unprotected):
    """The key page by page; nothing splits."""

    def table(self, order, pages):
        super().table(order, pages)
        if pages is not None and not self.bypasses(order) and self.construct(pages):
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
    key_each = False

    def orders(self, order):
        return self.s.refill_orders

    def table(self, order, pages):
        """Look, and refill and look again, at most eight times; what a refill hands out itself is taken."""
        if self.bypasses(order):
            super().table(order, pages)
            return
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
            self.nulls += 1
            return
        if self.key_each:
            self.world.map.change(got[0], len(got), KEYED, 0)
        self.live.update(dict.fromkeys(got, True))

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
        return first_of(self.idle, order)

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


class ReserveBlock(Pool):
    """Two pages in reserve; a block, else four pages. Others wait until their tables are there on top of it."""

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.reserve = strategy.reserve

    def orders(self, order):
        return self.s.block_order, self.s.last_order

    def boot(self):
        self.tables = "boot"
        self.refill(0)
        self.tables = "pool"

    def others(self, change):
        while len(self.splitters()) < self.reserve + self.world.needed(*change):
            if self.refill(0) is None:
                self.starved += 1
                return
        super().others(change)


class ReserveBlockPerCpu(ReserveBlock):
    """In front of it a list for the CPU: two magazines at most."""

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.batch = 1 << strategy.magazine_order


class SelfSplit(Pool):
    """The tables of a split are the first pages of what is split."""

    def convert(self, pages):
        needed = self.world.needed(pages[0], len(pages), KEYED, 0)
        if needed > len(pages):
            self.starved += 1
            return False
        self.world.map.change(pages[0], len(pages), KEYED, 0)
        del pages[:needed]
        return True

    def others(self, change):
        while len(self.idle) < self.world.needed(*change):
            if self.refill(0) is None:
                self.starved += 1
                return
        super().others(change)


class FullReserve(Pool):
    """Tables for the whole direct map set aside; they are never missing. The shrinker frees page by page."""

    tables = tables_of_others = "aside"

    def boot(self):
        (aside,) = self.world.told("aside", self.shrink_now)
        for page in aside:
            self.world.map.change(page, 1, KEYED, 0)

    def shrink(self):
        return sum(self.give_back([page], "aside") for page in sorted(self.idle)[: self.s.shrink_batch])


class Pba(Pool):
    """A request below the reserve is served from what the refill brought; whole free blocks go back first."""

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.reserve, self.whole = strategy.reserve, set()

    def boot(self):
        self.tables = "boot"
        super().refill(0)
        self.tables = "pool"

    def refill(self, order):
        return None if super().refill(order) is None else self.take(order, 0)

    def others(self, change):
        while len(self.idle) < self.reserve:
            if super().refill(0) is None:
                self.starved += 1
                return
        super().others(change)

    def give(self, pages):
        if len(pages) == BLOCK:
            self.whole.add(pages[0] // BLOCK)
        super().give(pages)

    def shrink(self):
        spare = len(self.idle) - self.s.unshrinkable
        if spare <= 0:
            return 0
        free = {block: [page for page in sorted(self.idle) if page // BLOCK == block] for block in self.whole}
        target = max(free, key=lambda block: (len(free[block]), block), default=None)
        most = len(free[target]) if target is not None else 0
        single = [page for page in sorted(self.idle) if page // BLOCK not in self.whole]
        if most == BLOCK:
            if spare < BLOCK:
                return 0
            self.whole.discard(target)
            return self.release([free[target]])
        chosen = single
        if len(single) < most and len(single) < self.s.shrink_batch and most >= self.s.shrink_block_min:
            self.whole.discard(target)
            chosen = free[target]
        return self.release([[page] for page in chosen[: min(spare, self.s.shrink_batch)]])

    def release(self, pieces):
        """All leave the list before the first key is reset; where a table is missing, what is left comes back."""
        for pages in pieces:
            self.withdraw(pages)
        freed = 0
        while pieces and self.change(pieces[0], 0, KEYED, "pool"):
            freed += len(pieces.pop(0))
        for pages in pieces:
            self.put(pages)
        return freed


class PteCache(Pool):
    """Pages mapped small, keyed one by one; single pages freed into its blocks stay."""

    tables = tables_of_others = "buddy"
    key_each, adopts = True, 1

    def convert(self, pages):
        """set_memory_4k() on what came: the large page around it is split."""
        if not self.change(pages[:1], KERNEL_4K, 0, "buddy"):
            return False
        self.marked.add(pages[0] // BLOCK)
        return True

    def shrink(self):
        return sum(self.give_back([page], "", key=False) for page in sorted(self.idle)[: self.s.shrink_batch])


class Buddy(Pool):
    """A private buddy: chunks on a list for each order, the smallest that serves; what comes back merges."""

    tables = tables_of_others = "buddy"

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


class UnmappedAlloc(Buddy):
    """From a block down to the request; the shrinker gives chunks back, the smallest first."""

    def orders(self, order):
        return range(self.s.block_order, order - 1, -1)

    def shrink(self):
        freed = 0
        for chunk in self.all_chunks():
            if freed < self.s.shrink_batch:
                freed += self.give_back(chunk, "buddy")
        return freed


class Freetype(Buddy):
    """Whole blocks only; one that is free goes back before anybody waits."""

    def orders(self, order):
        return (self.s.block_order,)

    def shrink(self):
        whole = min(self.chunks[2], default=None)
        return 0 if whole is None else self.give_back(list(range(whole, whole + BLOCK)), "buddy")


class MigrateUnmapped(Buddy):
    """The largest free chunk and all that is free in its block; keyed one by one; the largest goes back first."""

    key_each, adopts = True, 1024

    def orders(self, order):
        (largest,) = self.world.told("largest", self.shrink_now)
        return max(order, largest), order

    def convert(self, pages):
        if not self.change(pages[:1], KERNEL_4K, 0, "buddy"):
            return False
        self.marked.add(pages[0] // BLOCK)
        (rest,) = self.world.told("block", self.shrink_now)
        self.rest = rest
        return True

    def refill(self, order):
        self.rest = []
        done = super().refill(order)
        for chunk in self.rest:
            self.give(chunk)
        return done

    def shrink(self):
        chunks = self.all_chunks()
        return self.give_back(chunks[-1], "", key=False) if chunks else 0


class Generic(Buddy):
    """A buddy of memory that is not mapped, and lists for page tables, code and shadow stacks, each with its permission."""

    permissions = (KEYED, 4 | 8 | 16, 4)
    separate = False
    tables = tables_of_others = "pool"

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.own, self.whose = [[], [], []], {}
        self.reserve = strategy.reserve

    def splitters(self):
        return self.own[0]

    def spend(self):
        self.own[0].pop(0)

    def boot(self):
        self.tables = "boot"
        self.fill(0)
        self.tables = "pool"

    def table(self, order, pages):
        if self.bypasses(order):
            Unprotected.table(self, order, pages)
        elif not self.special(0, order):
            self.nulls += 1

    def special(self, user, order):
        """Memory for a kind of user; None is secret memory, straight from the buddy. Whether there was any."""
        for attempt in range(9):
            if attempt and self.fill(user) is None:
                return False
            if (got := self.hand_out(user, order)) is not None:
                self.live.update(dict.fromkeys(got, True))
                self.whose.update(dict.fromkeys(got, user))
                return True
        return False

    def hand_out(self, user, order):
        if user is None:
            return self.from_shared(order)
        spare = len(self.own[user]) - (1 << order) - (0 if user else self.reserve)
        return first_of(self.own[user], order) if spare >= 0 else None

    def free(self, pages):
        keyed = self.live[pages[0]]
        Unprotected.free(self, pages)
        user = self.whose.get(pages[0])
        if not keyed:
            return
        if user is None:
            self.put(pages)
            return
        own, batch = self.own[user], 1 << self.s.cache_order
        own[:0] = pages
        if not self.separate and len(own) > 2 * batch:
            for _ in range(batch):
                if self.world.needed(own[-1], 1, NOT_PRESENT, 29):
                    break
                self.world.map.change(own[-1], 1, NOT_PRESENT, 29)
                self.put([own.pop()])

    def fill(self, user):
        if user is None or self.separate:
            return self.more(user)
        wanted = [self.s.cache_order, *(order for order in self.s.refill_orders if order < self.s.cache_order)]
        chunk = next((chunk for order in wanted if (chunk := self.from_shared(order))), None)
        if chunk is None and self.more(None):
            chunk = next((chunk for order in wanted if (chunk := self.from_shared(order))), None)
        if chunk is None:
            return None
        if not self.change(chunk, self.permissions[user], NOT_PRESENT, self.tables):
            self.put(chunk)
            return None
        self.own[user][:0] = chunk
        return True

    def more(self, user):
        for order in self.s.refill_orders:
            if (pages := self.alloc(order)) is not None:
                if not self.change(pages, NOT_PRESENT if user is None else self.permissions[user], 0, self.tables):
                    return None
                self.refills += 1
                if user is None:
                    self.put(pages)
                else:
                    self.own[user][:0] = pages
                return True
        return None

    def others(self, change):
        while len(self.own[0]) < self.reserve + self.world.needed(*change):
            if self.fill(0) is None:
                self.starved += 1
                return
        super().others(change)

    def shrink(self):
        freed = 0
        for chunk in reversed(self.all_chunks()):
            if freed < self.s.shrink_batch and not self.world.needed(chunk[0], len(chunk), 0, NOT_PRESENT):
                self.withdraw(chunk)
                self.world.map.change(chunk[0], len(chunk), 0, NOT_PRESENT)
                freed += len(chunk)
        return freed


class GenericSeparate(Generic):
    """Each user's list is filled from the page allocator, and gives nothing back."""

    separate = True


def first_of(pages, order):
    """Take the first page off a list, or the first two that are neighbours; None when there are none."""
    first = next((page >> order << order for page in pages if page ^ order in pages), None)
    if first is None:
        return None
    taken = list(range(first, first + (1 << order)))
    for page in taken:
        pages.remove(page)
    return taken


REFERENCES = {
    "generic": Generic,
    "generic-separate": GenericSeparate,
    "unprotected": Unprotected,
    "oracle": Unprotected,
    "pte-mapped": PteMapped,
    "ctor-naive": CtorNaive,
    "full-reserve": FullReserve,
    "reserve-block": ReserveBlock,
    "reserve-block-percpu": ReserveBlockPerCpu,
    "small-reserve": ReserveBlock,
    "self-split": SelfSplit,
    "pba": Pba,
    "pte-cache": PteCache,
    "unmapped-alloc": UnmappedAlloc,
    "freetype": Freetype,
    "migrate-unmapped": MigrateUnmapped,
}
