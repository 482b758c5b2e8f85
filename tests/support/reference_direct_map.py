"""The direct map again, slow and obvious: one entry per leaf in a dict, split and joined one at a time."""

NOT_PRESENT, NOT_GLOBAL, KERNEL_4K = 2, 64, 128
SPLIT, COLLAPSE = 0, 1


class ReferenceDirectMap:
    """Leaves as {first page: [level, attributes, hint]}; a leaf of level n covers entries^(n-1) pages. Rules of x86."""

    def __init__(self, leaves, entries):
        self.entries = entries
        self.leaves = {first: [level, 0, False] for first, level in leaves}
        self.log = []  # (first page, level of the large leaf, SPLIT or COLLAPSE)

    def size(self, level):
        return self.entries ** (level - 1)

    def leaf_of(self, page):
        for level in (1, 2, 3):
            first = page - page % self.size(level)
            if first in self.leaves and self.leaves[first][0] == level:
                return first
        raise LookupError(page)

    def split(self, first, hint=False):
        level, attributes, _ = self.leaves.pop(first)
        self.log.append((first, level, SPLIT))
        for entry in range(self.entries):
            self.leaves[first + entry * self.size(level - 1)] = [level - 1, attributes, hint]

    def change(self, first, pages, set_bits, clear_bits):
        """Set and clear attributes; returns how many leaves have other attributes than before."""
        changed = 0
        page = first
        while page < first + pages:
            start = self.leaf_of(page)
            level, old, _ = self.leaves[start]
            new = (old & ~clear_bits) | set_bits
            if new & NOT_PRESENT:
                new |= NOT_GLOBAL
            covered = first <= start and start + self.size(level) <= first + pages
            if level > 1 and (set_bits & KERNEL_4K or (old != new and not covered)):
                self.split(start)
                continue
            changed += old != new
            self.leaves[start][1] = new
            page = start + self.size(level)
        return changed

    def collapse(self, first, pages, pud_leaves):
        """Join what can be joined around the range, as set_memory_rox() does."""
        for start in range(first - first % self.size(2), first + pages, self.size(2)):
            if self._join(start, 1) and pud_leaves:
                self._join(start - start % self.size(3), 2)

    def _join(self, start, level):
        wanted = [start + entry * self.size(level) for entry in range(self.entries)]
        entries = [self.leaves.get(first) for first in wanted]
        if None in entries or any(entry[:2] != [level, entries[0][1]] for entry in entries):
            return False
        if entries[0][1] & NOT_PRESENT or (level == 1 and entries[0][1] & KERNEL_4K):
            return False
        for first in wanted:
            del self.leaves[first]
        self.leaves[start] = [level + 1, entries[0][1], False]
        self.log.append((start, level + 1, COLLAPSE))
        return True


class ReferenceLinearMap(ReferenceDirectMap):
    """The same by the rules of arm64: leaves end where the range ends; groups of leaves can carry a hint."""

    def __init__(self, leaves, entries, group_of_ptes, group_of_pmds):
        super().__init__(leaves, entries)
        self.group = {1: group_of_ptes, 2: group_of_pmds}
        self.hints_cleared = 0
        self.end = max(first + self.size(level) for first, level in leaves)
        if any(level > 1 for _, level in leaves):
            for first, leaf in self.leaves.items():
                if leaf[0] < 3:
                    members = self.members(first)
                    leaf[2] = all(self.leaves.get(member, [0])[0] == leaf[0] for member in members)

    def members(self, first):
        """First pages of the leaves that share the hint of this one."""
        level = self.leaves[first][0]
        size = self.size(level) * self.group[level]
        return range(first - first % size, first - first % size + size, self.size(level))

    def split_at(self, page):
        """Make a leaf begin at this page: the largest boundary that lies here already is enough."""
        while page < self.end:
            first = self.leaf_of(page)
            level, _, hint = self.leaves[first]
            if level < 3 and hint and page != min(self.members(first)):
                self.hints_cleared += 1
                for member in self.members(first):
                    self.leaves[member][2] = False
            if first == page:
                return
            self.split(first, hint=True)

    def change(self, first, pages, set_bits, clear_bits):
        self.split_at(first)
        self.split_at(first + pages)
        changed = 0
        page = first
        while page < first + pages:
            leaf = self.leaves[self.leaf_of(page)]
            new = (leaf[1] & ~clear_bits) | set_bits
            changed += new != leaf[1]
            leaf[1] = new
            page += self.size(leaf[0])
        return changed
