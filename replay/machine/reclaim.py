"""What reclaim and compaction make free, in three variants: `replay/profiles/reclaim.toml` says what each can do.

How far a round of either goes, and who starts it, is in `vmscan` and `slow_path`.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from replay import profiles
from replay.kernel.compaction import SHARE_PARTS, Limits, compact_zone, shrink_zone
from replay.kernel.gfp import MAY_FS, MAY_IO, ZONE_CLASS_MASK
from replay.kernel.mmzone import BARREN, CLASS, FIRST_PFN, LAST_PFN, NODE, PageAllocator

NONE = "none"
COMPACT_MAX_DEFER_SHIFT = 6


@dataclass(frozen=True)
class Variant:
    """What can be made free again; the profile says what each number means and where it comes from."""

    name: str
    reclaimable: float
    page_cache: bool
    without_io: float
    async_movable: float
    sync_movable: float
    async_pageblocks: int
    sync_pageblocks: int
    async_same_type: bool
    movable_targets: bool
    gap: bool
    defer: bool


@cache
def variants() -> dict[str, Variant]:
    """Every variant by its name, most optimistic first."""
    return {name: Variant(name, **values) for name, values in profiles.read("reclaim").items()}


def variant_of(name: str) -> Variant:
    """The variant of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in variants():
        raise UsageError(f"--reclaim {name}: no such variant", f"there are: {', '.join(variants())}")
    return variants()[name]


