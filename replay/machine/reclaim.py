"""Direct reclaim, kswapd and compaction in three variants: `replay/profiles/reclaim.toml` says what each can do."""

import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError
from replay.kernel.compaction import SHARE_PARTS, Limits, balance_node, compact_zone, shrink_zone
from replay.kernel.gfp import MAY_FS, MAY_IO, ZONE_CLASS_MASK
from replay.kernel.mmzone import BALANCE_DUE, CLASS, FIRST_PFN, NEVER, NOW, PageAllocator

NONE = "none"
COMPACT_MAX_DEFER_SHIFT = 6


@dataclass(frozen=True)
class Variant:
    """What can be made free again; the profile says what each number means and where it comes from."""

    name: str
    reclaimable: float
    page_cache: bool
    without_io: float
    batch: int
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
    text = files("replay").joinpath("profiles", "reclaim.toml").read_text(encoding="utf-8")
    return {name: Variant(name, **values) for name, values in tomllib.loads(text).items()}


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
    """

    def __init__(
        self,
        variant: Variant,
        allocator: PageAllocator,
        page_of: NDArray[np.int32],
        name_of: NDArray[np.int32],
        page_cache: float | None = None,
    ) -> None:
        self.variant, self._allocator = variant, allocator
        self.share = page_cache if variant.page_cache and page_cache is not None else variant.reclaimable
        self._names = (page_of, name_of)
        self._hands = allocator.zones[:, FIRST_PFN].copy()
        self._scanners = allocator.zones[:, FIRST_PFN].copy()
        self._deferred = np.zeros((len(allocator.zones), 3), np.int64)  # attempts skipped, shift, order that failed
        self.done: Counter[str] = Counter()
        """Pages ``reclaimed``, ``kswapd`` (freed by it), ``moved``; ``compacted`` (blocks made free)."""

    def direct(self, cpu: int, context: int) -> int:
        """One round of direct reclaim (try_to_free_pages()) in the zones that the request may use; pages freed."""
        a, variant = self._allocator, self.variant
        starts_io = context & MAY_IO and context & MAY_FS
        share = round(self.share * (1 if starts_io else variant.without_io) * SHARE_PARTS)
        freed = 0
        for zone in self._zones(cpu, context):
            if freed < variant.batch and share:
                wanted = variant.batch - freed
                freed += int(shrink_zone(a, *self._names, self._hands, cpu, zone, wanted, share))
        self.done["reclaimed"] += freed
        return freed

    def wake_kswapd(self) -> None:
        """wakeup_kswapd(): it will have run after `Features.kswapd_ns`, if not sooner."""
        a = self._allocator
        a.clock[BALANCE_DUE] = min(a.clock[BALANCE_DUE], a.clock[NOW] + a.features.kswapd_ns)

    def balance_if_due(self) -> None:
        """`balance`, where no event comes to make kswapd run."""
        if self.share and self._allocator.clock[NOW] >= self._allocator.clock[BALANCE_DUE]:
            self.balance()

    def balance(self) -> None:
        """Kswapd runs, if it is a while since it was woken: on every node that is not balanced."""
        a = self._allocator
        a.clock[BALANCE_DUE] = NEVER
        for node in range(len(a.zonelist)):
            cpu = int(np.argmax(a.node_of_cpu == node))
            share = round(self.share * SHARE_PARTS)
            self.done["kswapd"] += int(balance_node(a, *self._names, self._hands, cpu, node, share))

    def compact(self, cpu: int, order: int, migratetype: int, context: int, *, sync: bool) -> bool:
        """try_to_compact_pages(): zone by zone until a block of 2^order is free. Returns whether one is."""
        variant = self.variant
        share = variant.sync_movable if sync else variant.async_movable
        if not share or not context & MAY_IO:  # gfp_compaction_allowed()
            return False
        limits = Limits(
            movable=int(share * (1 << order)),
            pageblocks=variant.sync_pageblocks if sync else variant.async_pageblocks,
            same_type=variant.async_same_type and not sync,
            movable_targets=variant.movable_targets,
            gap=2 << order if variant.gap else 0,
        )
        for zone in self._zones(cpu, context):
            if variant.defer and self._is_deferred(zone, order):
                continue
            where = self._allocator, *self._names, self._scanners, zone
            moved = int(compact_zone(*where, order, migratetype, context & ZONE_CLASS_MASK, limits))
            if moved > 0:
                self.done["moved"] += moved
                self.done["compacted"] += 1
                self._deferred[zone] = 0, 0, order + 1
                return True
            if moved == 0 and sync:
                self._defer(zone, order)
        return False

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

    def _zones(self, cpu: int, context: int) -> list[int]:
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
