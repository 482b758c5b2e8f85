"""The pool of keyed pages: its lists, most recently used first, and the accounts of what it holds.

List discipline as in kpkeys v6 (mm/kpkeys_pgtable.c of the posted tree): `list_add`, take the first. Every proposal's
fast path is this mechanism with other parameters: hand out while more than the reserve is left, put back, keep the key.

The shared list can be a private buddy, which has one list for each order and merges what comes back (one order is the
plain list). Before it can stand a list for each CPU, which takes pages from it and returns them in batches; or a list
for each kind of user, whose pages have a permission of their own (replay.contract.permissions).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled
from ptpool.vocabulary import UNMOVABLE
from replay.contract.permissions import TABLES, USERS
from replay.kernel.buddy import account_freepages, del_from_free_list
from replay.kernel.lists import NEXT, list_add, list_add_tail, list_del, list_first, list_last
from replay.kernel.mmzone import (
    CALLER_KINDS,
    PCPTYPES,
    USED,
    PageAllocator,
    block_type_of,
    with_lists,
    zone_of,
)

(
    POOL_IDLE, POOL_OWN, POOL_USED, SPLIT_TABLE, TABLE_PLAIN, TABLE_KEYED, POOL_SECRET
) = range(CALLER_KINDS, CALLER_KINDS + 7)  # fmt: skip
PAGE_TABLES = (POOL_IDLE, POOL_OWN, POOL_USED, SPLIT_TABLE, TABLE_PLAIN, TABLE_KEYED, POOL_SECRET)
"""Pages in use as page tables, or kept for them. OWN: on the list of a CPU or a user. PLAIN: without a key. SECRET: in
use as secret memory, of a pool of page tables."""

CACHED, HELD, STRANDED, HELD_PEAK, LOW, ASIDE, ON_OWN, LOCKED, SET_ASIDE, WHOLE = range(10)  # places in Pool.counts
"""Pages on the shared list; pages of the pool; cached pages of partly used blocks; most held; fewest pages that splits
could have had since sampled; pages left of those set aside for tables of the direct map; pages on lists of CPUs or
users; times the shared list was locked; pages set aside at boot; idle chunks of a whole block, where chunks merge.
"""


class Pool(NamedTuple):
    """Pages that carry the key. Shapes: ``B`` pageblock-sized pieces of memory, ``L`` CPUs or users, ``P`` pages."""

    head: int  # of the shared list of order 0, then of its other orders; the links are those of the page allocator
    own_head: int  # of the first CPU's or user's list, then of the others'
    counts: NDArray[np.int64]  # at the places above
    idle: NDArray[np.int32]  # (B,) pages of the block on lists
    used: NDArray[np.int32]  # (B,) pages of the block handed out or spent as tables of the direct map
    whole: NDArray[np.bool_]  # (B,) the block came in one piece and none of it was given back
    marked: NDArray[np.bool_]  # (B,) ordinary memory freed into the block goes to the pool
    on_own: NDArray[np.int32]  # (L,) pages on the list of each CPU or user
    chunk: NDArray[np.int8]  # (P,) 1 + order of the idle chunk that starts here on the shared list, 0 elsewhere
    users: bool  # kinds of user have lists; page tables are handed out from the first
    counts_free: bool  # pages on the shared list are free memory (NR_FREE_PAGES)
    most: int  # order of the largest chunk on the shared list: 0, or the pageblock's where chunks merge
    block_shift: int


def empty_pool(
    allocator: PageAllocator, *, merges: bool = False, users: bool = False, counts_free: bool = False
) -> tuple[PageAllocator, Pool]:
    """A pool without pages, and a copy of the allocator that has its lists.

    Args:
        allocator: of this machine.
        merges: the shared list is a private buddy.
        users: kinds of user have lists.
        counts_free: pages on the shared list are free memory.
    """
    blocks, shared, own = (
        len(allocator.block_type),
        allocator.pageblock_order + 1,
        max(len(allocator.node_of_cpu), len(USERS)),
    )
    pool = Pool(
        head=len(allocator.link),
        own_head=len(allocator.link) + shared,
        counts=np.zeros(10, np.int64),
        idle=np.zeros(blocks, np.int32),
        used=np.zeros(blocks, np.int32),
        whole=np.zeros(blocks, np.bool_),
        marked=np.zeros(blocks, np.bool_),
        on_own=np.zeros(own, np.int32),
        chunk=np.zeros(len(allocator.kind), np.int8),
        users=users,
        counts_free=counts_free,
        most=allocator.pageblock_order if merges else 0,
        block_shift=allocator.pageblock_order,
    )
    return with_lists(allocator, shared + own), pool


@compiled
def idle_order(pool, page):
    """Order of the idle chunk that starts at a page, -1 where none does."""
    return np.int64(pool.chunk[page]) - 1


@compiled
def idle_chunks(allocator, pool, found):
    """List the chunks of the shared list. Returns their number; `found` (at least, 2) gets first page and order."""
    count = np.int64(0)
    for order in range(pool.most + 1):
        page = list_first(allocator.link, pool.head + order)
        while page >= 0:
            found[count, 0], found[count, 1] = page, order
            count += 1
            page = np.int64(allocator.link[page, NEXT])
            page = page if page != pool.head + order else np.int64(-1)
    return count


@compiled
def _unlink(allocator, pool, page):
    order = idle_order(pool, page)
    list_del(allocator.link, page)
    if pool.counts_free:
        allocator.free_pages[zone_of(allocator, page)] -= 1 << order
    pool.counts[WHOLE] -= order == pool.block_shift
    pool.chunk[page] = 0


@compiled
def _link(allocator, pool, page, order):
    """Put an idle chunk at the head of its list, merged with its buddies as far as chunks merge."""
    while order < pool.most:
        buddy = page ^ (1 << order)
        if buddy >= len(pool.chunk) or idle_order(pool, buddy) != order:
            break
        _unlink(allocator, pool, buddy)
        page &= buddy
        order += 1
    pool.chunk[page] = order + 1
    pool.counts[WHOLE] += order == pool.block_shift
    if pool.counts_free:
        allocator.free_pages[zone_of(allocator, page)] += 1 << order
    list_add(allocator.link, pool.head + order, page)


@compiled
def _take_chunk(allocator, pool, order):
    """Take 2^order pages off the smallest chunk that has them; -1 when there is none. The rest stays."""
    for current in range(order, pool.most + 1):
        page = list_first(allocator.link, pool.head + current)
        if page >= 0:
            _unlink(allocator, pool, page)
            for upper in range(current - 1, order - 1, -1):
                _link(allocator, pool, page + (1 << upper), upper)
            return page
    return np.int64(-1)


@compiled
def _carve(allocator, pool, pfn):
    """Take one page out of whichever idle chunk it is in."""
    order = np.int64(0)
    while idle_order(pool, pfn >> order << order) != order:
        order += 1
    _unlink(allocator, pool, pfn >> order << order)
    while order > 0:
        order -= 1
        _link(allocator, pool, (pfn >> order << order) ^ (1 << order), order)


@compiled
def tables_cached(pool):
    """Pages that splits can have as tables: of what was set aside for them, if anything was; else of a list."""
    if pool.counts[SET_ASIDE]:
        return pool.counts[ASIDE]
    return np.int64(pool.on_own[TABLES]) if pool.users else pool.counts[CACHED]


def take_aside(pool: Pool, pages: int) -> None:
    """Spend pages that are set aside as tables of the direct map."""
    pool.counts[ASIDE] -= pages
    pool.counts[LOW] = min(pool.counts[LOW], pool.counts[ASIDE])


@compiled
def _account_new(allocator, pool, page, kind):
    """Account for a page that is new in the pool: idle, or spent as a table already. Returns whether it is idle."""
    block = page >> pool.block_shift
    pool.counts[HELD] += 1
    pool.counts[HELD_PEAK] = max(pool.counts[HELD_PEAK], pool.counts[HELD])
    if allocator.kind[page] == SPLIT_TABLE:
        pool.counts[STRANDED] += pool.idle[block] if pool.used[block] == 0 else 0
        pool.used[block] += 1
        return False
    allocator.kind[page] = kind
    pool.idle[block] += 1
    pool.counts[STRANDED] += pool.used[block] > 0
    return True


@compiled
def give(allocator, pool, pfn, pages):
    """Add new pages to the pool, except those spent as tables; the first becomes the head of the list."""
    for page in range(pfn + pages - 1, pfn - 1, -1):
        if _account_new(allocator, pool, page, POOL_IDLE):
            _link(allocator, pool, page, np.int64(0))
            pool.counts[CACHED] += 1


@compiled
def give_to_user(allocator, pool, user, pfn, pages):
    """Put pages at the head of a user's list: new ones, except those spent as tables, or some of the shared list."""
    for page in range(pfn + pages - 1, pfn - 1, -1):
        if allocator.kind[page] == POOL_USED:
            _disuse(allocator, pool, page, POOL_OWN)
        elif not _account_new(allocator, pool, page, POOL_OWN):
            continue
        list_add(allocator.link, pool.own_head + user, page)
        pool.on_own[user] += 1
        pool.counts[ON_OWN] += 1


