"""The /proc snapshots of a capture, as rows of the warehouse's tables.

Formats are those of mm/vmstat.c (buddyinfo, pagetypeinfo, zoneinfo, vmstat), fs/proc/meminfo.c, fs/proc/page.c
(kpageflags) and kernel/resource.c (iomem), Linux 4.14 to 7.0.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.source import DAMAGE, Bytes
from ptpool import vocabulary
from ptpool.errors import UsageError
from ptpool.vocabulary import MIGRATETYPES

PAGE_FLAG_BITS = (
    vocabulary.KPF_LRU, vocabulary.KPF_SLAB, vocabulary.KPF_BUDDY, vocabulary.KPF_COMPOUND_HEAD,
    vocabulary.KPF_COMPOUND_TAIL, vocabulary.KPF_NOPAGE, vocabulary.KPF_OFFLINE, vocabulary.KPF_PGTABLE,
)  # fmt: skip
"""Bits of include/uapi/linux/kernel-page-flags.h that page_flags keeps; see its comment in the schema."""

_KEPT = np.uint64(sum(1 << bit for bit in PAGE_FLAG_BITS))
_KERNEL_RANGES = ("System RAM", "Kernel code", "Kernel rodata", "Kernel data", "Kernel bss")

Rows = list[tuple[Any, ...]]
Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]
"""First pfn, last pfn and flags of runs of pages with equal flags, from pfn 0 without gaps."""


class MalformedError(Exception):
    """A line that cannot be in such a file."""

    def __init__(self, line: int, text: str) -> None:
        shown = text.strip()[:60]
        super().__init__(f"line {line}: {shown}" if line else shown)


def read_text(path: Path) -> list[str]:
    """Lines of a snapshot file."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _matches(pattern: str, lines: list[str]) -> Iterator[re.Match[str]]:
    """The match of each line; a line that does not match is malformed."""
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(pattern, line)
        if not match:
            raise MalformedError(number, line)
        yield match


def buddyinfo(lines: list[str]) -> Rows:
    """Rows (node, zone, migratetype None, order, blocks)."""
    return [
        (int(match[1]), match[2], None, order, int(blocks))
        for match in _matches(r"Node +(\d+), zone +(\S+)((?: +\d+)+) *", lines)
        for order, blocks in enumerate(match[3].split())
    ]


def pagetypeinfo(lines: list[str]) -> tuple[Rows, Rows]:
    """Rows (node, zone, migratetype, order, free blocks) and rows (node, zone, migratetype, pageblocks)."""
    free: Rows = []
    blocks: Rows = []
    types: list[str] = []
    for number, line in enumerate(lines, 1):
        if match := re.fullmatch(r"Node +(\d+), zone +(\S+), type +(\S+)((?: +>?\d+)+) *", line):
            if match[3] not in MIGRATETYPES:
                raise MalformedError(number, line)
            counts = [int(n.lstrip(">")) for n in match[4].split()]
            free += [(int(match[1]), match[2], match[3], order, n) for order, n in enumerate(counts)]
        elif line.startswith("Number of mixed blocks"):  # page_owner's table: another meaning
            break
        elif line.startswith("Number of blocks type"):
            types = line.removeprefix("Number of blocks type").split()
        elif types and (match := re.fullmatch(r"Node +(\d+), zone +(\S+)((?: +\d+)+) *", line)):
            counts = [int(n) for n in match[3].split()]
            if len(counts) != len(types) or not set(types) <= set(MIGRATETYPES):
                raise MalformedError(number, line)
            blocks += [(int(match[1]), match[2], kind, n) for kind, n in zip(types, counts, strict=True)]
        elif line.strip() and not line.startswith(("Page block order", "Pages per block", "Free pages count")):
            raise MalformedError(number, line)
    return free, blocks


