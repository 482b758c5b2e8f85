"""The drawn order of free lists, slowly: visits as lists of blocks, and one sort by place."""

import math

import numpy as np

from replay.kernel.mmzone import TYPES


def draw(leaf, lists, order, random):
    """As replay.start.free_list_order.draw(), from the same random numbers."""
    n = len(leaf)
    by_list = sorted(range(n), key=lambda i: (lists[i], i))
    alone, cut, turn, coin, chance = random.random((5, n), dtype=np.float32).astype(float).tolist()
    visits = []  # of (list, blocks): places in by_list
    running = (None, None)
    for i, block in enumerate(by_list):
        of, numbers = lists[block], order.of_type[lists[block] % TYPES]
        if running[0] != (of, leaf[block]):
            running = (of, leaf[block]), None
        if alone[i] >= numbers.together:
            visits.append((of, [i]))
        elif running[1] is None or cut[i] * numbers.run < 1:
            visits.append((of, [i]))
            running = running[0], visits[-1][1]
        else:
            running[1].append(i)
    numbers = list(range(len(visits)))
    for each in sorted({of for of, _ in visits}):
        mine = [number for number, (of, _) in enumerate(visits) if of == each]
        for j in range(mine[-1], mine[0], -1):
            other = mine[0] + int(turn[j] * (j - mine[0] + 1))
            numbers[j], numbers[other] = numbers[other], numbers[j]
    place, start = {}, 0
    for number in numbers:
        of, blocks = visits[number]
        at = float(start)
        for nth, i in enumerate(reversed(blocks) if coin[number] < 0.5 else blocks):
            if nth:
                at += 1 - (order.of_type[of % TYPES].gap - 1) * math.log(1 - chance[i])
            place[i] = min(int(at), n - 1)
        start += len(blocks)
    return [by_list[i] for i in sorted(range(n), key=lambda i: (place[i], i))]
