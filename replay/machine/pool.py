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

POOL_IDLE, POOL_OWN, POOL_USED, SPLIT_TABLE, TABLE_PLAIN, TABLE_KEYED = range(CALLER_KINDS, CALLER_KINDS + 6)
PAGE_TABLES = (POOL_IDLE, POOL_OWN, POOL_USED, SPLIT_TABLE, TABLE_PLAIN, TABLE_KEYED)
"""Pages in use as page tables, or kept for them. OWN: on the list of a CPU or a user. PLAIN: without a key."""

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
    order: NDArray[np.int8]  # (P,) order of the idle chunk that starts here on the shared list, -1 elsewhere
    users: bool  # kinds of user have lists; page tables are handed out from the first
    most: int  # order of the largest chunk on the shared list: 0, or the pageblock's where chunks merge
    block_shift: int


def empty_pool(a: PageAllocator, *, merges: bool = False, users: bool = False) -> tuple[PageAllocator, Pool]:
    """A pool without pages, and a copy of the allocator that has its lists.

    Args:
        a: of this machine.
        merges: the shared list is a private buddy.
        users: kinds of user have lists.
    """
    blocks, shared, own = len(a.block_type), a.pageblock_order + 1, max(len(a.node_of_cpu), len(USERS))
    pool = Pool(
        head=len(a.link),
        own_head=len(a.link) + shared,
        counts=np.zeros(10, np.int64),
        idle=np.zeros(blocks, np.int32),
        used=np.zeros(blocks, np.int32),
        whole=np.zeros(blocks, np.bool_),
        marked=np.zeros(blocks, np.bool_),
        on_own=np.zeros(own, np.int32),
        order=np.full(len(a.kind), -1, np.int8),
        users=users,
        most=a.pageblock_order if merges else 0,
        block_shift=a.pageblock_order,
    )
    return with_lists(a, shared + own), pool


@compiled
def _unlink(a, p, page):
    list_del(a.link, page)
    p.counts[WHOLE] -= p.order[page] == p.block_shift
    p.order[page] = -1


@compiled
def _link(a, p, page, order):
    """Put an idle chunk at the head of its list, merged with its buddies as far as chunks merge."""
    while order < p.most:
        buddy = page ^ (1 << order)
        if buddy >= len(p.order) or p.order[buddy] != order:
            break
        _unlink(a, p, buddy)
        page &= buddy
        order += 1
    p.order[page] = order
    p.counts[WHOLE] += order == p.block_shift
    list_add(a.link, p.head + order, page)


@compiled
def _take_chunk(a, p, order):
    """Take 2^order pages off the smallest chunk that has them; -1 when there is none. The rest stays."""
    for current in range(order, p.most + 1):
        page = list_first(a.link, p.head + current)
        if page >= 0:
            _unlink(a, p, page)
            for upper in range(current - 1, order - 1, -1):
                _link(a, p, page + (1 << upper), upper)
            return page
    return np.int64(-1)


@compiled
def _carve(a, p, pfn):
    """Take one page out of whichever idle chunk it is in."""
    order = np.int64(0)
    while p.order[pfn >> order << order] != order:
        order += 1
    _unlink(a, p, pfn >> order << order)
    while order > 0:
        order -= 1
        _link(a, p, (pfn >> order << order) ^ (1 << order), order)


@compiled
def tables_cached(p):
    """Pages that splits can have as tables: of what was set aside for them, if anything was; else of a list."""
    if p.counts[SET_ASIDE]:
        return p.counts[ASIDE]
    return np.int64(p.on_own[TABLES]) if p.users else p.counts[CACHED]


def take_aside(p: Pool, pages: int) -> None:
    """Spend pages that are set aside as tables of the direct map."""
    p.counts[ASIDE] -= pages
    p.counts[LOW] = min(p.counts[LOW], p.counts[ASIDE])


@compiled
def _account_new(a, p, page, kind):
    """Account for a page that is new in the pool: idle, or spent as a table already. Returns whether it is idle."""
    block = page >> p.block_shift
    p.counts[HELD] += 1
    p.counts[HELD_PEAK] = max(p.counts[HELD_PEAK], p.counts[HELD])
    if a.kind[page] == SPLIT_TABLE:
        p.counts[STRANDED] += p.idle[block] if p.used[block] == 0 else 0
        p.used[block] += 1
        return False
    a.kind[page] = kind
    p.idle[block] += 1
    p.counts[STRANDED] += p.used[block] > 0
    return True


