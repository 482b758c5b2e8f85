"""The September 2025 proposal with a cache for each CPU: the question that its mail leaves open."""

from dataclasses import dataclass

from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, param
from replay.strategies.reserve_block import ReserveBlock


@strategy(
    "reserve-block-percpu",
    title="the same, each CPU with pages of its own: four at a time, or a 2M block",
    source="Kevin Brodsky, pool proposal on linux-mm, 2025-09-18, its open question; no posted implementation",
    colour="#56b4e9",
    line="dashed",
    marker="d",
    toy={"magazine_order": 1},  # of 2: a quarter of a block at most
)
@dataclass(frozen=True)
class ReserveBlockPerCpu(ReserveBlock):
    """`reserve-block`, with a list for each CPU in front of the shared one.

    text  "A bigger concern is concurrency - do we need a per-CPU cache? Reserving a 2M block per CPU could be very much
          overkill."
    ours  An empty list of a CPU takes `1 << magazine_order` pages from the shared list, under one acquisition of its
          lock, as long as the reserve stays. When there are none, the pool is refilled as in `reserve-block`. 2 is a
          magazine of four pages; 9 is a 2M block for each CPU.
    ours  A freed table goes to the list of the CPU that frees it. When that list is longer than two
          magazines, the one unused for longest goes back to the shared list (Jeff Bonwick, USENIX 2001).
    ours  Only the shared list has a reserve: splits take from there, whatever the CPUs' lists hold.
    ours  Nothing drains the lists of CPUs when memory is short.
    """

    magazine_order: int = param(
        2, "order of what a CPU takes from the shared list at a time: 2, or 9 for a block", "ours"
    )

    def fast_path(self) -> FastPath:
        """Each CPU hands out from its own list; the shared one keeps the reserve."""
        return FastPath(pooled=True, reserve=self.reserve, cpu_batch=1 << self.magazine_order)