@compiled
def give_block(allocator, pool, pfn):
    """Add the free pages of a pageblock to the pool. At least one page of it is in use: no free block spans it."""
    page = pfn >> pool.block_shift << pool.block_shift
    migratetype = block_type_of(allocator, page)
    end = min(page + (1 << pool.block_shift), np.int64(len(allocator.order))) if migratetype < PCPTYPES else page
    while page < end:
        order = np.int64(allocator.order[page])
        if order >= 0:
            zone = zone_of(allocator, page)
            del_from_free_list(allocator, zone, page, order)
            account_freepages(allocator, zone, -(1 << order), migratetype)
            give(allocator, pool, page, 1 << order)
        page += 1 << order if order >= 0 else 1


@compiled
def _fewer_cached(pool, pages):
    pool.counts[CACHED] -= pages
    pool.counts[LOW] = min(pool.counts[LOW], tables_cached(pool))


@compiled
def _fewer_own(pool, number, pages):
    pool.on_own[number] -= pages
    pool.counts[ON_OWN] -= pages
    pool.counts[LOW] = min(pool.counts[LOW], tables_cached(pool))


@compiled
def remove(allocator, pool, pfn):
    """Take an idle page out of the pool for good (a shrinker gives it back)."""
    _carve(allocator, pool, pfn)
    allocator.kind[pfn] = USED + UNMOVABLE  # not idle any more until it is freed
    block = pfn >> pool.block_shift
    pool.idle[block] -= 1
    pool.counts[STRANDED] -= pool.used[block] > 0
    pool.counts[HELD] -= 1
    _fewer_cached(pool, 1)


