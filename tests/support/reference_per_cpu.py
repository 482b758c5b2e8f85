"""Per-CPU page lists, slow and obvious. Written from mm/page_alloc.c: 6.12.95 (auto), 6.1.176 (not)."""

from dataclasses import dataclass, field

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE = range(6)
ORDINARY = (UNMOVABLE, MOVABLE, RECLAIMABLE)
SCALE_MAX = 5


@dataclass
class PerCpuPages:
    high_min: int = 0
    high_max: int = 0
    batch: int = 1
    high: int = 0
    count: int = 0
    alloc_factor: int = 0
    free_count: int = 0
    prev_free_high_order: bool = False
    lists: dict[int, list[int]] = field(default_factory=dict)


class PerCpuLists:
    """The part of ReferenceAllocator that keeps pages between the callers and the buddy lists."""

    def has_pcp(self, order):
        return order <= self.pcp_order or (self.thp > 0 and order == self.huge_order)

    def index_of(self, order, kind):
        if order > self.pcp_order:
            return 3 * (self.pcp_order + 1) + (1 if kind == MOVABLE and self.thp == 2 else 0)
        return 3 * order + (kind if kind in ORDINARY else MOVABLE)

    def order_of(self, index):
        return self.huge_order if index >= 3 * (self.pcp_order + 1) else index // 3

    def drain(self, zone, cpu, pages, start):
        pcp = self.pcp[zone, cpu]
        pages, index = min(pages, pcp.count), start
        while pages > 0:
            while not pcp.lists[index]:
                index = (index + 1) % len(pcp.lists)
            order = self.order_of(index)
            page = pcp.lists[index].pop()
            pages -= 1 << order
            pcp.count -= 1 << order
            kind = self.type_of(page)
            if not self.auto and kind in ORDINARY and order < self.pageblock_order:
                kind = index % 3
            self.free_block(zone, page, order, kind)

    def drain_all(self):
        for cpu in sorted({cpu for _, cpu in self.pcp}):
            for zone in range(len(self.zones)):
                while self.pcp[zone, cpu].count:
                    self.drain(zone, cpu, self.pcp[zone, cpu].batch << SCALE_MAX, 0)

    def decay(self):
        for (zone, cpu), pcp in self.pcp.items():
            if pcp.high > pcp.high_min:
                pcp.high = max(pcp.count - (pcp.batch << SCALE_MAX), pcp.high - (pcp.high >> 3), pcp.high_min)
            while pcp.count > pcp.high:
                self.drain(zone, cpu, min(pcp.count - pcp.high, pcp.batch), 0)

    def refill_size(self, zone, pcp, order):
        batch = pcp.batch
        if self.auto:
            pcp.high = min(max(pcp.high, pcp.high_min), pcp.high_max)
            if pcp.high < pcp.batch:
                return 1
            batch = pcp.batch << (0 if order else pcp.alloc_factor)
            if pcp.high_min != pcp.high_max and not self.zones[zone].below_high:
                pcp.high = min(pcp.high + batch, pcp.high_max)
            if order == 0:
                most = max(pcp.high - pcp.count - pcp.batch, pcp.batch)
                if batch <= most and pcp.alloc_factor < SCALE_MAX:
                    pcp.alloc_factor += 1
                batch = min(batch, most)
        return max(batch >> order, 2) if batch > 1 else batch

    def take_from_pcp(self, zone, cpu, order, kind, **flags):
        pcp = self.pcp[zone, cpu]
        pcp.free_count >>= 1
        pages = pcp.lists[self.index_of(order, kind)]
        if not pages:
            mode = "normal"
            for _ in range(self.refill_size(zone, pcp, order)):
                page, mode = self.rmqueue(zone, order, kind, mode=mode, **flags)
                if page is None:
                    break
                pages.append(page)
                pcp.count += 1 << order
        if not pages:
            return None
        pcp.count -= 1 << order
        return pages.pop(0)

    def free_to_pcp(self, zone, cpu, page, order):
        pcp = self.pcp[zone, cpu]
        index = self.index_of(order, self.type_of(page))
        pcp.alloc_factor >>= 1
        pcp.lists[index].insert(0, page)
        pcp.count += 1 << order
        small = 1 <= order <= self.pcp_order
        if self.auto:
            many = pcp.free_count >= pcp.batch and pcp.count >= pcp.batch
            free_high = small and pcp.prev_free_high_order and many
            pcp.prev_free_high_order = small
            if pcp.free_count < pcp.batch << SCALE_MAX:
                pcp.free_count += 1 << order
            high = self.high_when_freeing(zone, pcp, free_high)
        else:
            free_high = small and pcp.free_count > 0
            high = 0 if free_high else pcp.high
        if pcp.count >= high:
            self.drain(zone, cpu, self.drain_size(pcp, high, free_high), index)
            if self.zones[zone].below_high and self.above(zone, 0, "high", 3, set()):
                self.zones[zone].below_high = False

    def high_when_freeing(self, zone, pcp, free_high):
        high = pcp.high = min(max(pcp.high, pcp.high_min), pcp.high_max)
        if high == 0:
            return 0
        if free_high:
            pcp.high = max(high - (pcp.batch << SCALE_MAX), pcp.high_min)
            return 0
        if pcp.high_min == pcp.high_max:
            return high
        if self.zones[zone].below_high:
            pcp.high = max(high - max(pcp.free_count, pcp.batch), pcp.high_min)
            return max(pcp.count, pcp.high_min)
        if pcp.count >= high and pcp.high < pcp.free_count + pcp.batch:
            pcp.high = min(max(pcp.free_count + pcp.batch, pcp.high_min), pcp.high_max)
        return high

    def drain_size(self, pcp, high, free_high):
        if free_high:
            return min(pcp.count, pcp.batch << SCALE_MAX) if self.auto else pcp.count
        if high < pcp.batch:
            return 1
        wanted = pcp.free_count
        if not self.auto:
            wanted = pcp.batch << pcp.free_count
            if wanted < high - pcp.batch and pcp.free_count < SCALE_MAX:
                pcp.free_count += 1
        return min(max(wanted, pcp.batch), high - pcp.batch)
