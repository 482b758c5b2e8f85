"""compare_lists.py FOLDER...: what guest/python/lists.py left: the recorder's lists against the kernel's dumps.

A line a reading. Of the blocks that the dumps before and after it have on the same list ("kept"): how many the reading
has on that list ("found"), and how many of these in the dump's order ("in order", the longest run that rises); for the
zones' own lists and for those of CPUs. Then lists that are equal to one of the dumps from first to last, and pageblocks
of the same type. Exit status 1 if, while nothing else ran, anything that was kept is missing or out of order.
"""

import bisect
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

ROW = np.dtype([("pfn", "<u4"), ("order", "<u4"), ("type", "<u4"), ("place", "<u4")])
PAGEBLOCK, OF_CPU, HUGE = 0xFFFF, 0xFFF00, 9


def rising(numbers):
    """Length of the longest rising subsequence."""
    ends = []
    for number in numbers:
        at = bisect.bisect_left(ends, number)
        ends[at : at + 1] = [number]
    return len(ends)


def lists(rows):
    """Pages by list, in order. Before 6.10 a CPU has one list of huge blocks: its number, 0, is no type."""
    found = defaultdict(list)
    for pfn, order, kind, place in rows[rows["place"] != PAGEBLOCK].tolist():
        found[place, order, None if place & OF_CPU and order >= HUGE else kind].append(pfn)
    return found


def compare(folder):
    """Counts of one reading: what, number."""
    rows, first, second = (np.fromfile(folder / name, ROW) for name in ("free_lists", "first", "second"))
    got, before, after = lists(rows), lists(first), lists(second)
    counts = defaultdict(int)
    for key in {*got, *before, *after}:
        whose = "CPUs" if key[0] & OF_CPU else "zones"
        kept = set(before[key]) & set(after[key])
        common = [pfn for pfn in got[key] if pfn in kept]
        counts[f"{whose}: kept"] += len(kept)
        counts[f"{whose}: found"] += len(common)
        places = [{pfn: at for at, pfn in enumerate(dump)} for dump in (before[key], after[key])]
        counts[f"{whose}: in order"] += max(rising([place[pfn] for pfn in common]) for place in places)
        counts["lists"] += 1
        counts["lists: the same"] += got[key] in (before[key], after[key])
    blocks = [dict(part[part["place"] == PAGEBLOCK][["pfn", "type"]].tolist()) for part in (rows, first, second)]
    counts["pageblocks"] = len(blocks[0])
    counts["pageblocks: the same"] = sum(
        kind in (blocks[1].get(pfn), blocks[2].get(pfn)) for pfn, kind in blocks[0].items()
    )
    return counts


wrong = False
for folder in sorted(path.parent for name in sys.argv[1:] for path in Path(name).rglob("free_lists")):
    counts = compare(folder)
    said = json.loads((folder / "free_lists.json").read_text())
    quiet = {
        name: said[name] for name in ("seconds", "torn", "overlaps", "left_out", "nr_free_differs", "pcp_count_differs")
    }
    print(f"{folder.parent.name}/{folder.name}:", ", ".join(f"{name} {n:,}" for name, n in {**counts, **quiet}.items()))
    for whose in ("zones", "CPUs"):
        kept = counts[f"{whose}: kept"]
        wrong |= folder.name.startswith("quiet") and kept != counts[f"{whose}: in order"]
sys.exit(wrong)
