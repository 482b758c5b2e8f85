"""Sizes that the kernel fixes at build time, by architecture and granule."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """How pages, tables and blocks nest.

    Sources: include/linux/mmzone.h and pageblock-flags.h (6.18) for orders, arch/*/include/asm/pgtable* for tables.
    """

    page_shift: int = 12
    table_shift: int = 9
    """log2 of the entries of a page table: a leaf of the next level covers that many more pages."""
    pageblock_order: int = 9
    max_order: int = 10
    """MAX_PAGE_ORDER, inclusive."""

    @property
    def pmd_pages(self) -> int:
        """Base pages under one PMD leaf (2M on x86-64 and arm64 with 4K pages)."""
        return 1 << self.table_shift

    @property
    def pud_pages(self) -> int:
        """Base pages under one PUD leaf (1G on x86-64 and arm64 with 4K pages)."""
        return 1 << 2 * self.table_shift

    def leaf_name(self, level: int) -> str:
        """Size of a leaf as kernel developers write it: level 1 (PTE), 2 (PMD), 3 (PUD)."""
        size = 1 << self.page_shift + (level - 1) * self.table_shift
        for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
            if size >> shift:
                return f"{size >> shift}{unit}"
        raise ValueError(f"level {level} has no leaf")


X86_64 = Geometry()
ARM64_4K = Geometry()
TOY = Geometry(page_shift=12, table_shift=2, pageblock_order=2, max_order=3)
"""Four entries per table: small enough to search exhaustively with the same strategy code."""
