"""Where a kernel has its zones, memory map, pageblocks and CPUs' lists (include/linux/mmzone.h, Linux 6.1 to 7.3).

Nothing asks for a version: members come from BTF, addresses from VMCOREINFO or, if it lacks them, /proc/kallsyms. The
base of the memory map is what every section of SPARSEMEM_VMEMMAP holds: neither KASLR nor page-table levels matter.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.recorder.free_lists.btf import Btf
from ingest.recorder.free_lists.errors import UnreadableError
from ingest.recorder.free_lists.kcore import Kcore
from ingest.snapshots.free_lists import PAGEBLOCK, ROW

_HAS_MAP_AND_IS_ONLINE = 6  # bits of section_mem_map: SECTION_HAS_MEM_MAP, SECTION_IS_ONLINE
_FLAGS_OF_MAP = 0xFFF
_MIGRATETYPE_BITS = 3  # of each pageblock
_LISTED_ORDERS = 4  # up to PAGE_ALLOC_COSTLY_ORDER: those that CPUs have lists of, besides huge blocks


class Layout:
    """What stays as it is while the kernel runs: offsets in bytes and lengths from BTF, symbols, CPUs.

    Raises:
        UnreadableError: a struct or member is missing.
        OSError: a file cannot be read.
    """

    def __init__(self, root: Path) -> None:
        try:
            btf = Btf((root / "sys/kernel/btf/vmlinux").read_bytes())
        except FileNotFoundError as error:
            raise UnreadableError("the kernel has no BTF") from error
        self.page, self.links = btf.size("page"), btf.offset("page", "buddy_list", "lru")
        self.private, self.refcount = btf.offset("page", "private"), btf.offset("page", "_refcount")
        self.page_type = btf.offset("page", "page_type", "_mapcount")
        if self.links != btf.offset("page", "pcp_list", "lru"):
            raise UnreadableError("struct page links lists of CPUs elsewhere than free lists")
        self.node_id, self.zones = btf.offset("pglist_data", "node_id"), btf.offset("pglist_data", "node_zones")
        self.zone, self.most_zones = btf.size("zone"), btf.length("pglist_data", "node_zones", 16)
        self.zone_values = [btf.offset("zone", name) for name in ("zone_start_pfn", "spanned_pages", "present_pages")]
        self.zone_name, self.areas = btf.offset("zone", "name"), btf.offset("zone", "free_area")
        self.area, self.orders = btf.size("free_area"), btf.length("zone", "free_area", 64)
        self.lists, self.nr_free = btf.offset("free_area", "free_list"), btf.offset("free_area", "nr_free")
        self.types = btf.length("free_area", "free_list", 16)
        self.pagesets = btf.offset("zone", "per_cpu_pageset")
        self.pcp_count, self.pcp_lists = btf.offset("per_cpu_pages", "count"), btf.offset("per_cpu_pages", "lists")
        self.most_pcp_lists = btf.length("per_cpu_pages", "lists", 256)
        self.section, self.flags = btf.size("mem_section"), btf.offset("mem_section_usage", "pageblock_flags")
        self.section_fields = [btf.offset("mem_section", name) // 8 for name in ("section_mem_map", "usage")]
        self.migratetypes = btf.enum("migratetype")
        self.pcp_types = self.migratetypes["MIGRATE_PCPTYPES"]
        bits = btf.enum("pageblock_bits")
        self.isolate_bit = bits.get("PB_migrate_isolate")  # since 6.17 a bit of its own, not a type
        self.pageblock_bits = 1 << ((bits.get("NR_PAGEBLOCK_BITS") or bits["__NR_PAGEBLOCK_BITS"]) - 1).bit_length()
        pagetypeinfo = (root / "proc/pagetypeinfo").read_text()
        self.pageblock_order = int(pagetypeinfo.partition("Page block order:")[2].split()[0])  # a macro: not in BTF
        self.symbols = _symbols(root, "node_data", "__per_cpu_offset")
        self.cpus = _numbers(root / "sys/devices/system/cpu/possible")


@dataclass(frozen=True)
class ZoneAt:
    """A zone with pages; `address` is that of its struct."""

    node: int
    index: int
    name: str
    address: int
    start: int
    spanned: int
    present: int

    @property
    def place(self) -> int:
        """The bits of a row's place that tell node and zone."""
        return self.index | self.node << 20


