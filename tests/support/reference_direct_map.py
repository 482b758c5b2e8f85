"""The direct map again, slow and obvious: one entry per leaf in a dict, split one at a time."""

NOT_PRESENT, NOT_GLOBAL = 2, 64


class ReferenceDirectMap:
    """Leaves as {first page: [level, attributes]}; a leaf of level n covers entries^(n-1) pages."""

    def __init__(self, leaves, entries):
        self.entries = entries
        self.leaves = {first: [level, 0] for first, level in leaves}

    def size(self, level):
        return self.entries ** (level - 1)

    def leaf_of(self, page):
        return next(first for first, (level, _) in self.leaves.items() if first <= page < first + self.size(level))

    def change(self, first, pages, set_bits, clear_bits):
        """Set and clear attributes; returns the leaves that had to be split, as (first page, level), in order."""
        splits = []
        page = first
        while page < first + pages:
            start = self.leaf_of(page)
            level, old = self.leaves[start]
            new = (old & ~clear_bits) | set_bits
            if new & NOT_PRESENT:
                new |= NOT_GLOBAL
            covered = first <= start and start + self.size(level) <= first + pages
            if old != new and not covered:
                splits.append((start, level))
                del self.leaves[start]
                for entry in range(self.entries):
                    self.leaves[start + entry * self.size(level - 1)] = [level - 1, old]
                continue
            self.leaves[start][1] = new
            page = start + self.size(level)
        return splits
