"""Each strategy's bookkeeping again, slow and obvious, on `reference_pools`."""

from reference_direct_map import KERNEL_4K, NOT_PRESENT
from reference_pools import BLOCK, KEYED, Buddy, CtorNaive, Pool, PteMapped, Unprotected

from ptpool.vocabulary import MOVABLE, UNMOVABLE


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


class ServedFirst(Pool):
    """The first page of what a refill brings is the request's."""

    def refill(self, order):
        return None if super().refill(order) is None else self.take(order, 0)


class FullReserve(ServedFirst):
    """Tables for the whole direct map set aside; they are never missing. The shrinker frees page by page."""

    tables = tables_of_others = "aside"

    def boot(self):
        (aside,) = self.world.told("aside", self.shrink_now)
        for page in aside:
            self.world.map.change(page, 1, KEYED, 0)

    def shrink(self):
        return sum(self.give_back([page], "aside") for page in sorted(self.idle)[: self.s.shrink_batch])


class Pba(ServedFirst):
    """A request below the reserve is served from what the refill brought; whole free blocks go back first."""

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.reserve, self.whole = strategy.reserve, set()

    def boot(self):
        self.tables = "boot"
        Pool.refill(self, 0)
        self.tables = "pool"

    def convert(self, pages):
        """Where its split finds no page, the task warns, and waits for ever if the page allocator has one."""
        if self.tables == "pool" and self.world.needed(pages[0], len(pages), KEYED, 0) > len(self.idle):
            self.warn_and_refill()
            return False
        return super().convert(pages)

    def warn_and_refill(self):
        self.warns += 1
        self.deadlocks += any(self.alloc(order) is not None for order in self.orders(0))

    def others(self, change):
        while len(self.idle) < self.reserve:
            if Pool.refill(self, 0) is None:
                self.starved += 1
                return
        if self.world.needed(*change) > len(self.idle):
            self.warn_and_refill()
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


class PteCache(ServedFirst):
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


class BuddyReserve(Buddy):
    """Six pages in reserve; others split while two are left besides; whole chunks go back where nothing splits."""

    tables = tables_of_others = "pool"

    def __init__(self, strategy, world):
        super().__init__(strategy, world)
        self.reserve = strategy.reserve
        self.batch = 1 << strategy.magazine_order if strategy.magazine_order else 0

    def splitters(self):
        return range(self.count())

    def spend(self):
        self.from_shared(0)

    def orders(self):
        if not self.s.looks:
            return dict.fromkeys((self.s.block_order, self.s.last_order))
        (largest,) = self.world.told("largest", self.shrink_now)
        if largest >= self.s.block_order:
            return dict.fromkeys((self.s.block_order, self.s.last_order))
        return dict.fromkeys((min(largest, self.s.last_order), self.s.last_order))

    def refill(self, order):
        """What was got, and what else was free in its block, if that is more than two pages."""
        for wanted in self.orders():
            if (pages := self.alloc(wanted)) is None:
                continue
            got = [pages]
            if self.s.isolates and wanted < self.s.block_order:
                got += self.world.told("beside", self.shrink_now)[0]
            if sum(map(len, got)) > 2:
                break
        else:
            return None
        if not all(self.change(each, KEYED, 0, self.tables) for each in got):
            return None
        self.refills += 1
        for each in got:
            self.give(each)
        return True

    def after_free(self):
        """A worker gives a block back where one too many is idle."""
        if len(self.chunks[2]) > self.s.spare_blocks:
            assert self.world.log.popleft() == ("shrink",)
            self.shrink_now()

    def boot(self):
        self.tables = "boot"
        while self.count() < self.reserve and self.refill(0):
            pass
        self.tables = "pool"

    def others(self, change):
        while self.count() < self.world.needed(*change) + 2:
            if self.refill(0) is None:
                self.starved += 1
                return
        super().others(change)

    def shrink(self):
        freed = 0
        for chunk in reversed(self.all_chunks()):
            if freed >= self.s.shrink_batch:
                break
            if self.count() - len(chunk) < self.s.keep or self.world.needed(chunk[0], len(chunk), 0, KEYED):
                continue
            self.withdraw(chunk)
            self.world.map.change(chunk[0], len(chunk), 0, KEYED)
            freed += len(chunk)
        return freed


class UnmappedAlloc(Buddy):
    """From a block down to the request, page by page; the shrinker gives chunks back, the smallest first."""

    def orders(self, order):
        return range(self.s.block_order, order - 1, -1)

    def change(self, pages, set_bits=0, clear_bits=0, tables="buddy", own=True):
        pieces = [[page] for page in pages] if own and self.s.page_by_page else [pages]
        return all(super(UnmappedAlloc, self).change(piece, set_bits, clear_bits, tables, own) for piece in pieces)

    def shrink(self):
        freed = 0
        for chunk in self.all_chunks():
            if freed < self.s.shrink_batch:
                freed += self.give_back(chunk, "buddy")
        return freed


class Freetype(Buddy):
    """Whole blocks only; one that is free goes back before an unmovable request waits."""

    def orders(self, order):
        return (self.s.block_order,)

    def shrink(self, order, migratetype):
        whole = min(self.chunks[2], default=None) if migratetype == UNMOVABLE else None
        return 0 if whole is None else self.give_back(list(range(whole, whole + BLOCK)), "buddy")


class MigrateUnmapped(Buddy):
    """The largest free chunk and all that is free in its block; keyed one by one. The largest goes back with its block."""

    key_each, adopts = True, 1024

    def orders(self, order):
        (largest,) = self.world.told("largest", self.shrink_now)
        return (max(order, largest),)

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

    def shrink(self, order, migratetype):
        chunks = [chunk for chunk in self.all_chunks() if len(chunk) >= 1 << order]
        if not chunks:
            return 0
        taken = chunks[:1]
        if migratetype != MOVABLE or len(chunks[-1]) >= BLOCK // 2:
            block = chunks[-1][0] // BLOCK
            taken = [chunk for chunk in self.all_chunks() if chunk[0] // BLOCK == block]
            if sum(map(len, taken)) >= BLOCK // 2:
                self.marked.discard(block)
        return sum(self.give_back(chunk, "", key=False) for chunk in taken)


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
        if order:
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
        return [self.own[user].pop(0)] if len(self.own[user]) > (0 if user else self.reserve) else None

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


REFERENCES = {
    "buddy-reserve": BuddyReserve,
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
