"""A small kernel in memory as /proc/kcore shows it: an ELF core, and the BTF that tells how its structs lie.

Sections have 4 MiB, pageblocks 2 MiB, zones four orders and four types. The memory map is where VMEMMAP says.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

ORDERS, TYPES, PCP_LISTS = 4, 4, 14
SECTION_PAGES, PAGE, MEM_SECTIONS = 1024, 64, 16  # of pages, bytes of struct page, sections in each of 16 arrays
IMAGE, VMEMMAP, PER_CPU = 0xFFFF_FFFF_8000_0000, 0xFFFF_EA00_1234_0000, 0xFFFF_8880_0000_0000
BUDDY = 0xF000_0000

_FREE_AREA, _ZONE, _NODE, _PCP = 16 * TYPES + 8, 384, 2048, 8 + 16 * PCP_LISTS
_ZONES, _NODES, _SECTIONS, _USAGES, _NAMES, _OFFSETS = 0x1000, 0x0, 0x8000, 0x10000, 0x20000, 0x21000
_AREAS = 64  # offset in struct zone


class BtfWriter:
    """Types are numbered from 1, in the order in which they are added."""

    def __init__(self) -> None:
        self._strings, self._types, self._count = b"\0", b"", 0

    def _string(self, text: str) -> int:
        if not text:
            return 0
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, members: int, size: int, *words: int) -> int:
        self._types += struct.pack(f"<III{len(words)}I", self._string(name), kind << 24 | members, size, *words)
        self._count += 1
        return self._count

    def array(self, of: int, elements: int) -> int:
        return self.add(3, "", 0, 0, of, 1, elements)

    def struct(self, name: str, size: int, members: dict[str, tuple[int, int]], kind: int = 4) -> int:
        """Members by name (an empty one begins a nameless union): offset in bytes, type."""
        words = [word for text, (at, of) in members.items() for word in (self._string(text.strip()), of, 8 * at)]
        return self.add(kind, name, len(members), size, *words)

    def enum(self, name: str, values: dict[str, int]) -> int:
        return self.add(
            6, name, len(values), 4, *(word for text, n in values.items() for word in (self._string(text), n))
        )

    def data(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings))
        return header + self._types + self._strings


def btf() -> bytes:
    """The structs that `FakeKernel` writes."""
    to = BtfWriter()
    number = to.add(1, "unsigned long", 0, 8, 64)
    word = to.add(8, "word_t", 0, number)  # a typedef
    links = to.struct("list_head", 16, {"next": (0, word), "prev": (8, word)})
    lists = to.struct("", 16, dict.fromkeys(("lru", "buddy_list", "pcp_list"), (0, links)), kind=5)
    inner = to.struct("", 40, {"": (0, lists), "private": (32, word)})
    kind = to.struct("", 4, {"page_type": (0, number), "_mapcount": (0, number)}, kind=5)
    to.struct("page", PAGE, {"flags": (0, word), "": (8, inner), " ": (48, kind), "_refcount": (52, number)})
    area = to.struct(
        "free_area", _FREE_AREA, {"free_list": (0, to.array(links, TYPES)), "nr_free": (16 * TYPES, number)}
    )
    values = ("name", "zone_start_pfn", "spanned_pages", "present_pages", "per_cpu_pageset")
    members = {name: (8 * place, number) for place, name in enumerate(values)}
    zone = to.struct("zone", _ZONE, members | {"free_area": (_AREAS, to.array(area, ORDERS))})
    to.struct("pglist_data", _NODE, {"node_zones": (0, to.array(zone, 3)), "node_id": (3 * _ZONE, number)})
    to.struct("per_cpu_pages", _PCP, {"count": (0, number), "lists": (8, to.array(links, PCP_LISTS))})
    to.struct("mem_section", 16, {"section_mem_map": (0, number), "usage": (8, number)})
    to.struct("mem_section_usage", 16, {"pageblock_flags": (8, number)})
    names = {"MIGRATE_UNMOVABLE": 0, "MIGRATE_MOVABLE": 1, "MIGRATE_RECLAIMABLE": 2, "MIGRATE_PCPTYPES": 3}
    to.enum("migratetype", names | {"MIGRATE_HIGHATOMIC": 3, "MIGRATE_TYPES": 4})
    to.enum("pageblock_bits", {"PB_migrate": 0, "PB_migrate_skip": 3, "NR_PAGEBLOCK_BITS": 4})
    return to.data()


class FakeKernel:
    """Zones, given as node, number, name, first page and pages; two CPUs with their lists of the first zone."""

    def __init__(self, zones: Sequence[tuple[int, int, str, int, int]], cpus: int = 2) -> None:
        self.end = max(start + pages for *_, start, pages in zones)
        sections = -(-self.end // SECTION_PAGES)
        self.zones, self.cpus = list(zones), cpus
        self.memory = {
            IMAGE: bytearray(0x22000),
            VMEMMAP: bytearray(sections * SECTION_PAGES * PAGE),
            PER_CPU: bytearray(0x1000 * (cpus + 1)),
        }
        self.symbols = {"node_data": IMAGE + _NODES, "mem_section": IMAGE + _SECTIONS}
        for node in {node for node, *_ in zones}:
            self.poke(IMAGE + _NODES + 8 * node, "Q", self._node(node))
            self.poke(self._node(node) + 3 * _ZONE, "i", node)
        for number, (node, index, name, start, pages) in enumerate(zones):
            at, text = self._node(node) + index * _ZONE, IMAGE + _NAMES + 16 * number
            self.poke(text, f"{len(name)}s", name.encode())
            self.poke(at, "5Q", text, start, pages, pages, 0x100 * number)
            for place in range(ORDERS * TYPES):
                self.link(self.free_list(number, *divmod(place, TYPES)), [])
            for cpu in range(cpus):
                for place in range(PCP_LISTS):
                    self.link(self.pcp_list(number, cpu, place), [])
        self.poke(IMAGE + _OFFSETS, f"{cpus}Q", *(PER_CPU + 0x1000 * cpu for cpu in range(cpus)))
        self.poke(IMAGE + _SECTIONS, "Q", IMAGE + _SECTIONS + 0x100)
        for section in range(sections):
            usage = IMAGE + _USAGES + 16 * section
            self.poke(IMAGE + _SECTIONS + 0x100 + 16 * section, "QQ", VMEMMAP | 7, usage)

    def _node(self, node: int) -> int:
        return IMAGE + _ZONES + _NODE * node

    def poke(self, address: int, form: str, *values: object) -> None:
        """Write values at an address."""
        base = max(base for base in self.memory if base <= address)
        struct.pack_into("<" + form, self.memory[base], address - base, *values)

    def free_list(self, zone: int, order: int, kind: int) -> int:
        node, index, *_ = self.zones[zone]
        return self._node(node) + index * _ZONE + _AREAS + order * _FREE_AREA + 16 * kind

    def pcp_list(self, zone: int, cpu: int, number: int) -> int:
        return PER_CPU + 0x1000 * cpu + 0x100 * zone + 8 + 16 * number

    @staticmethod
    def links(pfn: int) -> int:
        """The address of a page's links."""
        return VMEMMAP + pfn * PAGE + 8

    def link(self, head: int, pfns: Sequence[int]) -> None:
        """Make a list of pages."""
        ring = [head, *(self.links(pfn) for pfn in pfns)]
        for at, own in enumerate(ring):
            self.poke(own, "QQ", ring[(at + 1) % len(ring)], ring[at - 1])

    def free(self, zone: int, order: int, kind: int, pfns: Sequence[int]) -> None:
        """Put blocks on a list of a zone."""
        self.link(self.free_list(zone, order, kind), pfns)
        for pfn in pfns:
            self.poke(self.links(pfn) + 32, "Q", order)
            self.poke(self.links(pfn) + 40, "I", BUDDY)
        self.poke(self.free_list(zone, order, 0) + 16 * TYPES, "Q", len(pfns))  # nr_free: of one type

    def cache(self, zone: int, cpu: int, number: int, pfns: Sequence[int], pages: int) -> None:
        """Put blocks on a list of a CPU."""
        self.link(self.pcp_list(zone, cpu, number), pfns)
        self.poke(self.pcp_list(zone, cpu, 0) - 8, "i", pages)

    def write(self, root: Path, *, kallsyms: bool = True) -> None:
        """Write the files of this kernel below `root`."""
        said = {
            "OSRELEASE": "6.12.0", "PAGESIZE": 4096, "LENGTH(mem_section)": 16,
            "NUMBER(SECTION_SIZE_BITS)": 22, "NUMBER(MAX_PHYSMEM_BITS)": 30, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": BUDDY,
        }  # fmt: skip
        said |= {f"SYMBOL({name})": f"{address:x}" for name, address in self.symbols.items()}
        text = "".join(f"{name}={value}\n" for name, value in said.items()).encode()
        note = struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0" + text
        headers, data, at = [], b"", 64 + 56 * (1 + len(self.memory))
        for kind, address, part in [(4, 0, note), *((1, *segment) for segment in self.memory.items())]:
            headers.append(struct.pack("<IIQQQQQQ", kind, 0, at + len(data), address, 0, len(part), len(part), 0))
            data += part
        head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(headers)
        )
        files = {
            "proc/kcore": head.ljust(64, b"\0") + b"".join(headers) + data,
            "proc/pagetypeinfo": b"Page block order: 9\n",
            "sys/kernel/btf/vmlinux": btf(),
            "sys/devices/system/cpu/possible": f"0-{self.cpus - 1}\n".encode(),
            "sys/devices/system/node/online": ",".join(sorted({str(node) for node, *_ in self.zones})).encode() + b"\n",
        }
        if kallsyms:
            files["proc/kallsyms"] = (
                f"{IMAGE:x} T _text\n{IMAGE + _OFFSETS:x} D __per_cpu_offset\n{IMAGE + _NODES:x} B node_data\n".encode()
            )
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
