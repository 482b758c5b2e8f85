"""The /proc snapshots of a capture, as rows of the warehouse's tables.

Formats are those of mm/vmstat.c (buddyinfo, pagetypeinfo, zoneinfo, vmstat), fs/proc/meminfo.c, fs/proc/page.c
(kpageflags) and kernel/resource.c (iomem), Linux 3.10 to 7.0. What a vendor's or another release has besides is
passed over and counted.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.source import DAMAGE, Bytes
from ingest.trace import MAX_CPUS
from ptpool import vocabulary
from ptpool.errors import UsageError
from ptpool.vocabulary import MIGRATETYPES

PAGE_FLAG_BITS = (
    vocabulary.KPF_LRU, vocabulary.KPF_SLAB, vocabulary.KPF_BUDDY, vocabulary.KPF_COMPOUND_HEAD,
    vocabulary.KPF_COMPOUND_TAIL, vocabulary.KPF_NOPAGE, vocabulary.KPF_OFFLINE, vocabulary.KPF_PGTABLE,
)  # fmt: skip
"""Bits of include/uapi/linux/kernel-page-flags.h that page_flags keeps; see its comment in the schema."""

_KEPT = np.uint64(sum(1 << bit for bit in PAGE_FLAG_BITS))
_LOW = 0xFFFF | 1 << vocabulary.KPF_NOPAGE
_LOW_SWAPPED = int.from_bytes(_LOW.to_bytes(8, "little"), "big")
"""Flags of which nearly every page has one; no flag has a place where they are in the other byte order (6.18)."""

_RAM = re.compile(r"System RAM(?: \((?!boot alias\)).*\))?")
"""How iomem calls memory: drivers add theirs with a name in brackets (mm/memory_hotplug.c:add_memory_driver_managed(),
6.18); 32-bit arm shows some at a second address, as a boot alias (arch/arm/kernel/setup.c, 6.18)."""
_KERNEL_IMAGE = ("Kernel code", "Kernel rodata", "Kernel data", "Kernel bss")
_MOST_NODES, _MOST_ORDERS = 1024, 32  # MAX_NUMNODES of the largest configurations

Rows = list[tuple[Any, ...]]
Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]
"""First pfn, last pfn and flags of runs of pages with equal flags, from pfn 0 without gaps."""


class MalformedError(Exception):
    """A line that cannot be in such a file."""

    def __init__(self, line: int, text: str) -> None:
        shown = text.strip()[:60]
        super().__init__(f"line {line}: {shown}" if line else shown)


class Lines:
    """The lines of a snapshot file, one after the other, and how many of them were passed over as unknown."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.number = self.passed = self.known = 0
        self.text = ""

    def __iter__(self) -> Iterator[str]:
        for self.number, self.text in enumerate(self._lines, 1):  # noqa: B020  (where reading stands)
            self.known += 1
            yield self.text
        if self._lines and self.known <= self.passed:
            self.number, self.text = 1, self._lines[0]
            raise self.malformed()

    def pass_over(self) -> None:
        """Count this line as one that is not known; a file of nothing else is refused at its end."""
        if self.text.strip():
            self.passed += 1
        else:
            self.known -= 1

    def malformed(self) -> MalformedError:
        """The error that this line cannot be in such a file."""
        return MalformedError(self.number, self.text)

    def count(self, digits: str, below: int = 1 << 63) -> int:
        """A number that cannot be negative, nor as large as `below`."""
        if len(digits) > 20 or not 0 <= int(digits) < below:
            raise self.malformed()
        return int(digits)

    def counter(self, digits: str, bits: int = 64) -> int:
        """A counter of the kernel: printed unsigned, but kept signed. One below zero shows as almost 2^bits."""
        if len(digits) > 20 or not -1 << 63 <= (value := int(digits)) < 1 << 64:
            raise self.malformed()
        wrapped = next((1 << width for width in (bits, 64) if 1 << width - 1 <= value < 1 << width), 0)
        return value - wrapped


