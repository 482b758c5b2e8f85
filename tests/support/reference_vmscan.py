"""What a shrinker and kswapd are asked for, slow and obvious, after mm/shrinker.c and mm/vmscan.c (6.12)."""


class ReferenceShrinker:
    """do_shrink_slab(): `freed` says what each scan frees, which is what it sets nr_scanned to; 0 stops it."""

    def __init__(self, seeks, batch):
        self.seeks, self.batch, self.nr_deferred = seeks, batch, 0

    def shrink(self, freeable, priority, freed):
        """Pages scanned, call by call."""
        if freeable == 0:
            return []
        nr, self.nr_deferred = self.nr_deferred, 0
        delta = (freeable // 2**priority) * 4 // self.seeks if self.seeks else freeable // 2
        total_scan = min(nr // 2**priority + delta, 2 * freeable)
        calls = []
        while total_scan >= self.batch or total_scan >= freeable:
            calls.append(nr_scanned := freed(len(calls)))
            if not nr_scanned:  # SHRINK_STOP
                break
            total_scan -= nr_scanned
        self.nr_deferred += min(max(nr + delta - sum(calls), 0), 2 * freeable)
        return calls


def balance_pgdat(order, boost, balanced, shrink, wanted):
    """Priorities at which a node is shrunk, and whether that counts as a failure of kswapd.

    `balanced(order)` and `shrink(priority)` (pages reclaimed, pages looked at) are the machine.
    """
    priorities, reclaimed, priority = [], 0, 12
    while True:
        if boost and not balanced(order):
            boost, priority = 0, 12
        if not boost and balanced(order):
            return priorities, False
        raise_priority = not (boost and priority == 10)
        priorities.append(priority)
        got, scanned = shrink(priority)
        reclaimed += got
        if order and reclaimed >= 2 * 2**order:
            order = 0
        if scanned >= wanted:
            raise_priority = False
        boost -= min(boost, got)
        if boost and not got:
            break
        if raise_priority or not got:
            priority -= 1
        if priority < 1:
            break
    return priorities, reclaimed == 0
