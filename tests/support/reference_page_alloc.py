"""The page allocator again, slow and obvious: lists of blocks, a dict of owners. Written from mm/page_alloc.c (6.18)."""

UNMOVABLE, MOVABLE, RECLAIMABLE = 0, 1, 2
FALLBACKS = {0: (RECLAIMABLE, MOVABLE), 1: (RECLAIMABLE, UNMOVABLE), 2: (UNMOVABLE, MOVABLE)}


class ReferenceAllocator:
    """Free blocks as lists of first pages, head first, by (zone, order, migratetype)."""

    def __init__(self, zones, pageblock_order, max_order, block_types):
        self.zones = zones  # [(first, last, class, min, low, reserve by class)]
        self.pageblock_order, self.max_order = pageblock_order, max_order
        self.block_type = dict(enumerate(block_types))
        self.lists = {
            (zone, order, kind): []
            for zone in range(len(zones))
            for order in range(max_order + 1)
            for kind in (UNMOVABLE, MOVABLE, RECLAIMABLE)
        }
        self.owner = {}  # page -> migratetype of the allocation that holds it; absent: free
        self.extfrag = 0

    def type_of(self, page):
        return self.block_type[page >> self.pageblock_order]

    def zone_of(self, page):
        return next(index for index, zone in enumerate(self.zones) if zone[0] <= page <= zone[1])

    def add(self, zone, page, order, kind, *, tail=False):
        blocks = self.lists[zone, order, kind]
        blocks.insert(len(blocks) if tail else 0, page)

    def free_pages(self, zone):
        return sum(len(blocks) << order for (where, order, _), blocks in self.lists.items() if where == zone)

    def is_free_block(self, zone, page, order):
        return page >= 0 and any(page in self.lists[zone, order, kind] for kind in (UNMOVABLE, MOVABLE, RECLAIMABLE))

    def free(self, page, order):
        for each in range(page, page + (1 << order)):
            del self.owner[each]
        piece = min(order, self.pageblock_order)
        for start in range(page, page + (1 << order), 1 << piece):
            self._free_one(start, piece)

    def _free_one(self, page, order):
        zone = self.zone_of(page)
        kind = self.type_of(page)
        while order < self.max_order:
            buddy = page ^ (1 << order)
            if not self.is_free_block(zone, buddy, order):
                break
            self.lists[zone, order, self.type_of(buddy)].remove(buddy)
            if order >= self.pageblock_order:
                for block in range(1 << (order - self.pageblock_order)):
                    self.block_type[(buddy >> self.pageblock_order) + block] = kind
            page = min(page, buddy)
            order += 1
        merge_likely = order < self.max_order - 1 and self.is_free_block(
            zone, (page & ~(1 << order)) ^ (1 << (order + 1)), order + 1
        )
        self.add(zone, page, order, kind, tail=merge_likely)

    def split_down(self, zone, page, have, want, kind):
        while have > want:
            have -= 1
            self.add(zone, page + (1 << have), have, kind)

    def smallest(self, zone, order, kind):
        for size in range(order, self.max_order + 1):
            if self.lists[zone, size, kind]:
                page = self.lists[zone, size, kind].pop(0)
                self.split_down(zone, page, size, order, kind)
                return page
        return None

    def fallback(self, zone, size, kind):
        for other in FALLBACKS[kind]:
            if self.lists[zone, size, other]:
                return self.lists[zone, size, other][0], other
        return None

    def claim(self, zone, page, size, order, kind, other):
        block = page >> self.pageblock_order
        if size >= self.pageblock_order:
            self.lists[zone, size, other].remove(page)
            for offset in range(1 << (size - self.pageblock_order)):
                self.block_type[block + offset] = kind
            self.split_down(zone, page, size, order, kind)
            return page
        pages = range(block << self.pageblock_order, (block + 1) << self.pageblock_order)
        if pages[0] < self.zones[zone][0] or pages[-1] > self.zones[zone][1]:
            return None
        free = [each for each in pages if each not in self.owner]
        movable = [each for each in pages if self.owner.get(each) == MOVABLE]
        if kind == MOVABLE:
            alike = len(movable)
        elif other == MOVABLE:
            alike = len(pages) - len(free) - len(movable)
        else:
            alike = 0
        if 2 * (len(free) + alike) < len(pages):
            return None
        moved = [(each, o) for o in range(self.pageblock_order) for each in self.lists[zone, o, other] if each in pages]
        for each, o in sorted(moved):
            self.lists[zone, o, other].remove(each)
            self.add(zone, each, o, kind, tail=True)
        self.block_type[block] = kind
        return self.smallest(zone, order, kind)

    def rmqueue(self, zone, order, kind, no_fragment):
        page = self.smallest(zone, order, kind)
        if page is not None:
            return page
        for size in range(self.max_order, -1, -1):
            if size < (max(order, self.pageblock_order) if no_fragment else order):
                break
            if size < self.pageblock_order // 2 and kind == MOVABLE:
                break
            found = self.fallback(zone, size, kind)
            if found:
                page = self.claim(zone, found[0], size, order, kind, found[1])
                if page is not None:
                    self.extfrag += 1
                    return page
        for size in () if no_fragment else range(order, self.max_order + 1):
            found = self.fallback(zone, size, kind)
            if found:
                page, other = found
                self.lists[zone, size, other].remove(page)
                self.split_down(zone, page, size, order, other)
                self.extfrag += 1
                return page
        return None

    def alloc(self, order, kind, zone_class):
        top = len(self.zones) - 1
        no_fragment_first = top > 0 and self.zones[top][2] == 2 and zone_class >= 2
        for mark, no_fragment in (("low", True), ("low", False), ("min", False)):
            if no_fragment and not no_fragment_first:
                continue
            for zone in range(top, -1, -1):
                _, _, its_class, minimum, low, reserve = self.zones[zone]
                limit = (low if mark == "low" else minimum) + reserve[zone_class]
                if its_class > zone_class or self.free_pages(zone) - ((1 << order) - 1) <= limit:
                    continue
                if not any(self.lists[zone, o, k] for o in range(order, self.max_order + 1) for k in (0, 1, 2)):
                    continue
                page = self.rmqueue(zone, order, kind, no_fragment)
                if page is not None:
                    for each in range(page, page + (1 << order)):
                        self.owner[each] = kind
                    return page
        return None
