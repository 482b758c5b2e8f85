"""What a strategy is: its parameters, its fast path, and the decisions that it makes."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Self

from ptpool.vocabulary import CONSUMERS
from replay.contract.actions import Apply, Change, Chunk, Decision, SetKey, Tables
from replay.kernel.geometry import HIGHEST_MAX_ORDER, Geometry

Rule = Literal["code", "text", "reported", "ours"]
"""Where a rule was found: in the posted code, in the words of the posting, or in notes on code that we could not read;
ours: none of these says anything."""


def param(default: Any, meaning: str, rule: Rule) -> Any:
    """Declare a parameter of a strategy: its default, what it means, and where the default comes from."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "rule": rule})


def by_granule(at_4k: Any, at_16k: Any, at_64k: Any, meaning: str, rule: Rule) -> Any:
    """Declare a parameter whose default depends on the machine's page size: it is None until `Strategy.on` sets it."""
    metadata = {"meaning": meaning, "rule": rule, "granules": (at_4k, at_16k, at_64k)}
    return dataclasses.field(default=None, metadata=metadata)


LARGEST_PAGE_COUNT = 1 << 20
"""No parameter counts more pages than this."""


@dataclass(frozen=True)
class FastPath:
    """What a strategy does with most page tables, without a decision: parameters of the compiled loop."""

    pooled: bool
    """Page tables come from the pool; otherwise from the page allocator.

    A PGD of two pages comes from the pool only if that `merges` and has no lists for `users`: others serve single
    pages, and it is two pages of the page allocator without the key."""
    reserve: int = 0
    """Pages that ordinary page tables must leave in the pool."""
    key_each: bool = False
    """Set the key on each table when it is allocated, clear it when it is freed: idle pages do not have it."""
    toggles: bool = False
    """With `key_each`: the key is not changed with a flush when a table is handed out and freed, but off and on around
    each write into the table, without a flush."""
    pte_writes: int = 0
    """Writes into a page table while it lives, where each toggles its key; 0: unknown, and so is what they cost."""
    flush_frees: bool = True
    """Flush the TLBs when the key of a table that is freed is cleared."""
    adopts: int = -1
    """Largest order of ordinary memory that goes to the pool when it is freed into a marked pageblock; -1: none."""
    cpu_batch: int = 0
    """Pages that a CPU's own list takes from the pool at a time, and returns; 0: no CPU has a list."""
    merges: bool = False
    """The pool is a private buddy: tables come from its smallest chunk and merge again when they are freed."""
    spare_blocks: int = -1
    """Whole idle blocks of a private buddy that stay; a worker shrinks when a free leaves more; -1: all stay."""
    counts_free: bool = False
    """Idle pages on the shared list are free memory: watermarks count them, and `Strategy.fall_back` gives them to
    requests that find nothing else."""
    secrets: bool = False
    """Secret memory is served from the same list as page tables: the permission of the pool stands for "not mapped"."""
    users: bool = False
    """Other kinds of user are also served, each from a list of its own
    (replay.contract.permissions). The shared list is memory that is not mapped; tables of the direct map
    come from the page tables' list."""
    user_batch: int = 0
    """Pages that such a list gives back to the shared one at a time, once it has more than two of these; 0: never."""


class PoolView:
    """What a decision may see of the pool, as it is at that moment."""

    @property
    def block_order(self) -> int:
        """Order of what a PMD maps, and of a pageblock: 9 with 4K pages, 11 with 16K, 13 with 64K."""
        raise NotImplementedError

    @property
    def cached(self) -> int:
        """Pages on the list, the reserve included; without those on lists of CPUs."""
        raise NotImplementedError

    @property
    def idle(self) -> int:
        """Pages on the shared list, whatever it keeps tables of the direct map for."""
        raise NotImplementedError

    def tables_needed(self, change: Change) -> int:
        """Page tables that a permission change would take now."""
        raise NotImplementedError

    @property
    def tables_for_4k(self) -> int:
        """Page tables that it would take to map the whole direct map in single pages, from large leaves only."""
        raise NotImplementedError

    @property
    def largest_free(self) -> int:
        """Order of the largest free chunk of the page allocator, at most a pageblock's; 0 when nothing is free."""
        raise NotImplementedError

    def idle_chunks(self) -> list[Chunk]:
        """The chunks that idle pages have merged into, the smallest first, then ascending by address."""
        raise NotImplementedError

    def idle_blocks(self) -> list[tuple[int, int, bool]]:
        """(first pfn, idle pages, came in one piece) of every 2M block with idle pages, ascending by address."""
        raise NotImplementedError

    def all_idle_pages(self) -> list[int]:
        """Idle pages of every 2M block, ascending."""
        return [page for first, _, _ in self.idle_blocks() for page in self.idle_pages(first)]

    def idle_pages(self, first: int) -> list[int]:
        """Idle pages of the 2M block that starts at `first`, ascending."""
        raise NotImplementedError