class Allocator:
    """The zones and sections of a kernel as they are now.

    Raises:
        UnreadableError: it is not laid out as expected.
        OSError: the kernel refuses to be read.
    """

    def __init__(self, kcore: Kcore, layout: Layout, root: Path) -> None:
        self.kcore, self.layout = kcore, layout
        self.buddy = kcore.number("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)") & 0xFFFFFFFF  # page_type of a free block's head
        page_shift = kcore.number("PAGESIZE").bit_length() - 1
        self.huge_order = page_shift - 3  # HPAGE_PMD_ORDER: a table has a page of entries of 8 bytes
        self._section_bits = kcore.number("NUMBER(SECTION_SIZE_BITS)")
        self.section_pages = 1 << self._section_bits - page_shift
        self.zones = [zone for node in self._nodes(root) for zone in self._zones(node)]
        self._sections = self._online_sections()
        maps = {memory_map for memory_map, _ in self._sections.values()}
        if len(maps) != 1:
            raise UnreadableError("the memory map is in pieces (no SPARSEMEM_VMEMMAP)")
        self._memory_map = maps.pop()
        table = layout.symbols.get("__per_cpu_offset")  # hidden where kernel.kptr_restrict is 2
        self.cpu_offsets = dict(zip(layout.cpus, self._at(table, layout.cpus), strict=True)) if table else {}

    def pfns(self, links: list[int]) -> NDArray[np.uint64]:
        """Pages by the addresses of their links."""
        first = np.uint64(self._memory_map + self.layout.links)
        return (np.array(links, np.uint64) - first) // np.uint64(self.layout.page)

    def links_of(self, pfn: int) -> int:
        """The address of a page's links."""
        return self._memory_map + pfn * self.layout.page + self.layout.links

    def _at(self, table: int, places: list[int]) -> list[int]:
        return [self.kcore.words(table + 8 * place)[0] for place in places]

    def _nodes(self, root: Path) -> list[int]:
        """Addresses of struct pglist_data of every node that is online."""
        if self.kcore.says("SYMBOL(contig_page_data)"):  # without NUMA
            return [self.kcore.number("SYMBOL(contig_page_data)")]
        table = self.layout.symbols.get("node_data")
        if self.kcore.says("SYMBOL(node_data)"):  # x86
            table = self.kcore.number("SYMBOL(node_data)")
        if not table:
            raise UnreadableError("/proc/kallsyms hides where the nodes are")
        return self._at(table, _numbers(root / "sys/devices/system/node/online"))

    def _zones(self, node: int) -> list[ZoneAt]:
        layout, core, found = self.layout, self.kcore, []
        number = core.int32(node + layout.node_id)
        for index in range(layout.most_zones):
            at = node + layout.zones + index * layout.zone
            start, spanned, present = (core.words(at + offset)[0] for offset in layout.zone_values)
            if present:
                name = core.read(core.words(at + layout.zone_name)[0], 16).split(b"\0")[0].decode(errors="replace")
                found.append(ZoneAt(number, index, name, at, start, spanned, present))
        return found

    def _online_sections(self) -> dict[int, tuple[int, int]]:
        """By number: the memory map less the section's own place in it, as the kernel stores it, and the usage."""
        core, size, found = self.kcore, self.layout.section, {}
        roots, table = core.number("LENGTH(mem_section)"), core.number("SYMBOL(mem_section)")
        per_root = max((1 << core.number("NUMBER(MAX_PHYSMEM_BITS)") - self._section_bits) // roots, 1)
        last = max(zone.start + zone.spanned for zone in self.zones) // self.section_pages // per_root
        roots = min(roots, last + 1)
        extreme = per_root > 1  # SPARSEMEM_EXTREME: pointers to arrays
        arrays = core.words(table, roots) if extreme else tuple(table + number * size for number in range(roots))
        for root, address in enumerate(arrays):
            words = core.words(address, per_root * size // 8) if address else ()
            for number in range(len(words) * 8 // size):
                memory_map, usage = (words[number * size // 8 + place] for place in self.layout.section_fields)
                if memory_map & _HAS_MAP_AND_IS_ONLINE == _HAS_MAP_AND_IS_ONLINE:
                    found[root * per_root + number] = memory_map & ~_FLAGS_OF_MAP, usage
        return found

    def free_list(self, zone: ZoneAt, order: int, kind: int) -> int:
        """The address of the head of a zone's list."""
        return zone.address + self.layout.areas + order * self.layout.area + self.layout.lists + 16 * kind

    def nr_free(self, zone: ZoneAt, order: int) -> int:
        """Free blocks of an order, as the zone counts them."""
        return self.kcore.words(zone.address + self.layout.areas + order * self.layout.area + self.layout.nr_free)[0]

    def pagesets(self, zone: ZoneAt) -> dict[int, int]:
        """By CPU: the address of its struct per_cpu_pages."""
        (base,) = self.kcore.words(zone.address + self.layout.pagesets)
        return {cpu: base + offset & (1 << 64) - 1 for cpu, offset in self.cpu_offsets.items()}

    def pcp_list(self, number: int) -> tuple[int, int]:
        """Order and type of a CPU's list (mm/page_alloc.c:order_to_pindex)."""
        small = min(_LISTED_ORDERS * self.layout.pcp_types, self.layout.most_pcp_lists)
        if number < small:
            return divmod(number, self.layout.pcp_types)
        if self.layout.most_pcp_lists - small == 1:  # before 6.10: one list of huge blocks, nearly all for user space
            return self.huge_order, self.layout.migratetypes["MIGRATE_MOVABLE"]
        return self.huge_order, number - small

    def pageblocks(self) -> NDArray[np.void]:
        """The type of each pageblock that lies in a zone, as rows; from the usage of its section."""
        layout, order = self.layout, self.layout.pageblock_order
        blocks, width, pages = self.section_pages >> order, layout.pageblock_bits, 1 << order
        by_section = np.zeros((len(self._sections), blocks), ROW)
        for own, (section, (_, usage)) in zip(by_section, self._sections.items(), strict=True):
            flags = np.frombuffer(self.kcore.read(usage + layout.flags, -(-blocks * width // 8)), np.uint8)
            bits = np.unpackbits(flags, bitorder="little")[: blocks * width].reshape(blocks, width)
            own["pfn"] = section * self.section_pages + np.arange(blocks) * pages
            own["type"] = bits[:, :_MIGRATETYPE_BITS] @ (1 << np.arange(_MIGRATETYPE_BITS))
            if layout.isolate_bit is not None:
                own["type"][bits[:, layout.isolate_bit] == 1] = layout.migratetypes["MIGRATE_ISOLATE"]
        rows = by_section.ravel()
        rows["order"], rows["place"] = order, PAGEBLOCK
        inside = np.zeros(len(rows), np.bool_)
        for zone in self.zones:
            inside |= (rows["pfn"] + pages > zone.start) & (rows["pfn"] < zone.start + zone.spanned)
        return rows[inside]

    def free_page(self, links: int, order: int | None) -> tuple[int, int] | None:
        """The links, read now, of a page on a free list of this order, or (None) on a CPU's list; None: it is on none.

        A page on a CPU's list is not told apart from others that nobody holds: the links have to agree.
        """
        layout = self.layout
        try:
            page = self.kcore.read(links - layout.links, layout.page)
        except (UnreadableError, OSError):
            return None
        is_buddy = struct.unpack_from("<I", page, layout.page_type)[0] == self.buddy
        if order is None:
            good = not is_buddy and struct.unpack_from("<i", page, layout.refcount)[0] == 0
        else:
            good = is_buddy and struct.unpack_from("<Q", page, layout.private)[0] == order
        return struct.unpack_from("<QQ", page, layout.links) if good else None

    def is_linked(self, own: int, order: int | None) -> bool:
        """Whether a page is free and both its neighbours on the list, read now, lead to it."""
        links = self.free_page(own, order)
        try:
            return links is not None and self.kcore.words(links[0] + 8) == self.kcore.words(links[1]) == (own,)
        except (UnreadableError, OSError):  # list_del() leaves addresses that do not exist (LIST_POISON1)
            return False


def _symbols(root: Path, *names: str) -> dict[str, int]:
    """Addresses by name; without those that /proc/kallsyms lacks or hides (kernel.kptr_restrict = 2)."""
    try:
        text = (root / "proc/kallsyms").read_bytes()
    except OSError:
        return {}
    found = {name: re.search(rf"^([0-9a-f]+) \w {name}$".encode(), text, re.MULTILINE) for name in names}
    return {name: int(match[1], 16) for name, match in found.items() if match and int(match[1], 16)}


def _numbers(path: Path) -> list[int]:
    """The numbers of a list such as 0-3,8."""
    ranges = (part.partition("-") for part in path.read_text().split(","))
    return [number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)]