def read_text(path: Path) -> list[str]:
    """Lines of a snapshot file."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def buddyinfo(lines: Lines) -> Rows:
    """Rows (node, zone, migratetype None, order, blocks)."""
    rows: Rows = []
    for line in lines:
        if match := re.fullmatch(r"Node +(\d+), zone +(\S+)((?: +-?\d+)+) *", line):
            node, counts = lines.count(match[1], _MOST_NODES), match[3].split()
            if len(counts) > _MOST_ORDERS:
                raise lines.malformed()
            rows += [(node, match[2], None, order, lines.counter(n)) for order, n in enumerate(counts)]
        elif line.startswith("Node"):
            raise lines.malformed()
        else:
            lines.pass_over()
    return rows


class PageTypes(NamedTuple):
    """What pagetypeinfo says."""

    free: Rows
    """(node, zone, migratetype, order, free blocks)."""
    blocks: Rows
    """(node, zone, migratetype, pageblocks)."""
    names: list[str]
    """Migratetypes in the order of the kernel's numbers, those that ptpool does not know too."""
    block_order: int | None
    """pageblock_order."""


_FREE_OF_TYPE = r"Node +(\d+), zone +(\S+), type +(\S+)((?: +>?-?\d+)+) *"
_BLOCKS = "Number of blocks type"


def pagetypeinfo(lines: Lines) -> PageTypes:
    """Free blocks and pageblocks by type; types that ptpool does not know are passed over."""
    free: Rows = []
    blocks: Rows = []
    names: dict[str, None] = {}
    types: list[str] = []
    block_order: int | None = None
    for line in lines:
        if match := re.fullmatch(_FREE_OF_TYPE, line):
            names[match[3]] = None
            node, counts = lines.count(match[1], _MOST_NODES), match[4].split()
            if len(counts) > _MOST_ORDERS:
                raise lines.malformed()
            if match[3] not in MIGRATETYPES:
                lines.pass_over()
                continue
            counted = enumerate(lines.counter(n.lstrip(">")) for n in counts)
            free += [(node, match[2], match[3], order, n) for order, n in counted]
        elif line.startswith("Number of mixed blocks"):  # page_owner's table: another meaning
            break
        elif line.startswith(_BLOCKS):
            types = line.removeprefix(_BLOCKS).split()
            names |= dict.fromkeys(types)
        elif types and (match := re.fullmatch(r"Node +(\d+), zone +(\S+)((?: +-?\d+)+) *", line)):
            node, counts = lines.count(match[1], _MOST_NODES), match[3].split()
            if len(counts) != len(types):
                raise lines.malformed()
            of_type = zip(types, map(lines.counter, counts), strict=True)
            blocks += [(node, match[2], kind, n) for kind, n in of_type if kind in MIGRATETYPES]
        elif match := re.fullmatch(r"Page block order: +(\d+) *", line):
            block_order = lines.count(match[1], _MOST_ORDERS)
        elif line.startswith("Node"):
            raise lines.malformed()
        elif not line.startswith(("Pages per block", "Free pages count")):
            lines.pass_over()
    return PageTypes(free, blocks, list(names), block_order)


def zoneinfo(lines: Lines) -> tuple[Rows, Rows]:
    """Rows (name, value) such as ('Node 0, zone DMA32, present', 520150), and pagesets (node, zone, cpu, name, value).

    Statistics of a whole node, which the file has under its first zone, are left out: vmstat and meminfo have the sums.
    """
    rows: Rows = []
    pagesets: Rows = []
    node, zone, cpu, per_node = -1, "", -1, False
    for line in lines:
        text = line.strip()
        if match := re.fullmatch(r"Node (\d+), zone +(\S+)", text):
            node, zone, cpu, per_node = lines.count(match[1], _MOST_NODES), match[2], -1, False
        elif not zone:
            raise lines.malformed()
        elif text == "per-node stats":
            per_node = True
        elif match := re.fullmatch(r"cpu: +(\d+)", text):
            cpu = lines.count(match[1], MAX_CPUS)
        elif match := re.fullmatch(r"protection: \((\d+(?:, \d+)*)\)", text):
            values = [lines.counter(n) for n in match[1].split(", ")]
            rows += [(f"Node {node}, zone {zone}, protection[{i}]", value) for i, value in enumerate(values)]
        elif match := re.fullmatch(r"(pages free|[A-Za-z_][\w ]*?):? +(-?\d+)", text):
            name = match[1]
            if name in ("start_pfn", "node_unreclaimable", "all_unreclaimable"):
                cpu = -1
            per_node = per_node and name != "pages free"
            if not per_node and cpu >= 0:
                pagesets.append((node, zone, cpu, name, lines.counter(match[2])))
            elif not per_node:
                rows.append((f"Node {node}, zone {zone}, {name}", lines.counter(match[2])))
        elif text not in ("pagesets", "page_table_check") and not text.endswith("is not populated"):
            lines.pass_over()
    return rows, pagesets


