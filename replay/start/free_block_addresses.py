"""Where free blocks lie when only their number is known: addresses drawn by seed, counts kept.

A free block never lies next to a free buddy (the two would have merged): of each pair at most one is drawn, and its
sibling never becomes free as a whole. So there are as many blocks of each order as were counted, wherever they fit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import MIGRATETYPES, MOVABLE
from replay.kernel.geometry import Geometry

PAGEBLOCK_TYPES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA")
"""Types that a pageblock keeps; a place in this tuple is the row of the counts."""

Span = tuple[int, int]
"""First and last page of a zone."""


def draw_pageblocks(
    block_type: NDArray[np.uint8],
    free_blocks: NDArray[np.int64],
    pageblocks: dict[str, int],
    present: NDArray[np.bool_],
    score: NDArray[np.float32],
    span: Span,
    geometry: Geometry,
    random: np.random.Generator,
) -> None:
    """Give the pageblocks of a zone their types: the largest free blocks of each type must find room.

    Args:
        block_type: (B,) filled in for this zone.
        free_blocks: (types, orders) free blocks counted.
        pageblocks: pageblocks counted by type.
        present: (P,) pages that exist.
        score: (P,) how likely a page is free.
        span: the zone.
        geometry: orders.
        random: draws among equally likely places.
    """
    size, most = 1 << geometry.pageblock_order, 1 << geometry.max_order - geometry.pageblock_order
    first, last = span[0] >> geometry.pageblock_order, span[1] >> geometry.pageblock_order
    left = {name: pageblocks.get(name, 0) for name in PAGEBLOCK_TYPES if name != "Movable"}
    blocks = np.arange(first // most * most, (last // most + 1) * most)
    inside = (blocks >= first) & (blocks <= last)
    usable = present.copy()
    usable[: span[0]] = usable[span[1] + 1 :] = False
    likely = _padded(np.where(usable, 1 + score, 0), int(blocks[0]) * size, len(blocks) * size)
    value = likely.reshape(-1, size).sum(axis=1) + random.random(len(blocks))
    taken = ~inside
    for order in range(geometry.max_order, min(geometry.pageblock_order, geometry.max_order - 1), -1):
        group = 1 << order - geometry.pageblock_order
        taken_here = taken.reshape(-1, group)
        best = np.argsort(-value.reshape(-1, group).sum(axis=1), kind="stable")
        whole = [int(g) for g in best if not taken_here[g].any()]
        for name, wanted in left.items():
            for _ in range(min(int(free_blocks[PAGEBLOCK_TYPES.index(name), order]), wanted // group)):
                if whole:
                    taken_here[(place := whole.pop(0))] = True
                    block_type[blocks[place * group : (place + 1) * group]] = MIGRATETYPES.index(name)
                    left[name] -= group
        taken_here[whole[: int(free_blocks[MOVABLE, order])]] = True
    rest = np.flatnonzero(~taken & inside)
    rest = rest[np.argsort(value[rest], kind="stable")]  # incomplete ones and those least likely free first
    at = 0
    for name, wanted in left.items():
        block_type[blocks[rest[at : at + wanted]]] = MIGRATETYPES.index(name)
        at += wanted


def draw_free(
    free: NDArray[np.bool_],
    block_type: NDArray[np.uint8],
    free_blocks: NDArray[np.int64],
    present: NDArray[np.bool_],
    score: NDArray[np.float32],
    span: Span,
    geometry: Geometry,
    random: np.random.Generator,
) -> int:
    """Mark as many free blocks of each type and order as were counted, the likeliest places first.

    `free` (P,) is filled in for this zone, `block_type` (B,) is read; the others as for `draw_pageblocks`.

    Returns:
        Blocks that found no place.
    """
    start = span[0] >> geometry.max_order << geometry.max_order
    length = -(-(span[1] + 1 - start) >> geometry.max_order) << geometry.max_order
    usable = _padded(present, start, length)
    usable[: span[0] - start] = usable[span[1] + 1 - start :] = False
    likely = _padded(score, start, length)
    chosen: NDArray[np.bool_] = np.zeros(length, np.bool_)
    pieces = _padded(block_type, start >> geometry.pageblock_order, length >> geometry.pageblock_order)
    unplaced = 0
    for order in range(geometry.max_order, -1, -1):
        if not free_blocks[:, order].any():
            continue
        fits = np.asarray(usable.reshape(-1, 1 << order).all(axis=1))
        if order > geometry.pageblock_order:
            of_pieces = pieces.reshape(len(fits), -1)
            fits &= (of_pieces == of_pieces[:, :1]).all(axis=1)
        value = likely.reshape(-1, 1 << order).sum(axis=1) + random.random(len(fits)).astype(np.float32)
        if order < geometry.max_order:
            alone = np.asarray(~chosen.reshape(-1, 2 << order).any(axis=1))
            pair = np.where(fits, value, -np.inf).reshape(-1, 2)
            better = np.arange(len(pair)) * 2 + pair.argmax(axis=1)
            places = better[alone & fits[better]]
        else:
            places = np.flatnonzero(fits)
        places = places[np.argsort(-value[places], kind="stable")]
        types = block_type[(start + (places << order)) >> geometry.pageblock_order]
        for row, name in enumerate(PAGEBLOCK_TYPES):
            wanted = int(free_blocks[row, order])
            taken = places[types == MIGRATETYPES.index(name)][:wanted]
            chosen.reshape(-1, 1 << order)[taken] = True
            unplaced += wanted - len(taken)
    end = min(start + length, len(free))
    free[start:end] |= chosen[: end - start]
    return unplaced


def _padded(values: NDArray[Any], start: int, length: int) -> NDArray[Any]:
    """`length` values from `start`, zeros where there are none."""
    out = np.zeros(length, values.dtype)
    part = values[start : start + length]
    out[: len(part)] = part
    return out
