"""Writes what the kernel and trace-cmd write: ring-buffer pages, formats, and trace.dat of versions 6 and 7.

Made from the descriptions (kernel/trace/ring_buffer.c, trace-cmd.dat.v6(5), trace-cmd.dat.v7(5)) and not from the reader.
"""

import struct
import zlib
from dataclasses import dataclass, field

import pyarrow as pa

COMMON = [
    ("unsigned short", "common_type", 2),
    ("unsigned char", "common_flags", 1),
    ("unsigned char", "common_preempt_count", 1),
    ("int", "common_pid", 4),
]
NOT_SIGNED = ("unsigned", "u64", "gfp_t", "char")
CONTEXT_FLAGS = (0x00, 0x10, 0x08 | 0x10, 0x40)  # task, softirq, hardirq in softirq, NMI
FLAGS = (
    '(REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", {( unsigned long)((( gfp_t)(0x400u|0x800u)) | (( gfp_t)0x40u) |'
    ' (( gfp_t)0x80u)), "GFP_KERNEL"}, {( unsigned long)(( gfp_t)0x100u), "__GFP_ZERO"}, {( unsigned long)(( gfp_t)0x40000u), "__GFP_COMP"} ) : "none"'
)


@dataclass
class Entry:
    """One entry of a CPU's buffer: an event, a stack, or what stands for lost or discarded ones."""

    ts: int
    what: str  # alloc, free, batched, zone_locked, stack, other, discarded, lost (before the next page), page (a new one begins)
    pid: int = 1
    context: int = 0
    pfn: int = 0
    order: int = 0
    migratetype: int = 0
    gfp: int = 0
    frames: tuple[int, ...] = ()
    count: int | None = None  # lost events; None: not said


