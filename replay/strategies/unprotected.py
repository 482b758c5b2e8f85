"""Today's kernel: page tables from the page allocator, without a key."""

from dataclasses import dataclass

from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, Strategy


@strategy(
    "unprotected",
    title="page tables from the page allocator, no key: the baseline",
    source="mainline Linux (mm/page_alloc.c; arch/x86/mm/pat/set_memory.c:split_large_page)",
    colour="#555555",
    line="solid",
    marker="o",
)
@dataclass(frozen=True)
class Unprotected(Strategy):
    """Page tables come from the page allocator and carry no key, as in every kernel today.

    code  A page table is an UNMOVABLE allocation like any other, and is freed like any other.
    code  Permission changes by others (secret memory, modules, BPF) split the direct map with order-0 pages from the
          page allocator (split_large_page: alloc_pages(GFP_KERNEL, 0)).
    """

    def fast_path(self) -> FastPath:
        """Everything is served and taken back by the page allocator."""
        return FastPath(pooled=False)
