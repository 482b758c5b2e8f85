"""The kernel's own page tables as debugfs shows them, reduced to the leaves of its direct map.

Three texts are read: x86's ``page_tables/kernel`` (arch/x86/mm/dump_pagetables.c), arm64's ``kernel_page_tables``
(arch/arm64/mm/ptdump.c), both of 6.18, and the walk that the lab's kernel module prints (pfn 0..97 608 KiB L1 ...).
"""

import re
from collections.abc import Iterator

from ingest.snapshots.proc import MalformedError, Rows

_LEVELS = ("pte", "pmd", "pud")
_ENTRY = re.compile(r"0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16}) +\d+[KMGTPE] +(.*)")
_WALKED = re.compile(r" *pfn ([0-9a-f]{1,13})\.\.([0-9a-f]{1,13}) +\d+ KiB L([0-3])(?: .*)?")
_X86, _ARM64 = "Low Kernel Mapping", "Linear Mapping"
_PUD_BYTES, _PAGE_X86 = 1 << 30, 1 << 12


def page_tables(lines: list[str], page_size: int | None, first_ram_pfn: int | None) -> Rows:
    """Rows (first_pfn, last_pfn, level): runs of the direct map that leaves of one level map; holes have no row.

    Without a page size arm64's linear map has no page frame numbers, and no rows.

    Args:
        lines: the text.
        page_size: bytes; None: not known.
        first_ram_pfn: first page of System RAM in iomem, where arm64's linear map begins; None: not recorded.
    """
    if any(_WALKED.fullmatch(line) for line in lines[:10]):
        return list(_walk(lines))
    rows: Rows = []
    base: int | None = None
    for number, present, first, last, words in _section(lines):
        if _X86 in present:
            base = first - first % _PUD_BYTES if base is None else base  # page_offset_base is aligned to 1G
            level, page_size = words[-1], page_size or _PAGE_X86
        elif "BLK" not in words and words[0] != "PTE":
            continue  # a table, or nothing
        else:
            if page_size is None:
                return []
            if first_ram_pfn is None:
                raise MalformedError(number, "the address of the linear map needs iomem, which is not in the bundle")
            base = first - first_ram_pfn * page_size if base is None else base
            level = words[0].lower()
        if not {"RW", "ro"} & set(words):
            continue  # nothing is mapped here
        if level not in _LEVELS or (first - base) % page_size or not base <= first < last:
            raise MalformedError(number, lines[number - 1])
        rows.append(((first - base) // page_size, (last - base) // page_size - 1, level))
    if not rows:
        raise MalformedError(0, f"no section {_X86} or {_ARM64}")
    return rows


def _section(lines: list[str]) -> Iterator[tuple[int, str, int, int, list[str]]]:
    """Entries of the direct map: line number, heading, first and last address, words after the size."""
    heading = ""
    for number, line in enumerate(lines, 1):
        if match := re.fullmatch(r"---\[ (.+?) \]---", line.strip()):
            heading = "" if match[1].endswith(" end") else match[1]
        elif (_X86 in heading or _ARM64 in heading) and line.strip():
            entry = _ENTRY.fullmatch(line.strip())
            if not entry:
                raise MalformedError(number, line)
            yield number, heading, int(entry[1], 16), int(entry[2], 16), entry[3].split()


def _walk(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    for number, line in enumerate(lines, 1):
        if match := _WALKED.fullmatch(line):
            first, last = int(match[1], 16), int(match[2], 16)
            if first > last:
                raise MalformedError(number, line)
            if match[3] != "0":
                yield first, last, _LEVELS[int(match[3]) - 1]
        elif line.strip() and not line.startswith((">", "PAGE_OFFSET", "tot KiB")):
            raise MalformedError(number, line)
