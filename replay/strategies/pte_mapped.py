"""The direct map forced to 4K pages at boot, one key change per page table."""

from dataclasses import dataclass

from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, Strategy


@strategy(
    "pte-mapped",
    title="direct map all in 4K pages, the key set on each page table and cleared when it is freed",
    source="Kevin Brodsky, kpkeys RFC v9 (2026-08-18), which like v7 (2026-05-05) requires a PTE-mapped linear map; as "
    "in v5 (2025-08-15); Rick Edgecombe, PKS write protected page tables v2, patch 17 (2021-08-30), solution 3",
    colour="#882255",
    line="dashed",
    marker="s",
)
@dataclass(frozen=True)
class PteMapped(Strategy):
    """Nothing is ever split, because nothing is mapped large: "This would have undesirable performance" (Rick, 2021).

    text  The direct map is mapped with 4K pages at boot; its tables are allocated then and stay (about RAM/512).
    code  Each page table comes from the page allocator, gets the key with one permission change over its own pages
          (kpkeys_pgtable_alloc() since v7: alloc_pages(gfp, order), then the key on 1 << order pages; v6 does the same
          in noblock_pgtable_alloc(), where the map is all small), and loses it with another when it is freed.
    code  Pages of the direct map's own tables come from memblock, one at a time, before the page allocator runs
          (kpkeys_physmem_pgtable_alloc()); they get their key later in boot (ppa_finalize()).
    """

    boot_map_4k = True

    def fast_path(self) -> FastPath:
        """One key change for every allocation and every free."""
        return FastPath(pooled=False, key_each=True)