class Reclaim:
    """What is made free on one machine.

    Args:
        variant: what can be.
        allocator: the page allocator.
        page_of: (names,) the simulated page of each recorded one: -1 once it is reclaimed, another once it is moved.
        name_of: (P,) the reverse; see `replay.kernel.compaction`.
        page_cache: share of the movable pages that were page cache at the start; None: unknown.
        reclaimable: share of them that can be reclaimed, instead of what the variant says; None: as it says.
    """

    def __init__(
        self,
        variant: Variant,
        allocator: PageAllocator,
        page_of: NDArray[np.int32],
        name_of: NDArray[np.int32],
        page_cache: float | None = None,
        reclaimable: float | None = None,
    ) -> None:
        self.variant, self._allocator = variant, allocator
        self.share = page_cache if variant.page_cache and page_cache is not None else variant.reclaimable
        if reclaimable is not None and variant.reclaimable:
            self.share = reclaimable
        self._names = (page_of, name_of)
        self._hands = allocator.zones[:, FIRST_PFN].copy()
        self._scanners = allocator.zones[:, FIRST_PFN].copy()
        self._deferred = np.zeros((len(allocator.zones), 3), np.int64)  # attempts skipped, shift, order that failed
        self.failures = np.zeros(len(allocator.zonelist), np.int64)
        """(nodes,) pgdat->kswapd_failures: times in a row that kswapd found nothing to reclaim."""
        self.recorded = 0
        """Pages that the recorded kernel reclaimed since kswapd last ran, and that kswapd has not counted yet."""
        self.done: Counter[str] = Counter()
        """Pages ``reclaimed``, ``kswapd`` (freed by it), ``moved``; ``compacted`` (blocks made free)."""

    def share_for(self, context: int) -> float:
        """The share of the movable pages that a request may reclaim."""
        return self.share * (1 if context & MAY_IO and context & MAY_FS else self.variant.without_io)

    def shrink_lists(self, cpu: int, zones: list[int], priority: int, wanted: int, share: float) -> tuple[int, int]:
        """shrink_lruvec() (mm/vmscan.c, 6.12): look at 1/2^priority of the pages in these zones, free what can be.

        What is in use in a zone stands for its LRU lists (ours).

        Returns:
            Pages freed, at most `wanted`; pages looked at.
        """
        a, freed, scanned = self._allocator, 0, 0
        for zone in zones:
            in_use = int(a.zones[zone, LAST_PFN] - a.zones[zone, FIRST_PFN] + 1 - a.free_pages[zone])
            quota = min(wanted - freed, round((in_use >> priority) * share))
            scanned += in_use >> priority
            if quota > 0:
                parts = round(share * SHARE_PARTS)
                freed += int(shrink_zone(a, *self._names, self._hands, cpu, zone, quota, parts))
        if freed:
            self.failures[a.zones[zones, NODE]] = 0
        return freed, scanned

    def finds_any(self, zones: list[int], share: float) -> bool:
        """Whether `shrink_zone` would look for pages in any of these zones; it would not, after a round in vain."""
        return bool((self._allocator.zone_state[zones, BARREN] < round(share * SHARE_PARTS)).any())

    def take_recorded(self, pages: int, node: int) -> int:
        """Count so many of the pages that the recorded kernel reclaimed as found by kswapd, if there are as many.

        Only where the recorded frees are kept; where reclaim is modelled it finds its own.
        """
        taken = min(pages, self.recorded) if self.variant.name == NONE else 0
        self.recorded -= taken
        if taken:
            self.failures[node] = 0
        return taken

    def compact(
        self, cpu: int, order: int, migratetype: int, context: int, *, sync: bool, full: bool = False
    ) -> int | None:
        """try_to_compact_pages() (mm/compaction.c, 6.12): zone by zone until a block of 2^order is free.

        `full` is MIN_COMPACT_PRIORITY: every pageblock is looked at, pages move to any, and deferral does not count.

        Returns:
            Pages moved, 0 if no block could be made; None: every zone had too little free memory (COMPACT_SKIPPED).
        """
        variant = self.variant
        share = variant.sync_movable if sync else variant.async_movable
        if not share or not context & MAY_IO:  # gfp_compaction_allowed()
            return None
        limits = Limits(
            movable=int(share * (1 << order)),
            pageblocks=0 if full else variant.sync_pageblocks if sync else variant.async_pageblocks,
            same_type=variant.async_same_type and not sync,
            movable_targets=variant.movable_targets and not full,
            gap=2 << order if variant.gap else 0,
        )
        skipped = True
        for zone in self.zones_of(cpu, context):
            if variant.defer and not full and self._is_deferred(zone, order):
                skipped = False
                continue
            where = self._allocator, *self._names, self._scanners, zone
            moved = int(compact_zone(*where, order, migratetype, context & ZONE_CLASS_MASK, limits))
            skipped &= moved < 0
            if moved > 0:
                self.done["moved"] += moved
                self.done["compacted"] += 1
                self._deferred[zone] = 0, 0, order + 1
                return moved
            if moved == 0 and sync:
                self._defer(zone, order)
        return None if skipped else 0

    def assumptions(self, recorded: int) -> list[str]:
        """What was assumed, and how much of it happened; `recorded`: frees by reclaim in the recording."""
        if self.variant.name == NONE:
            kept = f"; the {recorded:,} frees by reclaim on the recorded machine are kept" if recorded else ""
            return [f"Reclaim and compaction free nothing but what the strategy's shrinker gives back{kept}."]
        done = self.done
        left_out = f" Left out: {recorded:,} frees by reclaim on the recorded machine." if recorded else ""
        return [
            f"Reclaim {self.variant.name} (replay/profiles/reclaim.toml): {self.share:.0%} of the movable pages in use "
            f"can be reclaimed, whatever their age, and compaction moves movable pages to make room.{left_out}",
            f"Reclaimed: {done['reclaimed']:,} pages by direct reclaim and {done['kswapd']:,} by kswapd; the workload "
            "does not ask for them again, and its own frees of them are among those left out.",
            f"Compacted: {done['compacted']:,} blocks, by moving {done['moved']:,} pages.",
        ]

    def zones_of(self, cpu: int, context: int) -> list[int]:
        """The zones that a request may use, in the order in which it tries them."""
        a = self._allocator
        zones = a.zonelist[a.node_of_cpu[cpu]]
        return [int(zone) for zone in zones if a.zones[zone, CLASS] <= context & ZONE_CLASS_MASK]

    def _is_deferred(self, zone: int, order: int) -> bool:
        """compaction_deferred()."""
        skipped, shift, failed = self._deferred[zone]
        if not shift or order < failed:
            return False
        self._deferred[zone, 0] = min(skipped + 1, 1 << shift)
        return bool(skipped + 1 < 1 << shift)

    def _defer(self, zone: int, order: int) -> None:
        """defer_compaction()."""
        _, shift, failed = self._deferred[zone]
        lowest = min(order, failed) if shift else order
        self._deferred[zone] = 0, min(shift + 1, COMPACT_MAX_DEFER_SHIFT), lowest