@dataclass
class Machine:
    """How the recording kernel lays things out."""

    big: bool = False
    long: int = 8
    page: int = 4096
    vendor: bool = False  # an extra field in the middle
    absolute: bool = False  # absolute time stamps instead of extends
    ids: dict[str, int] = field(
        default_factory=lambda: {
            "mm_page_alloc": 600,
            "mm_page_free": 601,
            "mm_page_free_batched": 602,
            "mm_page_alloc_zone_locked": 603,
            "kernel_stack": 4,
            "sched_switch": 300,
        }
    )

    @property
    def order(self):
        return ">" if self.big else "<"

    @property
    def data(self):
        return 8 + self.long

    def pack(self, size, value):
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, "big" if self.big else "little")

    def fields(self, name):
        extra = [("unsigned int", "vendor", 4)] if self.vendor else []
        pfn, order = ("unsigned long", "pfn", self.long), ("unsigned int", "order", 4)
        own = {
            "mm_page_alloc": [pfn, *extra, order, ("unsigned long", "gfp_flags", self.long), ("int", "migratetype", 4)],
            "mm_page_free": [pfn, *extra, order],
            "mm_page_free_batched": [pfn],
            "mm_page_alloc_zone_locked": [pfn, order, ("int", "migratetype", 4), ("int", "percpu_refill", 4)],
            "kernel_stack": [("int", "size", 4), ("unsigned long", "caller[8]", 8 * self.long)],
            "sched_switch": [("char", "prev_comm[16]", 16), ("int", "next_pid", 4)],
        }[name]
        at, placed = 0, []
        for kind, field_name, size in COMMON + own:
            align = min(size, self.long) if "[" not in field_name else (1 if kind == "char" else self.long)
            at = -(-at // align) * align
            placed.append((kind, field_name, at, size))
            at += size
        return placed

    def format(self, name):
        lines = [
            f"\tfield:{kind} {field_name};\toffset:{at};\tsize:{size};\tsigned:{int(not kind.startswith(NOT_SIGNED))};\n"
            for kind, field_name, at, size in self.fields(name)
        ]
        flags = FLAGS if name == "mm_page_alloc" else "0"
        return f'name: {name}\nID: {self.ids[name]}\nformat:\n{"".join(lines[:4])}\n{"".join(lines[4:])}\nprint fmt: "x=%s", {flags}\n'

    def header_page(self):
        return (
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
            f"\tfield: local_t commit;\toffset:8;\tsize:{self.long};\tsigned:1;\n"
            "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
            f"\tfield: char data;\toffset:{self.data};\tsize:{self.page - self.data};\tsigned:0;\n"
        )

    def record(self, entry):
        """The bytes of an event."""
        name = {
            "alloc": "mm_page_alloc",
            "free": "mm_page_free",
            "batched": "mm_page_free_batched",
            "zone_locked": "mm_page_alloc_zone_locked",
            "stack": "kernel_stack",
            "other": "sched_switch",
            "discarded": "sched_switch",
        }[entry.what]
        values = {
            "common_type": self.ids[name], "common_flags": CONTEXT_FLAGS[entry.context] | 1, "common_pid": entry.pid, "pfn": entry.pfn,
            "order": entry.order, "gfp_flags": entry.gfp, "migratetype": entry.migratetype, "size": len(entry.frames), "vendor": 0xDEADBEEF,
        }  # fmt: skip
        data = bytearray()
        for _, field_name, at, size in self.fields(name):
            data += bytes(at - len(data))
            if field_name.startswith("caller"):
                data += b"".join(self.pack(self.long, frame) for frame in entry.frames)
            else:
                data += self.pack(size, values.get(field_name, 0)) if "[" not in field_name else bytes(size)
        return bytes(data) + bytes(-len(data) % 4)

    def head(self, kind, delta):
        return self.pack(4, kind << 27 | delta if self.big else delta << 5 | kind)

    def event(self, entry, delta):
        """An event with what stands before it where its time does not fit 27 bits."""
        data, before = self.record(entry), b""
        if delta >= 1 << 27:
            stamp = entry.ts & ((1 << 59) - 1) if self.absolute else delta
            before = self.head(31 if self.absolute else 30, stamp & ((1 << 27) - 1)) + self.pack(4, stamp >> 27)
            delta = 0
        if entry.what == "discarded":
            return before + self.head(29, delta or 1) + self.pack(4, len(data)) + data[4:]
        if len(data) <= 4 * 28 and entry.pid % 2:
            return before + self.head(len(data) // 4, delta) + data
        return before + self.head(0, delta) + self.pack(4, len(data) + 4) + data

    def pages(self, entries):
        """The pages of one CPU."""
        pages, data, begun, now, missed = [], b"", None, 0, None

        def close(lost):
            nonlocal data, begun
            if begun is not None:
                commit, tail = len(data), b""
                if lost is not None:
                    commit |= 1 << 31
                    if lost.count is not None and len(data) + self.long <= self.page - self.data:
                        commit, tail = commit | 1 << 30, self.pack(self.long, lost.count)
                page = struct.pack(self.order + "Q", begun) + self.pack(self.long, commit) + data + tail
                pages.append(page + bytes(self.page - len(page)))
            data, begun = b"", None

        for entry in entries:
            if entry.what in ("lost", "page"):
                close(missed)
                missed = entry if entry.what == "lost" else None
                continue
            event = self.event(entry, entry.ts - now) if begun is not None else b""
            room = (
                self.page - self.data - (self.long if missed else 0)
            )  # the number of lost events comes after the data
            if begun is None or len(data) + len(event) > room:
                if begun is not None:
                    close(missed)
                    missed = None
                begun = now = entry.ts
                event = self.event(entry, 0)
            late = entry.what == "discarded" and (
                entry.ts == now or entry.ts - now >= 1 << 27
            )  # a discarded event has a delta
            now = entry.ts + late
            data += event
        close(missed)
        return b"".join(pages)


@dataclass
class File:
    """What a trace.dat holds apart from the pages."""

    machine: Machine
    cpus: dict[int, bytes]  # pages
    tasks: str = "1 init\n2 kthreadd\n"
    kallsyms: str = ""
    clock: str = "[local] global counter"
    uname: str = "Linux myhost 6.12.1 x86_64"
    options: list[tuple[int, bytes]] = field(default_factory=list)
    formats: list[str] | None = None
    instance: str = ""  # the buffer's name; empty: the top-level one
    top: dict[int, bytes] = field(
        default_factory=dict
    )  # apart from those of an instance, pages of the top-level buffer (version 7)

    def n(self, size, value):
        return self.machine.pack(size, value)

    def sized(self, size, data):
        return self.n(size, len(data)) + data

    def head(self, version):
        machine = self.machine
        return b"\x17\x08\x44tracing" + version + b"\0" + bytes([machine.big, machine.long]) + self.n(4, machine.page)

    def sections(self):
        machine = self.machine
        formats = self.formats
        if formats is None:
            formats = [machine.format(name) for name in machine.ids]
        ftrace = [text for text in formats if text.startswith(("name: kernel_stack", "name: user_stack"))]
        kmem = [text for text in formats if text.startswith("name: mm_")]
        sched = [text for text in formats if text not in ftrace and text not in kmem]

        def texts(some):
            return self.n(4, len(some)) + b"".join(self.sized(8, text.encode()) for text in some)

        return {
            16: b"header_page\0" + self.sized(8, machine.header_page().encode()) + b"header_event\0" + self.sized(8, b"# compressed entry header\n"),
            17: texts(ftrace),
            18: self.n(4, 2) + b"kmem\0" + texts(kmem) + b"sched\0" + texts(sched),
            19: self.sized(4, self.kallsyms.encode()),
            20: self.n(4, 0),
            21: self.sized(8, self.tasks.encode()),
        }  # fmt: skip

    def said(self):
        return [
            (4, self.clock.encode() + b"\0"),
            (5, self.uname.encode() + b"\0"),
            (8, self.n(4, max(self.cpus, default=0) + 1)),
            *self.options,
        ]

    def version_6(self):
        cpus = range(max(self.cpus, default=0) + 1)
        head = self.head(b"6") + b"".join(self.sections().values()) + self.n(4, len(cpus)) + b"options  \0"
        head += b"".join(self.n(2, option) + self.sized(4, data) for option, data in self.said())

        def table(at):
            places = b""
            for cpu in cpus:
                pages = self.cpus.get(cpu, b"")
                places += self.n(8, at) + self.n(8, len(pages))
                at += len(pages)
            return b"flyrecord\0" + places

        length = 10 + 16 * len(cpus)
        if self.instance:
            option = self.n(8, len(head) + 6 + 8 + len(self.instance) + 1 + 2 + length) + self.instance.encode() + b"\0"
            head += self.n(2, 3) + self.sized(4, option) + self.n(2, 0) + b"flyrecord\0" + bytes(16 * len(cpus))
        else:
            head += self.n(2, 0)
        first = -(-(len(head) + length) // 4096) * 4096
        head += table(first)
        return head + bytes(first - len(head)) + b"".join(self.cpus.get(cpu, b"") for cpu in cpus)

    def version_7(self, compression="none", chunk_pages=2):
        packed = compression != "none"

        def squeeze(data):
            return zlib.compress(data) if compression == "zlib" else pa.compress(data, codec="zstd", asbytes=True)

        def section(number, data):
            if packed and number not in (0, 3):
                data = self.n(4, len(squeeze(data))) + self.n(4, len(data)) + squeeze(data)
            return (
                self.n(2, number) + self.n(2, int(packed and number != 0)) + self.n(4, 0) + self.n(8, len(data)) + data
            )

        out = bytearray(self.head(b"7") + compression.encode() + b"\0" + b"1\0")
        first_options = len(out)
        out += bytes(8)
        options = b""
        for number, data in self.sections().items():
            options += self.n(2, number) + self.sized(4, self.n(8, len(out)))
            out += section(number, data)
        options += b"".join(self.n(2, option) + self.sized(4, data) for option, data in self.said())

        def buffer(name, cpus):
            """Write a buffer's section; its option."""
            begin, places, body = len(out) + 16, b"", b""
            for cpu, pages in cpus.items():
                step = chunk_pages * self.machine.page
                chunks = [pages[at : at + step] for at in range(0, len(pages), step)]
                if packed:
                    stored = self.n(4, len(chunks)) + b"".join(
                        self.n(4, len(squeeze(chunk))) + self.n(4, len(chunk)) + squeeze(chunk) for chunk in chunks
                    )
                else:
                    stored = pages
                places += self.n(4, cpu) + self.n(8, begin + len(body)) + self.n(8, len(stored) - 4 * packed)
                body += stored
            start = len(out) if cpus else 0
            out.extend(section(3, body))
            option = self.n(8, start) + name.encode() + b"\0local\0" + self.n(4, self.machine.page)
            return self.n(2, 3) + self.sized(4, option + self.n(4, len(cpus)) + places)

        buffers = buffer("", self.top) if self.instance else b""
        buffers += buffer(self.instance, self.cpus)
        out[first_options : first_options + 8] = self.n(8, len(out))
        # a first section of options that leads to a second one, as trace-cmd writes them
        out += section(0, options + self.n(2, 0) + self.sized(4, self.n(8, len(out) + 16 + len(options) + 14)))
        out += section(0, buffers + self.n(2, 0) + self.sized(4, self.n(8, 0)))
        return bytes(out)

    def write(self, variant):
        """``6``, or ``7`` with a compression: ``7-zstd``."""
        return self.version_6() if variant == "6" else self.version_7(variant.partition("-")[2] or "none")