def memory_end(zone_values: Mapping[str, int]) -> int | None:
    """The page after the machine's last one, by the values of `zoneinfo`; None where there are none."""
    starts = {name.removesuffix("start_pfn"): n for name, n in zone_values.items() if name.endswith(", start_pfn")}
    return max((first + zone_values.get(f"{zone}spanned", 0) for zone, first in starts.items()), default=None)


def vmstat(lines: Lines) -> Rows:
    """Rows (name, value)."""
    return _named(lines, r"(\S+) +(-?\d+) *", 64)


def meminfo(lines: Lines, bits: int = 64) -> Rows:
    """Rows (name, value), in kB where the file says so; `bits` of the recorded machine's unsigned long."""
    rows = _named(lines, r" *(\S[^:]*?) *: *(-?\d+)(?: kB)? *", bits)
    for place, (name, value) in enumerate(rows):
        if name.startswith("HugePages_") and 1 << 31 <= value < 1 << 32:  # no machine has 2^31 huge pages
            rows[place] = (name, value - (1 << 32))
    return rows


def _named(lines: Lines, pattern: str, bits: int) -> Rows:
    rows: Rows = []
    for line in lines:
        if match := re.fullmatch(pattern, line):
            rows.append((match[1], lines.counter(match[2], bits)))
        else:
            lines.pass_over()
    return rows


def iomem(lines: Lines, page_size: int) -> Rows:
    """Rows (first_pfn, last_pfn, name) of memory, by whatever name, and the kernel image: whole pages of each range."""
    ram: list[tuple[int, int]] = []
    image: Rows = []
    for line in lines:
        match = re.fullmatch(r" *([0-9a-f]+)-([0-9a-f]+) : (.*)", line)
        if match is None:
            lines.pass_over()
            continue
        if max(len(match[1]), len(match[2])) > 16:
            raise lines.malformed()
        first, last = -(-int(match[1], 16) // page_size), (int(match[2], 16) + 1) // page_size - 1
        if not (first <= last and last > 0):  # all zero: read without root
            continue
        if _RAM.fullmatch(match[3]):
            ram.append((first, last))
        elif match[3] in _KERNEL_IMAGE:
            image.append((first, last, match[3]))
    return sorted([*((*each, "System RAM") for each in _outermost(ram)), *image], key=lambda row: (row[0], -row[1]))


def _outermost(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges without those that lie in another one, ascending."""
    kept: list[tuple[int, int]] = []
    for first, last in sorted(ranges, key=lambda each: (each[0], -each[1])):
        if not kept or last > kept[-1][1]:
            kept.append((first, last))
    return kept


def page_flag_runs(path: Path) -> Runs:
    """Runs of a /proc/kpageflags dump (uint64, entry i is pfn i)."""
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
    """The words of a file, in the recorded machine's byte order: the one in which they have flags that exist."""
    order = ""
    for block in Bytes(path).blocks(8 << 20):
        if len(block) % 8:
            raise MalformedError(0, "its size is no multiple of 8 bytes")
        if not order:
            together = int(np.bitwise_or.reduce(np.frombuffer(block, "<u8"), initial=0))
            order = "<u8" if together & _LOW else ">u8" if together & _LOW_SWAPPED else ""
        yield np.frombuffer(block, order or "<u8").astype(np.uint64)


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
