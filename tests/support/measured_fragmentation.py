"""How free memory lay on real kernels: ptpool/schema/measured_fragmentation.csv from their /proc/buddyinfo.

`python -m tests.support.measured_fragmentation KIND=FOLDER... > ptpool/schema/measured_fragmentation.csv` takes every
buddyinfo below these folders but those from after a recording. KIND says how the memory came to lie so.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

ORDERS = (2, 4, 9)
ZONES = ("DMA", "DMA32", "Normal")
"""Zones that UNMOVABLE may use."""

ON_PURPOSE = ("frag",)
"""In a folder's name: its memory was fragmented by a program that does nothing else."""


def unusable_indices(buddyinfo: str) -> tuple[int, list[float]]:
    """Free pages, and the share of them in blocks too small for each of `ORDERS` (unusable_free_index(), mm/vmstat.c)."""
    pages: dict[int, int] = {}
    for line in buddyinfo.splitlines():
        words = line.replace(",", " ").split()
        if len(words) > 4 and words[3] in ZONES:
            for order, blocks in enumerate(map(int, words[4:])):
                pages[order] = pages.get(order, 0) + (blocks << order)
    free = sum(pages.values())
    return free, [sum(n for order, n in pages.items() if order < least) / free for least in ORDERS]


def rows(kind: str, folder: Path) -> Iterator[list[str | int]]:
    """A row of the table for each buddyinfo below a folder."""
    for path in sorted(folder.rglob("buddyinfo")):
        name = str(path.parent.relative_to(folder))
        if path.parent.name in ("after", "active"):
            continue
        free, indices = unusable_indices(path.read_text(encoding="ascii"))
        how = "fragmented on purpose" if any(word in name for word in ON_PURPOSE) else kind
        yield [name.removesuffix("/before"), how, free, *(f"{index:.4f}" for index in indices)]


if __name__ == "__main__":
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["machine", "how", "free_pages", *(f"unusable_index_{order}" for order in ORDERS)])
    for argument in sys.argv[1:]:
        kind, _, folder = argument.partition("=")
        out.writerows(rows(kind, Path(folder)))
