"""The direct map forced to 4K pages at boot, one key change per page table."""

from dataclasses import dataclass

from replay.contract.registry import strategy
from replay.contract.strategy import FastPath, Strategy


@strategy(
    "pte-mapped",
    title="direct map all in 4K pages, the key set on each page table and cleared when it is freed",
    source="Rick Edgecombe, PKS tables v2 patch 17, solution 3 (2021-08-30); Kevin Brodsky, kpkeys v5 (2025-08-15) and "
    "v7 (2026-05-05) to RFC v9 (2026-08-18), which require a PTE-mapped linear map",
    colour="#882255",
    line="dashed",
    marker="s",
)
@dataclass(frozen=True)
class PteMapped(Strategy):
    """Nothing is ever split, because nothing is mapped large: "This would have undesirable performance" (Rick, 2021).

    text  The direct map is mapped with 4K pages at boot; its tables are allocated then and stay (about RAM/512).
    code  Each page table comes from the page allocator, gets the key with one permission change over its own pages
          (kpkeys_pgtable_alloc() of v7, noblock_pgtable_alloc() of v6), and loses it with another when it is freed.
    reported  So do v8 (2026-05-26) and RFC v9 (20260818-kpkeys-v9-0-743ad31b2c8f@arm.com), page by page: they leave
          v6's block allocator (`pba`) for later.
    ours  Pages of the direct map's own tables come from memory set aside at boot (v7's PPA, page by page).
    """

    boot_map_4k = True

    def fast_path(self) -> FastPath:
        """One key change for every allocation and every free."""
        return FastPath(pooled=False, key_each=True)
