"""The kernel's direct map: its leaves, and what a permission change does to them.

A change is planned before it is applied: `tables_needed` says how many page tables it takes, `apply` gets them.
"""

from replay.kernel.leaves import (
    CLEAN,
    COLLAPSE,
    COLLAPSES,
    EXECUTABLE,
    KERNEL_4K,
    KEYED,
    NOT_GLOBAL,
    NOT_PRESENT,
    PAGES,
    PMD,
    PTE,
    PUD,
    READ_ONLY,
    SPLIT,
    SPLITS,
    TABLES,
    UNCACHED,
    DirectMap,
    attribute_of,
    direct_map,
    logged,
    with_room,
)
from replay.kernel.set_memory import apply, collapse, tables_needed

__all__ = [
    "CLEAN",
    "COLLAPSE",
    "COLLAPSES",
    "EXECUTABLE",
    "KERNEL_4K",
    "KEYED",
    "NOT_GLOBAL",
    "NOT_PRESENT",
    "PAGES",
    "PMD",
    "PTE",
    "PUD",
    "READ_ONLY",
    "SPLIT",
    "SPLITS",
    "TABLES",
    "UNCACHED",
    "DirectMap",
    "apply",
    "attribute_of",
    "collapse",
    "direct_map",
    "logged",
    "tables_needed",
    "with_room",
]