@compiled
def withdraw(allocator, pool, pfn, pages):
    """Take pages out of the pool for good if all of them are idle. Returns whether they were."""
    for page in range(pfn, pfn + pages):
        if allocator.kind[page] != POOL_IDLE:
            return False
    for page in range(pfn, pfn + pages):
        remove(allocator, pool, page)
    pool.whole[pfn >> pool.block_shift] = False
    return True


@compiled
def _use(allocator, pool, pfn, kind):
    """Account for an idle page that is used from now on."""
    allocator.kind[pfn] = kind
    block = pfn >> pool.block_shift
    pool.idle[block] -= 1
    if pool.used[block] > 0:
        pool.counts[STRANDED] -= 1
    else:
        pool.counts[STRANDED] += pool.idle[block]
    pool.used[block] += 1


@compiled
def _disuse(allocator, pool, pfn, kind):
    """Account for a used page that is idle from now on."""
    allocator.kind[pfn] = kind
    block = pfn >> pool.block_shift
    pool.used[block] -= 1
    if pool.used[block] > 0:
        pool.counts[STRANDED] += 1
    else:
        pool.counts[STRANDED] -= pool.idle[block]
    pool.idle[block] += 1


@compiled
def take(allocator, pool, order):
    """Hand out 2^order pages: more than one only where they merge.

    Returns:
        First page frame number, -1 when the shared list has none that fits.
    """
    pool.counts[LOCKED] += 1
    pfn = _take_chunk(allocator, pool, order)
    if pfn >= 0:
        for page in range(pfn, pfn + (1 << order)):
            _use(allocator, pool, page, POOL_USED)
        _fewer_cached(pool, 1 << order)
    return pfn