@compiled
def give(a, p, pfn, pages):
    """Add new pages to the pool, but for those spent as tables; the first of them becomes the head of the list."""
    for page in range(pfn + pages - 1, pfn - 1, -1):
        if _account_new(a, p, page, POOL_IDLE):
            _link(a, p, page, np.int64(0))
            p.counts[CACHED] += 1


@compiled
def give_to_user(a, p, user, pfn, pages):
    """Put pages at the head of a user's list: new ones but for those spent as tables, or some of the shared list."""
    for page in range(pfn + pages - 1, pfn - 1, -1):
        if a.kind[page] == POOL_USED:
            _disuse(a, p, page, POOL_OWN)
        elif not _account_new(a, p, page, POOL_OWN):
            continue
        list_add(a.link, p.own_head + user, page)
        p.on_own[user] += 1
        p.counts[ON_OWN] += 1


@compiled
def give_block(a, p, pfn):
    """Add the free pages of a pageblock to the pool; a page of it is not free, so no free block is larger."""
    page = pfn >> p.block_shift << p.block_shift
    migratetype = block_type_of(a, page)
    end = min(page + (1 << p.block_shift), np.int64(len(a.order))) if migratetype < PCPTYPES else page
    while page < end:
        order = np.int64(a.order[page])
        if order >= 0:
            zone = zone_of(a, page)
            del_from_free_list(a, zone, page, order)
            account_freepages(a, zone, -(1 << order), migratetype)
            give(a, p, page, 1 << order)
        page += 1 << order if order >= 0 else 1


@compiled
def _fewer_cached(p, pages):
    p.counts[CACHED] -= pages
    p.counts[LOW] = min(p.counts[LOW], tables_cached(p))


@compiled
def _fewer_own(p, number, pages):
    p.on_own[number] -= pages
    p.counts[ON_OWN] -= pages
    p.counts[LOW] = min(p.counts[LOW], tables_cached(p))


@compiled
def remove(a, p, pfn):
    """Take an idle page out of the pool for good (a shrinker gives it back)."""
    _carve(a, p, pfn)
    a.kind[pfn] = USED + UNMOVABLE  # until it is freed: nobody else may find it idle meanwhile
    block = pfn >> p.block_shift
    p.idle[block] -= 1
    p.counts[STRANDED] -= p.used[block] > 0
    p.counts[HELD] -= 1
    _fewer_cached(p, 1)


@compiled
def _use(a, p, pfn, kind):
    """Account for an idle page that is used from now on."""
    a.kind[pfn] = kind
    block = pfn >> p.block_shift
    p.idle[block] -= 1
    if p.used[block] > 0:
        p.counts[STRANDED] -= 1
    else:
        p.counts[STRANDED] += p.idle[block]
    p.used[block] += 1


@compiled
def _disuse(a, p, pfn, kind):
    """Account for a used page that is idle from now on."""
    a.kind[pfn] = kind
    block = pfn >> p.block_shift
    p.used[block] -= 1
    if p.used[block] > 0:
        p.counts[STRANDED] += 1
    else:
        p.counts[STRANDED] -= p.idle[block]
    p.idle[block] += 1


@compiled
def _pair(a, p, head, kind):
    """Unlink two adjacent single pages, naturally aligned, from a list that does not merge; -1 when there are none."""
    pfn = list_first(a.link, head)
    if pfn < 0:
        return pfn
    while a.kind[pfn ^ 1] != kind:
        pfn = np.int64(a.link[pfn, NEXT])
        if pfn == head:
            return np.int64(-1)
    pfn &= ~1
    _unlink(a, p, pfn)
    _unlink(a, p, pfn + 1)
    return pfn


@compiled
def take(a, p, order):
    """Hand out one page (order 0), or two adjacent ones, naturally aligned (order 1).

    Returns:
        First page frame number, -1 when the shared list has none that fits.
    """
    p.counts[LOCKED] += 1
    pfn = _pair(a, p, p.head, POOL_IDLE) if order > p.most else _take_chunk(a, p, order)
    if pfn >= 0:
        for page in range(pfn, pfn + (1 << order)):
            _use(a, p, page, POOL_USED)
        _fewer_cached(p, 1 << order)
    return pfn