@dataclass(frozen=True)
class Strategy:
    """The parameters that every strategy has, because every posting leaves them open, and the decisions."""

    kernel_tables: bool = param(True, "also protect the kernel's own page tables (vmalloc space)", "ours")
    secondary_tables: bool = param(False, "also protect KVM and IOMMU tables", "ours")

    bound = False
    """Whether this is not a way to supply page tables, but a bound on what the others can reach."""
    boot_map_4k = False
    """Whether the direct map is forced to 4K pages at boot."""
    seeks = 2
    """Of the shrinker: DEFAULT_SEEKS. 0: half of what could be freed is scanned each time."""
    shrink_batch = 128
    """Of the shrinker: SHRINK_BATCH."""
    leaves_unkeyed = False
    """Whether its posting says that tables can be without the key; elsewhere one that is counts as a failure."""
    fall_back_sleeps = False
    """Whether requests that may not sleep do not fall back to the pool (`fall_back`)."""
    shadow_stacks = False
    """Whether every kernel stack of the recording gets a shadow stack (replay.demand.shadow_stacks)."""

    def __post_init__(self) -> None:
        """Refuse orders and page counts that are out of range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            most = HIGHEST_MAX_ORDER if "order" in field.name else LARGEST_PAGE_COUNT
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and not 0 <= number <= most:
                    raise ValueError(f"{field.name}={number} is not within 0 to {most}")

    def on(self, geometry: Geometry) -> Self:
        """The strategy on a machine: parameters that were left open have the values of its page size."""
        granule = 0 if geometry.page_shift <= 12 else 1 if geometry.page_shift <= 14 else 2
        fields = [field for field in dataclasses.fields(self) if "granules" in field.metadata]
        chosen = {f.name: f.metadata["granules"][granule] for f in fields if getattr(self, f.name) is None}
        return dataclasses.replace(self, **chosen)

    def protects(self) -> tuple[str, ...]:
        """The consumers whose pages must carry the key."""
        kernel = ("pgtable_kernel",) * self.kernel_tables
        secondary = ("kvm", "iommu") * self.secondary_tables
        return tuple(consumer for consumer in CONSUMERS if consumer in ("pgtable_user", *kernel, *secondary))

    def fast_path(self) -> FastPath:
        """The mechanism between decisions."""
        raise NotImplementedError(f"{type(self).__name__} has no fast_path()")

    def boot(self, pool: PoolView) -> Decision:
        """Decide what is taken at boot: what is asked for is there, or the run is refused (replay.machine.boot)."""
        yield from ()

    def construct(self, pool: PoolView, chunk: Chunk) -> Decision:
        """Decide how a page table gets its key where each gets one (`FastPath.key_each`). Returns whether it has it."""
        return (yield SetKey(chunk, Tables.BUDDY))

    def refill(self, pool: PoolView, order: int) -> Decision:
        """Decide where new pages come from when a table of 2^order pages cannot be handed out.

        Returns:
            A chunk that serves the request, True to look again, or None to refuse.
        """
        yield from ()

    def refill_atomic(self, pool: PoolView, order: int) -> Decision:
        """The same in a context that may not sleep (GFP_ATOMIC, GFP_NOWAIT), where memory is asked for with its flags.

        By default such a table is refused, and counted: a split, its lock and its tables may all sleep (ours).
        """
        yield from ()

    def refill_user(self, pool: PoolView, user: int) -> Decision:
        """The same for a page of another kind of user (replay.contract.permissions), or of the shared list."""
        return (yield from self.refill(pool, 0))

    def outside(self, pool: PoolView, change: Change) -> Decision:
        """Decide whose tables a permission change by another part of the kernel uses. Returns whether it was done.

        By default those are ordinary pages without the key, as in split_large_page() (arch/x86/mm/pat/set_memory.c).
        Secret memory that splits nothing is taken out of the direct map without asking, while `FastPath.reserve` pages
        or more are there and no decision is under way: nothing is to be decided then.
        """
        return (yield Apply(change, Tables.BUDDY))

    @property
    def shrinks(self) -> bool:
        """Whether it registers a shrinker, which direct reclaim and kswapd enter (replay.machine.vmscan)."""
        return type(self).shrink is not Strategy.shrink

    @property
    def falls_back(self) -> bool:
        """Whether requests of others fall back to the pool inside the page allocator."""
        return type(self).fall_back is not Strategy.fall_back

    def freeable(self, pool: PoolView) -> int:
        """count_objects() of the shrinker: pages that could be given back. By default all that is idle."""
        return pool.idle

    def shrink(self, pool: PoolView) -> Decision:
        """Decide what is given back when memory is short: one scan of the shrinker. Returns the pages freed."""
        yield from ()
        return 0

    def fall_back(self, pool: PoolView, order: int, migratetype: int) -> Decision:
        """Decide what a request of others for 2^order pages gets that finds no page, before it stalls.

        Entered until the request is served or this returns 0: the pages freed.
        """
        yield from ()
        return 0


def parameters_json(strategy: Strategy) -> str:
    """All parameters, sorted by name: how the warehouse keeps them."""
    return json.dumps(dataclasses.asdict(strategy), sort_keys=True)