@compiled
def take_split_table(allocator, pool):
    """Spend a page as a page table of the direct map. The list that has page tables must not be empty."""
    if pool.users:
        pfn = list_first(allocator.link, pool.own_head + TABLES)
        list_del(allocator.link, pfn)
        _use(allocator, pool, pfn, SPLIT_TABLE)
        _fewer_own(pool, TABLES, 1)
        return pfn
    pfn = _take_chunk(allocator, pool, np.int64(0))
    _use(allocator, pool, pfn, SPLIT_TABLE)
    _fewer_cached(pool, 1)
    return pfn


@compiled
def put(allocator, pool, pfn, pages):
    """Take a page table back: head of the shared list, the key stays."""
    pool.counts[LOCKED] += 1
    for page in range(pfn + pages - 1, pfn - 1, -1):
        _link(allocator, pool, page, np.int64(0))
        _disuse(allocator, pool, page, POOL_IDLE)
    pool.counts[CACHED] += pages


@compiled
def _to_cpu(pool, cpu, pages):
    """Account for pages that moved from the shared list to a CPU's (or back, if negative)."""
    pool.on_own[cpu] += pages
    pool.counts[ON_OWN] += pages
    _fewer_cached(pool, pages)


@compiled
def take_on_cpu(allocator, pool, cpu, batch, reserve):
    """Hand out the head of a CPU's list; when that is empty, up to `batch` pages come from the shared list first.

    Returns:
        Page frame number, -1 when the shared list has no more than its reserve either.
    """
    head = pool.own_head + cpu
    if pool.on_own[cpu] == 0:
        pool.counts[LOCKED] += 1
        moved = max(min(batch, pool.counts[CACHED] - reserve), 0)
        for _ in range(moved):
            page = _take_chunk(allocator, pool, np.int64(0))
            list_add_tail(allocator.link, head, page)
            allocator.kind[page] = POOL_OWN
        _to_cpu(pool, cpu, moved)
    pfn = list_first(allocator.link, head)
    if pfn >= 0:
        list_del(allocator.link, pfn)
        _use(allocator, pool, pfn, POOL_USED)
        pool.on_own[cpu] -= 1
        pool.counts[ON_OWN] -= 1
    return pfn


@compiled
def put_on_cpu(allocator, pool, cpu, pfn, batch):
    """Take a page table back: head of the CPU's list. Of two full batches the one longer unused goes back."""
    head = pool.own_head + cpu
    list_add(allocator.link, head, pfn)
    _disuse(allocator, pool, pfn, POOL_OWN)
    pool.on_own[cpu] += 1
    pool.counts[ON_OWN] += 1
    if pool.on_own[cpu] > 2 * batch:
        pool.counts[LOCKED] += 1
        for _ in range(batch):
            page = list_last(allocator.link, head)
            list_del(allocator.link, page)
            _link(allocator, pool, page, np.int64(0))
            allocator.kind[page] = POOL_IDLE
        _to_cpu(pool, cpu, -batch)


@compiled
def take_of_user(allocator, pool, user, reserve):
    """Hand out a page of a user's list.

    Returns:
        Page frame number, -1 when fewer than the reserve would be left.
    """
    if pool.on_own[user] - 1 < reserve:
        return np.int64(-1)
    pfn = list_first(allocator.link, pool.own_head + user)
    list_del(allocator.link, pfn)
    _use(allocator, pool, pfn, POOL_USED)
    _fewer_own(pool, user, 1)
    return pfn


@compiled
def least_recent(allocator, pool, user):
    """The page of a user's list that has been unused for longest; -1 when there is none."""
    return list_last(allocator.link, pool.own_head + user)


@compiled
def to_shared(allocator, pool, user, page):
    """Move a page of a user's list to the shared one."""
    list_del(allocator.link, page)
    _fewer_own(pool, user, 1)
    _link(allocator, pool, page, np.int64(0))
    allocator.kind[page] = POOL_IDLE
    pool.counts[CACHED] += 1