def zoneinfo(lines: list[str]) -> tuple[Rows, Rows]:
    """Rows (name, value) such as ('Node 0, zone DMA32, present', 520150), and pagesets (node, zone, cpu, name, value).

    Statistics of a whole node, which the file has under its first zone, are left out: vmstat and meminfo have the sums.
    """
    rows: Rows = []
    pagesets: Rows = []
    node, zone, cpu, per_node = -1, "", -1, False
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if match := re.fullmatch(r"Node (\d+), zone +(\S+)", text):
            node, zone, cpu, per_node = int(match[1]), match[2], -1, False
        elif not zone:
            raise MalformedError(number, line)
        elif text == "per-node stats":
            per_node = True
        elif match := re.fullmatch(r"cpu: +(\d+)", text):
            cpu = int(match[1])
        elif match := re.fullmatch(r"protection: \(([\d, ]*)\)", text):
            values = [int(n) for n in match[1].split(",") if n.strip()]
            rows += [(f"Node {node}, zone {zone}, protection[{i}]", value) for i, value in enumerate(values)]
        elif match := re.fullmatch(r"(pages free|[\w ]+?):? +(-?\d+)", text):
            name = match[1]
            if name in ("start_pfn", "node_unreclaimable", "all_unreclaimable"):
                cpu = -1
            per_node = per_node and name != "pages free"
            if not per_node and cpu >= 0:
                pagesets.append((node, zone, cpu, name, int(match[2])))
            elif not per_node:
                rows.append((f"Node {node}, zone {zone}, {name}", int(match[2])))
        elif text and text not in ("pagesets", "page_table_check") and not text.endswith("is not populated"):
            raise MalformedError(number, line)
    return rows, pagesets


def memory_end(zone_values: Mapping[str, int]) -> int | None:
    """The page after the machine's last one, by the values of `zoneinfo`; None where there are none."""
    starts = {name.removesuffix("start_pfn"): n for name, n in zone_values.items() if name.endswith(", start_pfn")}
    return max((first + zone_values.get(f"{zone}spanned", 0) for zone, first in starts.items()), default=None)


def name_value(lines: list[str]) -> Rows:
    """Rows (name, value) of vmstat (``name value``) or meminfo (``name: value kB``)."""
    return [(match[1], int(match[2])) for match in _matches(r"\s*([\w()]+):? +(-?\d+)(?: kB)?\s*", lines)]


def iomem(lines: list[str], page_size: int) -> Rows:
    """Rows (first_pfn, last_pfn, name) of System RAM and the kernel image: the whole pages inside each range."""
    rows: Rows = []
    for match in _matches(r" *([0-9a-f]+)-([0-9a-f]+) : (.*)", lines):
        first, last = -(-int(match[1], 16) // page_size), (int(match[2], 16) + 1) // page_size - 1
        if match[3] in _KERNEL_RANGES and first <= last and last > 0:  # all zero: read without root
            rows.append((first, last, match[3]))
    return rows


def page_flag_runs(path: Path) -> Runs:
    """Runs of a /proc/kpageflags dump (uint64 little-endian, entry i is pfn i)."""
    return runs_of(_words(path))


def runs_of(pieces: Iterable[NDArray[np.uint64]]) -> Runs:
    """Runs of page flags, given piece by piece from pfn 0."""
    firsts: list[NDArray[np.int64]] = []
    flags: list[NDArray[np.uint64]] = []
    pfn, last_flags = 0, None
    for words in pieces:
        kept = words & _KEPT
        change = np.empty(len(kept), bool)
        change[0] = kept[0] != last_flags
        np.not_equal(kept[1:], kept[:-1], out=change[1:])
        starts = np.flatnonzero(change)
        firsts.append(starts + pfn)
        flags.append(kept[starts])
        pfn += len(kept)
        last_flags = kept[-1]
    if not firsts:
        raise MalformedError(0, "the file is empty")
    first = np.concatenate(firsts)
    return first, np.append(first[1:], pfn) - 1, np.concatenate(flags)


def _words(path: Path) -> Iterator[NDArray[np.uint64]]:
    for block in Bytes(path).blocks(8 << 20):
        if len(block) % 8:
            raise MalformedError(0, "its size is no multiple of 8 bytes")
        yield np.frombuffer(block, "<u8")


def parse(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Run a reader of one snapshot file.

    Raises:
        UsageError: the file is not what its name says; the message has the line.
    """
    try:
        return reader(path)
    except MalformedError as error:
        raise UsageError(
            f"{path}: not a {path.name.split('.')[0]} snapshot, {error}",
            "take it from the recorded machine again, remove it, or skip it with --best-effort",
        ) from error
    except DAMAGE as error:
        raise UsageError(
            f"{path}: cannot be read ({error})", "copy it again, remove it, or skip it with --best-effort"
        ) from error
