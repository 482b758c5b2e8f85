"""Memory mapped in pages of a given size, and the size in which the kernel says it really is mapped."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAP_HUGETLB = 0x40000  # include/uapi/asm-generic/mman-common.h
_MAP_HUGE_SHIFT = 26
_THP = Path("/sys/kernel/mm/transparent_hugepage")
_HUGETLB = Path("/sys/kernel/mm/hugepages")

ENOUGH = 0.98
"""Share of a region that must be in pages of the given size."""


@dataclass(frozen=True)
class Kind:
    """A page size and how to get it.

    Attributes:
        page: bytes of a page.
        how: madvise (transparent huge pages), hugetlb, or small (huge pages refused).
    """

    page: int
    how: str


def kinds() -> list[Kind]:
    """Small pages, and the huge ones that this machine may offer; of each size the preferred way comes first."""
    small = Kind(mmap.PAGESIZE, "small")
    huge = _number(_THP / "hpage_pmd_size")
    transparent = [Kind(huge, "madvise")] if huge and "[never]" not in _text(_THP / "enabled") else []
    reserved = [
        Kind(int(folder.name.removeprefix("hugepages-").removesuffix("kB")) << 10, "hugetlb")
        for folder in _HUGETLB.glob("hugepages-*kB")
        if _number(folder / "free_hugepages")
    ]
    return [small, *transparent, *sorted(reserved, key=lambda kind: kind.page)]


def largest(kind: Kind, wanted: int) -> int:
    """Bytes available of a kind: all that is wanted, or the reserved huge pages that are free."""
    if kind.how != "hugetlb":
        return wanted
    return min(wanted, kind.page * _number(_HUGETLB / f"hugepages-{kind.page >> 10}kB" / "free_hugepages"))


def region(kind: Kind, size: int) -> tuple[NDArray[np.uint64], float]:
    """Map `size` bytes of zeros in pages of a kind, and touch every page.

    Returns:
        The memory as words, unmapped when the last array that uses it is gone; and the share of it that the kernel
        says is in pages of that size.

    Raises:
        OSError: there is no such memory.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if kind.how == "hugetlb":
        flags |= _MAP_HUGETLB | (kind.page.bit_length() - 1) << _MAP_HUGE_SHIFT
    area = mmap.mmap(-1, size + (kind.page if kind.how == "madvise" else 0), flags=flags)
    words: Any = np.frombuffer(area, dtype=np.uint64)
    if kind.how == "madvise":
        area.madvise(mmap.MADV_HUGEPAGE)
        words = words[-words.ctypes.data % kind.page // 8 :]
    elif kind.how == "small" and _THP.exists():
        area.madvise(mmap.MADV_NOHUGEPAGE)
    words = words[: size // 8]
    words[:: mmap.PAGESIZE // 8] = 0
    huge = huge_bytes(Path("/proc/self/smaps").read_text(encoding="utf-8"), words.ctypes.data, size)
    return words, (size - huge if kind.how == "small" else huge) / size


def huge_bytes(smaps: str, start: int, size: int) -> int:
    """Bytes of ``[start, start + size)`` in huge pages, transparent or reserved, as /proc/PID/smaps says."""
    total, inside = 0, False
    for line in smaps.splitlines():
        name, _, rest = line.partition(":")
        if "-" in name.split(" ", 1)[0]:
            low, high = (int(end, 16) for end in line.split(" ", 1)[0].split("-"))
            inside = low < start + size and start < high
        elif inside and name in ("AnonHugePages", "Private_Hugetlb"):
            total += int(rest.split()[0]) << 10
    return min(total, size)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0