@compiled
def take_split_table(a, p):
    """Spend a page as a page table of the direct map. The list that has page tables must not be empty."""
    if p.users:
        pfn = list_first(a.link, p.own_head + TABLES)
        list_del(a.link, pfn)
        _use(a, p, pfn, SPLIT_TABLE)
        _fewer_own(p, TABLES, 1)
        return pfn
    pfn = _take_chunk(a, p, np.int64(0))
    _use(a, p, pfn, SPLIT_TABLE)
    _fewer_cached(p, 1)
    return pfn


@compiled
def put(a, p, pfn, pages):
    """Take a page table back: head of the shared list, the key stays."""
    p.counts[LOCKED] += 1
    for page in range(pfn + pages - 1, pfn - 1, -1):
        _link(a, p, page, np.int64(0))
        _disuse(a, p, page, POOL_IDLE)
    p.counts[CACHED] += pages


@compiled
def _to_cpu(p, cpu, pages):
    """Account for pages that moved from the shared list to a CPU's (or back, if negative)."""
    p.on_own[cpu] += pages
    p.counts[ON_OWN] += pages
    _fewer_cached(p, pages)


@compiled
def take_on_cpu(a, p, cpu, batch, reserve):
    """Hand out the head of a CPU's list; when that is empty, up to `batch` pages come from the shared list first.

    Returns:
        Page frame number, -1 when the shared list has no more than its reserve either.
    """
    head = p.own_head + cpu
    if p.on_own[cpu] == 0:
        p.counts[LOCKED] += 1
        moved = max(min(batch, p.counts[CACHED] - reserve), 0)
        for _ in range(moved):
            page = _take_chunk(a, p, np.int64(0))
            list_add_tail(a.link, head, page)
            a.kind[page] = POOL_OWN
        _to_cpu(p, cpu, moved)
    pfn = list_first(a.link, head)
    if pfn >= 0:
        list_del(a.link, pfn)
        _use(a, p, pfn, POOL_USED)
        p.on_own[cpu] -= 1
        p.counts[ON_OWN] -= 1
    return pfn


@compiled
def put_on_cpu(a, p, cpu, pfn, batch):
    """Take a page table back: head of the CPU's list. Of two full batches the one longer unused goes back."""
    head = p.own_head + cpu
    list_add(a.link, head, pfn)
    _disuse(a, p, pfn, POOL_OWN)
    p.on_own[cpu] += 1
    p.counts[ON_OWN] += 1
    if p.on_own[cpu] > 2 * batch:
        p.counts[LOCKED] += 1
        for _ in range(batch):
            page = list_last(a.link, head)
            list_del(a.link, page)
            _link(a, p, page, np.int64(0))
            a.kind[page] = POOL_IDLE
        _to_cpu(p, cpu, -batch)


@compiled
def take_of_user(a, p, user, order, reserve):
    """Hand out one page (order 0) of a user's list, or two adjacent ones, naturally aligned (order 1).

    Returns:
        First page frame number, -1 when fewer than the reserve would be left, or none fits.
    """
    head = p.own_head + user
    if p.on_own[user] - (1 << order) < reserve:
        return np.int64(-1)
    if order > 0:
        pfn = _pair(a, p, head, POOL_OWN)
        if pfn < 0:
            return pfn
    else:
        pfn = list_first(a.link, head)
        list_del(a.link, pfn)
    for page in range(pfn, pfn + (1 << order)):
        _use(a, p, page, POOL_USED)
    _fewer_own(p, user, 1 << order)
    return pfn


@compiled
def least_recent(a, p, user):
    """The page of a user's list that has been unused for longest; -1 when there is none."""
    return list_last(a.link, p.own_head + user)


@compiled
def to_shared(a, p, user, page):
    """Move a page of a user's list to the shared one."""
    list_del(a.link, page)
    _fewer_own(p, user, 1)
    _link(a, p, page, np.int64(0))
    a.kind[page] = POOL_IDLE
    p.counts[CACHED] += 1
