"""The kernel's words as ptpool stores them.

Numbers are those of Linux 6.12 (``include/linux/gfp_types.h``, ``include/linux/mmzone.h``). Names are the same in all
versions: a trace that prints names is decoded exactly. A bare mask is read with its release's bits (ingest/gfp.toml).
"""

MIGRATETYPES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")
"""``/proc/pagetypeinfo`` names by ``enum migratetype`` value (mm/page_alloc.c:migratetype_names, with CONFIG_CMA)."""

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE = range(6)

KINDS = ("alloc", "free", "alloc_failed", "zone_locked", "pcpu_drain", "extfrag")
"""Kinds of page event; a kind's place in this tuple is its code in the flat arrays."""

KIND_ALLOC, KIND_FREE, KIND_ALLOC_FAILED, KIND_ZONE_LOCKED, KIND_PCPU_DRAIN, KIND_EXTFRAG = range(6)

CONSUMERS = (
    "other",
    "pgtable_user",
    "pgtable_kernel",
    "direct_map_split",
    "kvm",
    "iommu",
    "kstack",
    "exec",
    "secret",
)
"""What the memory is for; a consumer's place in this tuple is its code in the flat arrays."""

LEVELS = ("pte", "pmd", "pud", "p4d", "pgd")
"""Level of a page table, lowest first."""

ROLES = ("linked", "deposited", "preallocated")
"""What became of a page table: linked at once, deposited with a huge page, or allocated ahead of a fault."""

SPLIT_CAUSES = ("ptp", "refill", "shrink", "outside", "warm_up")
"""Why a replay split the direct map; a cause's place in this tuple is its code in the log of splits."""

SLOW_PATH_STEPS = ("kswapd", "compact_async", "reclaim", "compact_sync", "oom_kill", "null")
"""Steps that an allocation may have gone through: columns of table run_order."""

BUILT_IN = "built-in"
"""Name of the cost profile that comes with ptpool."""

KPF_LRU, KPF_SLAB, KPF_BUDDY, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL = 5, 7, 10, 15, 16
KPF_NOPAGE, KPF_OFFLINE, KPF_PGTABLE = 20, 23, 26
"""Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h) that an import keeps."""

GFP_BITS = {
    "__GFP_DMA": 0x01,
    "__GFP_HIGHMEM": 0x02,
    "__GFP_DMA32": 0x04,
    "__GFP_MOVABLE": 0x08,
    "__GFP_RECLAIMABLE": 0x10,
    "__GFP_HIGH": 0x20,
    "__GFP_IO": 0x40,
    "__GFP_FS": 0x80,
    "__GFP_ZERO": 0x100,
    "__GFP_DIRECT_RECLAIM": 0x400,
    "__GFP_KSWAPD_RECLAIM": 0x800,
    "__GFP_WRITE": 0x1000,
    "__GFP_NOWARN": 0x2000,
    "__GFP_RETRY_MAYFAIL": 0x4000,
    "__GFP_NOFAIL": 0x8000,
    "__GFP_NORETRY": 0x10000,
    "__GFP_MEMALLOC": 0x20000,
    "__GFP_COMP": 0x40000,
    "__GFP_NOMEMALLOC": 0x80000,
    "__GFP_HARDWALL": 0x100000,
    "__GFP_THISNODE": 0x200000,
    "__GFP_ACCOUNT": 0x400000,
    "__GFP_ZEROTAGS": 0x800000,
    "__GFP_SKIP_ZERO": 0x1000000,
    "__GFP_SKIP_KASAN": 0x2000000,
    "__GFP_NOLOCKDEP": 0x4000000,
    "__GFP_NO_OBJ_EXT": 0x8000000,
}

_RECLAIM = GFP_BITS["__GFP_DIRECT_RECLAIM"] | GFP_BITS["__GFP_KSWAPD_RECLAIM"]
_KERNEL = _RECLAIM | GFP_BITS["__GFP_IO"] | GFP_BITS["__GFP_FS"]
_USER = _KERNEL | GFP_BITS["__GFP_HARDWALL"]
_HIGHUSER_MOVABLE = _USER | GFP_BITS["__GFP_HIGHMEM"] | GFP_BITS["__GFP_MOVABLE"] | GFP_BITS["__GFP_SKIP_KASAN"]
_TRANSHUGE_LIGHT = (
    _HIGHUSER_MOVABLE | GFP_BITS["__GFP_COMP"] | GFP_BITS["__GFP_NOMEMALLOC"] | GFP_BITS["__GFP_NOWARN"]
) & ~_RECLAIM

GFP_COMPOUNDS = {
    "none": 0,
    "GFP_ATOMIC": GFP_BITS["__GFP_HIGH"] | GFP_BITS["__GFP_KSWAPD_RECLAIM"],
    "GFP_NOWAIT": GFP_BITS["__GFP_KSWAPD_RECLAIM"] | GFP_BITS["__GFP_NOWARN"],
    "GFP_NOIO": _RECLAIM,
    "GFP_NOFS": _RECLAIM | GFP_BITS["__GFP_IO"],
    "GFP_KERNEL": _KERNEL,
    "GFP_KERNEL_ACCOUNT": _KERNEL | GFP_BITS["__GFP_ACCOUNT"],
    "GFP_USER": _USER,
    "GFP_HIGHUSER": _USER | GFP_BITS["__GFP_HIGHMEM"],
    "GFP_HIGHUSER_MOVABLE": _HIGHUSER_MOVABLE,
    "GFP_TRANSHUGE_LIGHT": _TRANSHUGE_LIGHT,
    "GFP_TRANSHUGE": _TRANSHUGE_LIGHT | GFP_BITS["__GFP_DIRECT_RECLAIM"],
    "GFP_DMA": GFP_BITS["__GFP_DMA"],
    "GFP_DMA32": GFP_BITS["__GFP_DMA32"],
    "__GFP_RECLAIM": _RECLAIM,
}
"""Masks that the kernel prints by one name (include/trace/events/mmflags.h:__def_gfpflag_names)."""

_MASKS = GFP_BITS | GFP_COMPOUNDS


def gfp_flags(text: str) -> tuple[int, list[str]]:
    """Decode what a trace prints after ``gfp_flags=``.

    Args:
        text: names joined by ``|`` in any order, or a mask (hexadecimal with 0x, else decimal).

    Returns:
        The bits, and the unknown names, whose bits are missing.
    """
    bits, unknown = 0, []
    for name in text.split("|"):
        word = name.strip()
        if word in _MASKS:
            bits |= _MASKS[word]
        else:
            try:
                bits |= int(word, 16 if word.startswith("0x") else 10)  # kernels print 0x, old trace-cmd -R may not
            except ValueError:
                unknown.append(word)
    return bits, unknown
