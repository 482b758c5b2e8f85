"""What a strategy may ask of the machine: the words in which decisions are written.

A decision is a generator. It yields one of these actions, is suspended while the machine performs it, and receives the
result. The same generator is driven by the replay (the machine decides what happens) and can be driven by an adversary
(every result is tried). Nothing here acts: `replay.machine.perform` does.
"""

from collections.abc import Generator, Iterable
from enum import IntEnum
from typing import Any, NamedTuple

from replay.kernel.leaves import KEYED


class Chunk(NamedTuple):
    """2^order naturally aligned pages."""

    pfn: int
    order: int

    @property
    def pages(self) -> int:
        """How many."""
        return 1 << self.order


class Tables(IntEnum):
    """Where the page tables come from that a permission change needs for splitting."""

    POOL = 0
    """From the pool, its reserve included: tables with the key."""
    BUDDY = 1
    """From the page allocator, order 0, without the key."""
    BOOT = 2
    """From memory set aside before the page allocator runs, keyed later in boot; no account has it (ours)."""
    ASIDE = 3
    """From the pages set aside at boot, with the key; when they run out, an ordinary page without it."""
    OWN = 4
    """From the chunk that is being changed: they become tables before they have the key."""


class Alloc(NamedTuple):
    """Ask the page allocator for 2^order unmovable pages. Result: a `Chunk`, or None.

    GFP_KERNEL, less what the context of the request that it is for takes away: NOFS and NOIO are scopes of the task, so
    they hold for what it asks for on the way (memalloc_nofs_save(), memalloc_noio_save()).
    """

    order: int
    request: int | None = None
    """Order of the request inside which the page allocator takes this block for itself: its watermarks, its retries and
    its OOM killer are that request's. None: the block is what was asked for."""
    compacts: bool = False
    """Whether such a request compacts memory for the block."""


class Isolate(NamedTuple):
    """Take what is free in the pageblock of a chunk off the free lists. Result: those chunks, ascending, or ().

    isolate_freepages_block() (mm/compaction.c, 6.12), each chunk only if __isolate_free_page() (mm/page_alloc.c) finds
    more free pages than the min watermark.
    """

    chunk: Chunk


class Free(NamedTuple):
    """Give a chunk back to the page allocator. No result."""

    chunk: Chunk
    buddy: bool = False
    """Straight to the buddy lists (__free_pages_ok()), not to a CPU's list."""


class SetKey(NamedTuple):
    """Set the key on a chunk in the direct map. Result: False when a split found no table (nothing was changed).

    `tables` can also name the pages to use: as many chunks of one page as the change needs.
    """

    chunk: Chunk
    tables: Tables | tuple[Chunk, ...]
    unlock: str = ""
    """A lock to release once the leaves are split, before they are written and the TLBs flushed."""


class ResetKey(NamedTuple):
    """Clear the key of a chunk. Result as for `SetKey`."""

    chunk: Chunk
    tables: Tables
    flush: bool = True
    """Flush the TLBs after it; a split flushes them in any case."""


class Convert(NamedTuple):
    """Change any attributes of the strategy's own memory. Result as for `SetKey`."""

    change: "Change"
    tables: Tables
    flush: bool
    """Flush the TLBs after it: not needed where the memory was not mapped."""


class MapSmall(NamedTuple):
    """Map the block that a chunk lies in with single pages, whatever mapped it before. Result as for `SetKey`."""

    chunk: Chunk
    tables: Tables


class Apply(NamedTuple):
    """Carry out the permission change that another part of the kernel asked for. Result as for `SetKey`."""

    change: "Change"
    tables: Tables | tuple[Chunk, ...]


class Give(NamedTuple):
    """Put the pages of a chunk, except those spent as tables, at the head of a list of the pool. No result."""

    chunk: Chunk
    user: int | None = None
    """The kind of user (replay.contract.permissions) whose list it is; None: the shared one."""


class GiveRest(NamedTuple):
    """Put a chunk on the shared list, except its first 2^order pages. Result: those, which are handed out at once.

    No other task can take them in between. The result is None if the chunk is smaller.
    """

    chunk: Chunk
    order: int


class Walk(NamedTuple):
    """Look at pages of the shared list one by one, under its lock: who wants it meanwhile waits. No result."""

    pages: int


class Warn(NamedTuple):
    """The kernel prints a warning with a stack (WARN_ON()) and goes on. No result."""

    detail: str


class GiveBlock(NamedTuple):
    """Put a chunk and all free pages of its pageblock into the pool. No result."""

    chunk: Chunk


class Mark(NamedTuple):
    """From now on, ordinary pages that are freed into the pageblock of a chunk go to the pool. No result."""

    chunk: Chunk
    marked: bool = True
    """False: from now on they do not."""


class Take(NamedTuple):
    """Hand out 2^order pages of the pool's shared list, the reserve included. Result: a `Chunk`, or None."""

    order: int


class Withdraw(NamedTuple):
    """Take an idle page, or a whole idle block, out of the pool. Result: False when it is no longer idle."""

    chunk: Chunk


class SetAside(NamedTuple):
    """At boot, keep pages for tables of the direct map, in whole 2M chunks, and key them. No result."""

    pages: int


class Lock(NamedTuple):
    """Acquire a lock that does not nest. No result; a decision that takes it twice never goes on."""

    name: str


class Wait(NamedTuple):
    """Let time pass, for work that has no result."""

    ns: int


class Unlock(NamedTuple):
    """Release a lock. No result."""

    name: str


class Change(NamedTuple):
    """A change of a range of the direct map: attributes of `replay.kernel.leaves` to set and to clear."""

    pfn: int
    pages: int
    set_bits: int
    clear_bits: int = 0


def keying(chunk: Chunk) -> Change:
    """The change that sets the key on a chunk."""
    return Change(chunk.pfn, chunk.pages, KEYED)


Pages = Give | GiveRest | GiveBlock | Mark | Take | Withdraw | SetAside | Walk
Changes = SetKey | ResetKey | Convert | MapSmall | Apply
Action = Alloc | Isolate | Free | Changes | Pages | Lock | Unlock | Wait | Warn
Decision = Generator[Action, Any, Any]


def first_free(orders: Iterable[int]) -> Decision:
    """Ask for one order after the other. Returns the first chunk that there is, or None."""
    for order in orders:
        if (chunk := (yield Alloc(order))) is not None:
            return chunk
    return None


def changed_or_freed(chunk: Chunk, change: SetKey | Convert | MapSmall) -> Decision:
    """Change a new chunk; free it if the split lacks a table. Returns whether it was changed."""
    if not (yield change):
        yield Free(chunk)
        return False
    return True


def key_and_give(chunk: Chunk | None, tables: Tables, order: int | None = None) -> Decision:
    """Key a new chunk and put it into the pool, less 2^order pages that serve the request if `order` is given.

    It is freed if the split lacks a table. Returns what a refill returns.
    """
    if chunk is None or not (yield from changed_or_freed(chunk, SetKey(chunk, tables))):
        return None
    if order is not None:
        return (yield GiveRest(chunk, order))
    yield Give(chunk)
    return True
