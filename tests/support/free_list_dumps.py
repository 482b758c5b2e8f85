"""Free lists and per-CPU lists that a kernel dumped, beside those that a start draws.

A dump is a folder with `free_lists` (rows of four u32: first page, order, migratetype, place: the zone of a free list,
0x100 * (CPU + 1) + zone of a per-CPU list, 0xffff for the type of a pageblock), `kpageflags`, `vmstat` and `zoneinfo`
of one moment, each plain or compressed. `python -m tests.support.free_list_dumps FOLDER...` prints the tables of
docs/validation.md over all dumps below these folders.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ingest.source import read_whole
from replay.start.free_list_order import draw, list_order, per_cpu_order
from replay.start.per_cpu import likeliest_first
from replay.start.recorded_lists import covered

LEAF = 9
"""2M of 4K pages."""

FIRST = (8, 64, 512)
"""How many entries of a list are looked at."""

DRAWN = ("worn", "random", "clustered")


class Dump(NamedTuple):
    """What a kernel had on its lists at one moment."""

    lists: dict[tuple[int, int, int], np.ndarray]
    """By zone, migratetype and order: first pages, head first."""
    per_cpu: dict[tuple[int, int, int], np.ndarray]
    """By zone, migratetype and CPU: single pages, head first."""
    free: np.ndarray
    """(P,) pages on free lists."""
    waiting: np.ndarray
    """(P,) pages on per-CPU lists."""
    plain: np.ndarray
    """(P,) pages without a flag in kpageflags."""
    zones: dict[int, slice]
    """Pages of each zone by its number."""
    turned_over: float
    """Pages allocated since boot over managed pages."""


def read_dump(folder: Path) -> Dump:
    """A dump from its folder."""
    rows = np.frombuffer(_bytes(folder, "free_lists"), "<u4").reshape(-1, 4).astype(np.int64)
    place = rows[:, 3]
    free, waiting = rows[place < 0x100], rows[(place >= 0x100) & (place != 0xFFFF)]
    pages = int(rows[place == 0xFFFF, 0].max()) + (1 << LEAF)
    flags = np.frombuffer(_bytes(folder, "kpageflags"), "<u8")[:pages]
    values = dict(line.split() for line in _bytes(folder, "vmstat").decode().splitlines())
    allocated = sum(int(value) for name, value in values.items() if name.startswith("pgalloc_"))
    managed = sum(map(int, re.findall(r"managed +(\d+)", _bytes(folder, "zoneinfo").decode())))
    single = waiting[waiting[:, 1] == 0]
    on_cpus = {(where & 0xFF, kind, cpu): pages for (where, kind, cpu), pages in _split(single, single[:, 3] >> 8)}
    plain = np.zeros(pages, bool)
    plain[: len(flags)] = flags == 0
    edges = [0, 1 << 12, 1 << 20, pages]  # DMA, DMA32, Normal
    zones = {zone: slice(edges[zone], min(edges[zone + 1], pages)) for zone in range(3) if edges[zone] < pages}
    return Dump(
        dict(_split(free, free[:, 1])),
        on_cpus,
        covered(free[:, 0], free[:, 1], pages),
        covered(waiting[:, 0], waiting[:, 1], pages),
        plain,
        zones,
        allocated / managed,
    )


def _split(rows: np.ndarray, by: np.ndarray) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    keys = np.stack([rows[:, 3], rows[:, 2], by], axis=1)
    for key in np.unique(keys, axis=0):
        yield tuple(key.tolist()), rows[(keys == key).all(axis=1), 0]


def _bytes(folder: Path, name: str) -> bytes:
    return read_whole(next(folder.glob(f"{name}*")), 1 << 30)


def free_list_leaves(dump: Dump, seeds: int = 10) -> Iterator[list[float]]:
    """How many leaves the first entries of each list touch: entries; real; each of DRAWN, mean over seeds; by address.

    Lists of orders 0 to 5, of at least half as many entries more.
    """
    for (_, migratetype, order), real in dump.lists.items():
        pages = np.sort(real)
        if order > 5 or migratetype > 2 or len(np.unique(pages >> LEAF)) < 8:
            continue
        orders = [list_order(name, dump.turned_over) for name in DRAWN]
        drawn = [[_drawn(pages, migratetype, each, seed) for seed in range(seeds)] for each in orders]
        yield from _leaves(real, [*drawn, [pages]])


def per_cpu_leaves(dump: Dump, seeds: int = 10) -> Iterator[list[float]]:
    """The same for per-CPU lists of single pages: entries; real; drawn; emptiest pageblocks first; by address."""
    free = np.add.reduceat(dump.free, np.arange(0, len(dump.free), 1 << LEAF), dtype=np.int64)
    for (zone, migratetype, _), real in dump.per_cpu.items():
        pages = np.sort(real)
        if not zone or migratetype > 1:
            continue
        drawn = [_drawn(pages, migratetype, per_cpu_order(), seed) for seed in range(seeds)]
        emptiest = pages[np.lexsort((pages, pages >> LEAF, -free[pages >> LEAF]))]
        yield from _leaves(real, [drawn, [emptiest], [pages]])


def _drawn(pages, migratetype, order, seed):
    of_type = np.full(len(pages), migratetype)
    return pages[draw(pages >> LEAF, of_type, order, np.random.default_rng(seed))]


def _leaves(real, drawn):
    for first in FIRST:
        if 2 * len(real) >= 3 * first:
            count = [[len(np.unique(pages[:first] >> LEAF)) for pages in each] for each in ([real], *drawn)]
            yield [first, *map(np.mean, count)]


def completed(dump: Dump, seed: int = 0) -> Iterator[tuple[int, int, int]]:
    """2M blocks that draining the per-CPU lists of a zone makes: real, with drawn pages; blocks that are whole before.

    Zones with 50 pages or more on such lists, of which at most a fifth got flags before kpageflags was read.
    """
    for zone, pages in dump.zones.items():
        free, waiting = dump.free[pages], dump.waiting[pages]
        plain = dump.plain[pages] & ~free
        there = int((waiting & plain).sum())
        if not zone or there < 50 or there < 0.8 * waiting.sum() or there > 0.98 * plain.sum():
            continue
        fill, blocks = _fill(free), slice(0, len(free) >> LEAF)
        mine = likeliest_first(np.flatnonzero(plain), fill, blocks, LEAF, np.random.default_rng(seed))
        drawn = np.zeros(len(free), bool)
        drawn[mine[:there]] = True
        real, drawn = (int((_fill(free | each) == 1 << LEAF).sum()) for each in (waiting & plain, drawn))
        whole = int((fill == 1 << LEAF).sum())
        yield real - whole, drawn - whole, whole


def _fill(pages):
    return np.add.reduceat(pages, np.arange(0, len(pages), 1 << LEAF), dtype=np.int64)


def bias_and_rms(rows: np.ndarray, column: int) -> tuple[float, float]:
    """Of drawn over real (column 1): the geometric mean less 1, and the root of the mean square of the logarithm."""
    error = np.log(rows[:, column] / rows[:, 1])
    return float(np.exp(error.mean()) - 1), float(np.sqrt((error**2).mean()))


def _table(title: str, names: tuple[str, ...], rows: list[list[float]]) -> None:
    print(f"\n| {title}: first entries | lists | leaves | " + " | ".join(names) + " |")
    print("| ---: " * (3 + len(names)) + "|")
    table = np.array(rows)
    for first in FIRST:
        mine = table[table[:, 0] == first]
        if len(mine):
            errors = [bias_and_rms(mine, 2 + place) for place in range(len(names))]
            cells = " | ".join(f"{bias:+.0%} ({rms:.0%})" for bias, rms in errors)
            print(f"| {first} | {len(mine)} | {mine[:, 1].mean():.1f} | {cells} |")


def main(folders: list[str]) -> None:
    """Print the tables."""
    found = sorted({path.parent for folder in folders for path in Path(folder).rglob("free_lists*")})
    by_list, by_cpu, blocks = [], [], []
    for dump in map(read_dump, found):
        by_list += free_list_leaves(dump)
        by_cpu += per_cpu_leaves(dump)
        blocks += completed(dump)
    print(f"{len(found)} dumps")
    _table("free lists", (*DRAWN, "by address"), by_list)
    _table("per-CPU lists", ("drawn", "emptiest pageblocks first", "by address"), by_cpu)
    print("\n| 2M blocks free as a whole | zones | made by draining | drawn: bias | rms | exact |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    real, drawn, whole = np.array(blocks).T
    for words, mine in (("at most 5", whole <= 5), ("6 to 100", (whole > 5) & (whole <= 100)), ("more", whole > 100)):
        if mine.any():
            error = (drawn - real)[mine]
            cells = f"{error.mean():+.2f} | {np.sqrt((error**2).mean()):.2f} | {(error == 0).mean():.0%}"
            print(f"| {words} | {mine.sum()} | {real[mine].mean():.1f} | {cells} |")


if __name__ == "__main__":
    main(sys.argv[1:])
