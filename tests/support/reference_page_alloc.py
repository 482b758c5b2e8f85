"""The page allocator again, slow and obvious: lists of blocks, a dict of owners.

Written from mm/page_alloc.c: 6.12.95 (claim), 6.12.19 (suitable) and 6.1.176 (move).
"""

from dataclasses import dataclass

from reference_per_cpu import (
    CMA,
    HIGHATOMIC,
    ISOLATE,
    MOVABLE,
    ORDINARY,
    RECLAIMABLE,
    UNMOVABLE,
    PerCpuLists,
    PerCpuPages,
)

FALLBACKS = {0: (RECLAIMABLE, MOVABLE), 1: (RECLAIMABLE, UNMOVABLE), 2: (UNMOVABLE, MOVABLE)}


@dataclass
class Zone:
    first: int
    last: int
    class_: int  # 0 DMA, 1 DMA32, 2 NORMAL, 3 MOVABLE
    node: int
    min: int
    low: int
    high: int
    reserve: tuple[int, int, int, int]  # pages kept from requests of each class
    managed: int
    boost: int = 0
    boosted: bool = False
    below_high: bool = False
    reserved_highatomic: int = 0


class ReferenceAllocator(PerCpuLists):
    """Free blocks as lists of first pages, head first, by (zone, order, migratetype)."""

    def __init__(
        self,
        zones,
        geometry,
        block_types,
        *,
        generation="claim",
        auto=True,
        pcp_order=3,
        thp=2,
        cpus=1,
        superpageblock=0,
    ):
        self.zones, self.generation, self.auto = zones, generation, auto
        self.superpageblock = superpageblock  # pageblocks in each; 0: none
        self.pageblock_order, self.max_order = geometry.pageblock_order, geometry.max_order
        self.pcp_order, self.thp, self.huge_order = pcp_order, thp, geometry.table_shift
        self.block_type = dict(enumerate(block_types))
        self.lists = {
            (zone, order, kind): []
            for zone in range(len(zones))
            for order in range(self.max_order + 1)
            for kind in range(6)
        }
        self.pcp = {(zone, cpu): PerCpuPages() for zone in range(len(zones)) for cpu in range(cpus)}
        for pcp in self.pcp.values():
            pcp.lists = {index: [] for index in range(3 * (pcp_order + 1) + thp)}
        self.owner = {}  # page -> migratetype of the allocation that holds it
        self.extfrag = self.kswapd = 0

    # -------------------------------------------------------------------------------------------- looking

    def type_of(self, page):
        return self.block_type[page >> self.pageblock_order]

    def zone_of(self, page):
        return next(index for index, zone in enumerate(self.zones) if zone.first <= page <= zone.last)

    def free_pages(self, zone, kinds=(0, 1, 2, 3, 4)):
        return sum(len(self.lists[zone, o, kind]) << o for o in range(self.max_order + 1) for kind in kinds)

    def list_of(self, zone, page, order):
        """The list that a free block is on; None when it is no free block of this order."""
        return next((self.lists[zone, order, k] for k in range(6) if page in self.lists[zone, order, k]), None)

    def block(self, page):
        first = page >> self.pageblock_order << self.pageblock_order
        return range(first, first + (1 << self.pageblock_order))

    def free_in(self, zone, pages):
        """Free blocks that start in these pages: (page, order, list), ascending."""
        found = [
            (page, order, blocks)
            for (where, order, _), blocks in self.lists.items()
            if where == zone
            for page in blocks
        ]
        return sorted((entry for entry in found if entry[0] in pages), key=lambda entry: entry[0])

    # -------------------------------------------------------------------------------------------- freeing

    def free(self, page, order, cpu=0):
        for each in range(page, page + (1 << order)):
            del self.owner[each]
        zone = self.zone_of(page)
        if not self.has_pcp(order) or self.type_of(page) == ISOLATE:
            self.free_to_buddy(zone, page, order)
        else:
            self.free_to_pcp(zone, cpu, page, order)

    def free_to_buddy(self, zone, page, order):
        piece = min(order, self.pageblock_order)
        for start in range(page, page + (1 << order), 1 << piece):
            self.free_block(zone, start, piece, self.type_of(start))

    def free_block(self, zone, page, order, kind):
        while order < self.max_order:
            buddy = page ^ (1 << order)
            its_list = self.list_of(zone, buddy, order) if buddy >= 0 else None
            if its_list is None:
                break
            if order >= self.pageblock_order and self.type_of(buddy) != kind:
                if kind not in ORDINARY or self.type_of(buddy) not in ORDINARY:
                    break
                if self.generation != "move":
                    self.set_types(buddy, order, kind)
            its_list.remove(buddy)
            page = min(page, buddy)
            order += 1
        uncle = (page & ~(1 << order)) ^ (1 << (order + 1))
        likely = order < self.max_order - 1 and self.list_of(zone, uncle, order + 1) is not None
        blocks = self.lists[zone, order, kind]
        blocks.insert(len(blocks) if likely else 0, page)

    def set_types(self, page, order, kind):
        for block in range(page >> self.pageblock_order, (page + (1 << order)) >> self.pageblock_order):
            self.block_type[block] = kind

    # ---------------------------------------------------------------------------------- taking from buddy lists

    def split_down(self, zone, page, have, want, kind):
        while have > want:
            have -= 1
            self.lists[zone, have, kind].insert(0, page + (1 << have))

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
                return self.lists[zone, size, other][0]
        return None

    def may_claim(self, size, kind):
        return size >= self.pageblock_order // 2 or kind != MOVABLE

    def is_inside(self, zone, page):
        pages = self.block(page)
        return self.zones[zone].first <= pages[0] and pages[-1] <= self.zones[zone].last

    def is_alike(self, zone, page, kind):
        pages = self.block(page)
        free = sum(1 << order for _, order, _ in self.free_in(zone, pages))
        movable = sum(self.owner.get(each) == MOVABLE for each in pages)
        alike = 0
        if kind == MOVABLE:
            alike = movable
        elif self.type_of(page) == MOVABLE:
            alike = len(pages) - free - movable
        return 2 * (free + alike) >= len(pages)

    def move_block(self, zone, page, kind):
        for each, order, blocks in self.free_in(zone, self.block(page)):
            blocks.remove(each)
            self.lists[zone, order, kind].append(each)

    def boost(self, zone, kswapd):
        z, size = self.zones[zone], 1 << self.pageblock_order
        most = z.high * 15000 // 10000
        if most and 4 * size <= z.managed:
            z.boost = min(z.boost + size, max(most, size))
            z.boosted = z.boosted or kswapd

    def claim(self, zone, page, size, order, kind):
        if size >= self.pageblock_order:
            self.list_of(zone, page, size).remove(page)
            self.set_types(page, size, kind)
            self.split_down(zone, page, size, order, kind)
            return page
        if not self.is_inside(zone, page) or not self.is_alike(zone, page, kind):
            return None
        self.move_block(zone, page, kind)
        self.block_type[page >> self.pageblock_order] = kind
        return self.smallest(zone, order, kind)

    def tainted(self, page):
        of = (page >> self.pageblock_order) // self.superpageblock
        kinds = {kind for block, kind in self.block_type.items() if block // self.superpageblock == of}
        return bool(kinds & {UNMOVABLE, RECLAIMABLE, HIGHATOMIC})

    def claim_largest(self, zone, order, lowest, kind, kswapd):
        for size in range(self.max_order, lowest - 1, -1):
            page = self.fallback(zone, size, kind)
            if page is None:
                continue
            if not self.may_claim(size, kind):
                break
            if self.superpageblock and kind != MOVABLE:
                listed = self.lists[zone, size, self.type_of(page)][:8]
                page = next((each for each in listed if self.tainted(each)), page)
            if size < self.pageblock_order:
                self.boost(zone, kswapd)
            page = self.claim(zone, page, size, order, kind)
            if page is not None:
                return page
        return None

    def steal_smallest(self, zone, order, kind):
        for size in range(order, self.max_order + 1):
            page = self.fallback(zone, size, kind)
            if page is not None:
                return self.take_from(zone, page, size, order)
        return None

    def take_from(self, zone, page, size, order):
        self.list_of(zone, page, size).remove(page)
        self.split_down(zone, page, size, order, self.type_of(page))
        return page

    def one_attempt(self, zone, order, lowest, kind, kswapd):
        sizes = [s for s in range(self.max_order, lowest - 1, -1) if self.fallback(zone, s, kind) is not None]
        if not sizes:
            return None
        size = sizes[0]
        whole = self.may_claim(size, kind)
        if not whole and size > order:
            size = min(s for s in range(order, self.max_order + 1) if self.fallback(zone, s, kind) is not None)
        page = self.fallback(zone, size, kind)
        if size < self.pageblock_order:
            self.boost(zone, kswapd)
        if self.generation == "suitable":
            claimed = self.claim(zone, page, size, order, kind) if whole else None
            return self.take_from(zone, page, size, order) if claimed is None else claimed
        if size < self.pageblock_order and whole and self.is_inside(zone, page):
            alike = self.is_alike(zone, page, kind)
            self.move_block(zone, page, kind)
            if alike:
                self.block_type[page >> self.pageblock_order] = kind
        else:
            if size >= self.pageblock_order:
                self.set_types(page, size, kind)
            self.list_of(zone, page, size).remove(page)
            self.lists[zone, size, kind].append(page)
        return self.smallest(zone, order, kind)

    def rmqueue(self, zone, order, kind, *, no_fragment=False, kswapd=False, mode="normal"):
        """Page or None, and where a bulk refill should start the next time."""
        cma = kind == MOVABLE
        if cma and self.free_pages(zone, (CMA,)) > self.free_pages(zone) // 2:
            page = self.smallest(zone, order, CMA)
            if page is not None:
                return page, mode
        if mode == "normal":
            page = self.smallest(zone, order, kind)
            if page is not None:
                return page, mode
        if cma and mode in ("normal", "cma"):
            page = self.smallest(zone, order, CMA)
            if page is not None:
                return page, "cma" if self.generation == "claim" else "normal"
        lowest = max(order, self.pageblock_order) if no_fragment else order
        if self.generation != "claim":
            page = self.one_attempt(zone, order, lowest, kind, kswapd)
            self.extfrag += page is not None
            return page, "normal"
        page = None
        if mode != "steal":
            page = self.claim_largest(zone, order, lowest, kind, kswapd)
            mode = "normal" if page is not None else mode
        if page is None and not no_fragment:
            page = self.steal_smallest(zone, order, kind)
            mode = "steal" if page is not None else mode
        self.extfrag += page is not None
        return page, mode

    # -------------------------------------------------------------------------------------------- requests

    def above(self, zone, order, mark, class_, flags):
        z = self.zones[zone]
        limit = getattr(z, mark)
        if order > 0 or mark != "min" or "high" not in flags:
            limit += z.boost
        if "high" in flags:
            limit -= limit // 2
            if "non_block" in flags:
                limit -= limit // 4
        usable = self.free_pages(zone) - ((1 << order) - 1)
        if not flags & {"high", "non_block", "highatomic"}:
            usable -= self.free_pages(zone, (HIGHATOMIC,))
        if "cma" not in flags:
            usable -= self.free_pages(zone, (CMA,))
        if usable <= limit + z.reserve[class_]:
            return False
        kinds = [*ORDINARY, *([CMA] if "cma" in flags else []), *([HIGHATOMIC] if "highatomic" in flags else [])]
        return order == 0 or any(self.lists[zone, o, k] for o in range(order, self.max_order + 1) for k in kinds)

    def zonelist(self, node):
        nodes = 1 + max(zone.node for zone in self.zones)
        key = {i: ((z.node - node) % nodes, -z.class_, -z.first) for i, z in enumerate(self.zones)}
        return sorted(key, key=key.get)

    def alloc(self, order, kind, class_, *, cpu=0, node=0, reclaim=True, high=False, kswapd=False, this_node=False):
        """A page as alloc_pages() finds it without reclaim: at the low watermark, then as gfp_to_alloc_flags() allows."""
        zonelist = self.zonelist(node)
        preferred = next((zone for zone in zonelist if self.zones[zone].class_ <= class_), None)
        no_fragment = (
            preferred is not None
            and self.zones[preferred].class_ == 2
            and (
                len({z.node for z in self.zones}) == 1
                or any(z.class_ == 1 and z.node == self.zones[preferred].node for z in self.zones)
            )
        )
        base = {"cma"} if kind == MOVABLE else set()
        page = self.from_zones(zonelist, order, kind, class_, cpu, node, "low", base, no_fragment, kswapd, this_node)
        if page is not None:
            return page
        self.kswapd += kswapd
        if high:
            base.add("high")
        if not reclaim:
            base.add("non_block")
            if high and order:
                base.add("highatomic")
        return self.from_zones(zonelist, order, kind, class_, cpu, node, "min", base, False, kswapd, this_node)

    def from_zones(self, zonelist, order, kind, class_, cpu, node, mark, flags, no_fragment, kswapd, this_node):
        for careful in (True, False) if no_fragment else (False,):
            for zone in zonelist:
                z = self.zones[zone]
                if z.node != node and (this_node or careful):
                    break
                if z.class_ > class_:
                    continue
                if z.below_high or not self.above(zone, order, "high", class_, flags):
                    z.below_high = True
                    if not self.above(zone, order, mark, class_, flags):
                        continue
                page = self.from_zone(zone, cpu, order, kind, flags, no_fragment=careful, kswapd=kswapd)
                if page is not None:
                    for each in range(page, page + (1 << order)):
                        self.owner[each] = kind
                    if "highatomic" in flags:
                        self.reserve_highatomic(zone, page, order)
                    return page
        return None

    def from_zone(self, zone, cpu, order, kind, flags, **how):
        page = self.take_from_pcp(zone, cpu, order, kind, **how) if self.has_pcp(order) else None
        if page is None and "highatomic" in flags:
            page = self.smallest(zone, order, HIGHATOMIC)
        if page is None:
            page, _ = self.rmqueue(zone, order, kind, **how)
        if page is None and "non_block" in flags:
            page = self.smallest(zone, order, HIGHATOMIC)
        if self.zones[zone].boosted and how["kswapd"]:
            self.zones[zone].boosted = False
            self.kswapd += 1
        return page

    def reserve_highatomic(self, zone, page, order):
        z, size = self.zones[zone], 1 << self.pageblock_order
        if z.managed // 100 < size or z.reserved_highatomic >= -(-(z.managed // 100) // size) * size:
            return
        if self.type_of(page) not in ORDINARY:
            return
        if order >= self.pageblock_order:
            self.set_types(page, order, HIGHATOMIC)
            z.reserved_highatomic += 1 << order
        elif self.is_inside(zone, page):
            self.move_block(zone, page, HIGHATOMIC)
            self.block_type[page >> self.pageblock_order] = HIGHATOMIC
            z.reserved_highatomic += size

    def unreserve_highatomic(self, kind, *, force):
        size = 1 << self.pageblock_order
        for zone in reversed(range(len(self.zones))):
            if not force and self.zones[zone].reserved_highatomic <= size:
                continue
            for order in range(self.max_order + 1):
                if not self.lists[zone, order, HIGHATOMIC]:
                    continue
                page = self.lists[zone, order, HIGHATOMIC][0]
                self.zones[zone].reserved_highatomic -= min(max(size, 1 << order), self.zones[zone].reserved_highatomic)
                for start in range(page, page + (1 << order), size):
                    self.move_block(zone, start, kind)
                    self.block_type[start >> self.pageblock_order] = kind
                return True
        return False
