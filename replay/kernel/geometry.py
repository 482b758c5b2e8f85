"""Sizes that are fixed when a kernel is built, by architecture and granule."""

from typing import Any, NamedTuple

from ptpool.errors import UsageError
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

    @property
    def arch(self) -> str:
        """The architecture whose rules hold, by the name that profiles have for it."""
        return "aarch64" if self.arm64 else "x86_64"

    def leaf_name(self, level: int) -> str:
        """Size of a leaf as kernel developers write it: level 1 (PTE), 2 (PMD), 3 (PUD)."""
        return size(1 << self.page_shift + (level - 1) * self.table_shift)


X86_64 = Geometry()
ARM64_4K = Geometry(arm64=True, cont_pte_shift=4, cont_pmd_shift=4)
ARM64_16K = Geometry(14, 11, 11, 11, pud_leaf=False, arm64=True, cont_pte_shift=7, cont_pmd_shift=5)
ARM64_64K = Geometry(16, 13, 13, 13, pud_leaf=False, arm64=True, cont_pte_shift=5, cont_pmd_shift=5)


X86_MACHINES, ARM64_MACHINES = ("x86_64", "amd64"), ("aarch64", "arm64", "aarch64_be")
"""Names in ``uname -m`` of the architectures whose rules ptpool has."""

ASSUMED_ARCH, ASSUMED_PAGE = "x86_64", 4096
"""What a recording is taken to be from that does not say it."""

HIGHEST_MAX_ORDER = ARM64_64K.max_order
"""MAX_PAGE_ORDER of no simulated machine is larger; on x86 it is 10. No parameter is a larger order."""


def geometry_of(arch: str, page_size: int) -> Geometry | None:
    """The geometry of a machine by ``uname -m`` and page size in bytes; None: there are no rules for it."""
    known = (X86_64,) if arch in X86_MACHINES else (ARM64_4K, ARM64_16K, ARM64_64K) if arch in ARM64_MACHINES else ()
    return next((each for each in known if 1 << each.page_shift == page_size), None)


def recorded_geometry(capture: dict[str, Any]) -> Geometry:
    """The geometry of the machine that a capture (row of table capture) was recorded on.

    MAX_PAGE_ORDER is the recorded one, as far as the replay has such orders. Pageblocks are always what a page table
    maps: where the recorded kernel's are larger or smaller, their counts are converted.

    Raises:
        UsageError: the replay has no rules for its architecture or page size.
    """
    arch, page_size = capture.get("arch") or ASSUMED_ARCH, capture.get("page_size") or ASSUMED_PAGE
    geometry = geometry_of(arch, page_size)
    if geometry is None:
        known = arch in (*X86_MACHINES, *ARM64_MACHINES)
        what = (
            f"there are no pages of {page_size:,} bytes on {arch}" if known else f"the replay has no rules for {arch}"
        )
        raise UsageError(
            f"capture {capture['name']}: {what}",
            "it replays x86_64 with pages of 4 KiB and aarch64 with pages of 4, 16 or 64 KiB; what was recorded can be "
            "queried (ptpool sql)",
        )
    max_order = capture.get("max_order")
    if max_order is None:
        return geometry
    return geometry._replace(max_order=min(max(max_order, geometry.pageblock_order), HIGHEST_MAX_ORDER))


def assumptions_of(capture: dict[str, Any], geometry: Geometry) -> list[str]:
    """What was assumed of the recorded machine's geometry, and where it is another one."""
    said = []
    if not capture["arch"]:
        said.append("The architecture was not recorded: x86-64 is assumed.")
    if not capture["page_size"]:
        said.append("The page size was not recorded: pages of 4 KiB are assumed.")
    if capture["max_order"] not in (None, geometry.max_order):
        said.append(
            f"The recorded kernel has free blocks of up to order {capture['max_order']}, the replay of up to "
            f"{geometry.max_order}: larger ones are counted as several."
        )
    if capture["pageblock_order"] not in (None, geometry.pageblock_order):
        said.append(
            f"The recorded kernel's pageblocks are of order {capture['pageblock_order']}, the replay's of "
            f"{geometry.pageblock_order}: the counts of pagetypeinfo are converted."
        )
    return said
