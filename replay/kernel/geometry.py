"""Sizes that are fixed when a kernel is built, by architecture and granule."""

from typing import NamedTuple

from ptpool.text import size


class Geometry(NamedTuple):
    """How pages, tables and blocks nest.

    Sources: include/linux/mmzone.h and pageblock-flags.h (6.18) for orders, arch/*/include/asm/pgtable* for tables,
    arch/arm64/Kconfig (ARCH_FORCE_MAX_ORDER, ARM64_CONT_PTE_SHIFT, ARM64_CONT_PMD_SHIFT) for arm64's granules.
    """

    page_shift: int = 12
    table_shift: int = 9
    """log2 of the entries of a page table: a leaf of the next level covers that many more pages."""
    pageblock_order: int = 9
    max_order: int = 10
    """MAX_PAGE_ORDER, inclusive."""
    pud_leaf: bool = True
    """Whether a PUD entry can be a leaf; on arm64 only with 4K pages (pud_sect_supported())."""
    arm64: bool = False
    """Whether permissions change by arm64's rules; otherwise by x86's."""
    cont_pte_shift: int = 0
    """log2 of the PTEs that share a contiguous hint (CONT_PTES)."""
    cont_pmd_shift: int = 0
    """log2 of the PMDs that share one (CONT_PMDS)."""

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
        return size(1 << self.page_shift + (level - 1) * self.table_shift)


X86_64 = Geometry()
ARM64_4K = Geometry(arm64=True, cont_pte_shift=4, cont_pmd_shift=4)
ARM64_16K = Geometry(14, 11, 11, 11, pud_leaf=False, arm64=True, cont_pte_shift=7, cont_pmd_shift=5)
ARM64_64K = Geometry(16, 13, 13, 13, pud_leaf=False, arm64=True, cont_pte_shift=5, cont_pmd_shift=5)


def geometry_of(arch: str, page_size: int) -> Geometry | None:
    """The geometry of a machine by ``uname -m`` and page size in bytes; None: there is no such machine."""
    known = (X86_64, ARM64_4K, ARM64_16K, ARM64_64K)
    return next((g for g in known if g.arm64 == (arch == "aarch64") and 1 << g.page_shift == page_size), None)
