"""Writes perf.data files of any layout, by the letter of perf.data-file-format.txt and include/uapi/linux/perf_event.h.

Slow and obvious: every record is put together field by field. Nothing here is shared with the reader.
"""

import struct
import sys
from dataclasses import dataclass

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# enum perf_event_sample_format, by its position in the enum
BITS = {
    name: 1 << bit
    for bit, name in enumerate(
        [
            "IP",
            "TID",
            "TIME",
            "ADDR",
            "READ",
            "CALLCHAIN",
            "ID",
            "CPU",
            "PERIOD",
            "STREAM_ID",
            "RAW",
            "BRANCH_STACK",
            "REGS_USER",
            "STACK_USER",
            "WEIGHT",
            "DATA_SRC",
            "IDENTIFIER",
            "TRANSACTION",
            "REGS_INTR",
            "PHYS_ADDR",
            "AUX",
            "CGROUP",
            "DATA_PAGE_SIZE",
            "CODE_PAGE_SIZE",
            "WEIGHT_STRUCT",
        ]
    )
}
USUAL = ("IDENTIFIER", "IP", "TID", "TIME", "CPU", "PERIOD", "CALLCHAIN", "RAW")
ENABLED, RUNNING, READ_ID, GROUP, READ_LOST = 1, 2, 4, 8, 16
MMAP, LOST, COMM, EXIT, THROTTLE, FORK, SAMPLE, LOST_SAMPLES = 1, 2, 3, 4, 5, 7, 9, 13
ATTR, TRACING_DATA, ROUND, AUXTRACE, FEATURE, COMPRESSED, COMPRESSED2 = 64, 66, 68, 71, 80, 81, 83
CONTEXT_KERNEL, CONTEXT_USER = (1 << 64) - 128, (1 << 64) - 512

ALLOC, FREE, BATCHED, SWITCH = 493, 495, 494, 300  # numbers of events, in the order in which kernels give them
SYSTEMS = {ALLOC: "kmem", FREE: "kmem", BATCHED: "kmem", SWITCH: "sched"}
NAMES = {ALLOC: "mm_page_alloc", FREE: "mm_page_free", BATCHED: "mm_page_free_batched", SWITCH: "sched_switch"}
GFP = (
    '__print_flags(REC->gfp_flags, "|", {( unsigned long)(0xc0u), "GFP_IOFS"}, {( unsigned long)0x100u, "__GFP_ZERO"})'
)


@dataclass(frozen=True)
class Field:
    """A field of an event: C type, offset and size."""

    type: str
    offset: int
    size: int


USUAL_FIELDS = {  # as Linux 6.12 has them on x86-64; their offsets differ where a test says so
    ALLOC: {
        "pfn": Field("unsigned long", 8, 8),
        "order": Field("unsigned int", 16, 4),
        "gfp_flags": Field("unsigned long", 24, 8),
        "migratetype": Field("int", 32, 4),
    },
    FREE: {"pfn": Field("unsigned long", 8, 8), "order": Field("unsigned int", 16, 4)},
    BATCHED: {"pfn": Field("unsigned long", 8, 8)},
    SWITCH: {"prev_pid": Field("pid_t", 8, 4)},
}


@dataclass(frozen=True)
class Attribute:
    """An event that was opened."""

    sample_type: tuple[str, ...] = USUAL
    read_format: int = 0
    ids: tuple[int, ...] = ()
    type: int = 2  # a tracepoint
    sample_id_all: bool = True
    clockid: int | None = None
    config: int = 0  # number of the event
    registers: int = 0b101  # mask of those in REGS_USER and REGS_INTR
    hw_idx: bool = False  # BRANCH_STACK begins with it

    @property
    def bits(self) -> int:
        """Its sample_type."""
        return sum(BITS[name] for name in self.sample_type)


@dataclass(frozen=True)
class Sample:
    """What a sample says; fields of its layout that are not here get made-up values."""

    time: int
    cpu: int
    tid: int
    raw: bytes
    frames: tuple[int, ...] = ()  # as in the file, context markers included
    id: int = 0
    misc: int = 1  # PERF_RECORD_MISC_KERNEL
    period: int = 1


class Writer:
    """Puts a file of one byte order together.

    Args:
        order: ``<`` or ``>``.
        attributes: the events that were opened.
        fields: where the fields of events lie.
    """

    def __init__(self, order="<", attributes=(Attribute(ids=(7,)),), fields=USUAL_FIELDS):
        self.order, self.attributes, self.fields = order, list(attributes), fields
        self.records = []  # bytes of each

    def pack(self, form, *values):
        return struct.pack(self.order + form, *values)

    def record(self, kind, body, misc=0, size=None):
        self.records.append(self.pack("IHH", kind, misc, 8 + len(body) if size is None else size) + body)

    def raw(self, event, pad=True, **values):
        """Raw data of an event."""
        fields = {"common_type": Field("unsigned short", 0, 2), **self.fields[event]}
        data = bytearray(max(field.offset + field.size for field in fields.values()))
        for name, value in {"common_type": event, **values}.items():
            field = fields[name]
            number = value & ((1 << (8 * field.size)) - 1)
            data[field.offset : field.offset + field.size] = number.to_bytes(
                field.size, "little" if self.order == "<" else "big"
            )
        if pad:  # so that its length and it end on 8 bytes (kernel/events/core.c:perf_prepare_sample)
            data += bytes(-(len(data) + 4) % 8)
        return bytes(data)

    def sample(self, sample, attribute):
        """Add a sample in the layout of an attribute."""
        a, out, p = attribute, b"", self.pack
        parts = {
            "IDENTIFIER": p("Q", sample.id),
            "IP": p("Q", 0xFFFFFFFF81000000),
            "TID": p("Ii", 1000, sample.tid),
            "TIME": p("Q", sample.time & ((1 << 64) - 1)),
            "ADDR": p("Q", 5),
            "ID": p("Q", sample.id),
            "STREAM_ID": p("Q", sample.id + 100),
            "CPU": p("II", sample.cpu, 0),
            "PERIOD": p("Q", sample.period),
            "READ": self.read(a.read_format, sample.id),
            "CALLCHAIN": p("Q", len(sample.frames)) + p(f"{len(sample.frames)}Q", *sample.frames),
            "RAW": p("I", len(sample.raw)) + sample.raw,
            "BRANCH_STACK": p("Q", 1) + (p("Q", 3) if a.hw_idx else b"") + p("QQQ", 1, 2, 3),
            "REGS_USER": p("Q", 2) + p(f"{a.registers.bit_count()}Q", *range(a.registers.bit_count())),
            "STACK_USER": p("Q", 16) + bytes(16) + p("Q", 8),
            "WEIGHT": p("Q", 9),
            "WEIGHT_STRUCT": p("IHH", 9, 8, 7),
            "DATA_SRC": p("Q", 1),
            "TRANSACTION": p("Q", 1),
            "REGS_INTR": p("Q", 0),
            "PHYS_ADDR": p("Q", 1),
            "CGROUP": p("Q", 1),
            "DATA_PAGE_SIZE": p("Q", 4096),
            "CODE_PAGE_SIZE": p("Q", 4096),
            "AUX": p("Q", 8) + bytes(8),
        }
        for name, part in parts.items():  # the order of perf_output_sample
            if name in a.sample_type:
                out += part
        self.record(SAMPLE, out, sample.misc)

    def read(self, read_format, id_):
        """Counts of an event or of its group of two (perf_output_read_one, perf_output_read_group)."""
        times = [11] * bool(read_format & ENABLED) + [12] * bool(read_format & RUNNING)
        one = [1] + [id_] * bool(read_format & READ_ID) + [0] * bool(read_format & READ_LOST)
        words = [2, *times, *one, *one] if read_format & GROUP else [one[0], *times, *one[1:]]
        return self.pack(f"{len(words)}Q", *words)

    def side(self, kind, body, *, tid=0, time=0, cpu=0, id_=0, attribute=None, misc=0):
        """Add a record that is no sample, with what stands behind it."""
        a = attribute or self.attributes[0]
        parts = {
            "TID": self.pack("Ii", 1000, tid),
            "TIME": self.pack("Q", time),
            "ID": self.pack("Q", id_),
            "STREAM_ID": self.pack("Q", id_),
            "CPU": self.pack("II", cpu, 0),
            "IDENTIFIER": self.pack("Q", id_),
        }
        trailer = b"".join(part for name, part in parts.items() if name in a.sample_type) if a.sample_id_all else b""
        self.record(kind, body + trailer, misc)

    def comm(self, tid, name, **where):
        data = name.encode() + b"\0"
        self.side(COMM, self.pack("Ii", 1000, tid) + data + bytes(-len(data) % 8), tid=tid, **where)

    def fork(self, tid, parent, time=0, **where):
        self.side(FORK, self.pack("IIiiQ", 1000, 1000, tid, parent, time), tid=parent, time=time, **where)

    def lost(self, events, **where):
        self.side(LOST, self.pack("QQ", where.get("id_", 0), events), **where)

    def lost_samples(self, events, **where):
        self.side(LOST_SAMPLES, self.pack("Q", events), **where)

    def round(self):
        self.record(ROUND, b"")

    def kernel_map(self, symbol, address):
        name = f"[kernel.kallsyms]{symbol}\0".encode()
        body = self.pack("iiQQQ", -1, 0, 0, 1 << 40, address) + name + bytes(-len(name) % 8)
        self.side(MMAP, body, misc=1)

    def attr(self, a):
        """``struct perf_event_attr``, 136 bytes of it."""
        flags = bool(a.sample_id_all) << 18 | (a.clockid is not None) << 25
        low = flags.to_bytes(8, "little")
        if self.order == ">":
            low = bytes(int(f"{byte:08b}"[::-1], 2) for byte in low)
        return (
            self.pack("IIQQQQ", a.type, 136, a.config, 1, a.bits, a.read_format)
            + low
            + self.pack("IIQQQQIi", 0, 0, 0, 0, 0, a.registers, 0, a.clockid or 0)
            + self.pack("QIHH", a.registers, 0, 0, 0).ljust(40, b"\0")
        )

    def formats(self):
        """The format text of every event."""
        for number, fields in self.fields.items():
            lines = "".join(
                f"\tfield:{f.type} {name};\toffset:{f.offset};\tsize:{f.size};\tsigned:0;\n"
                for name, f in fields.items()
            )
            yield (
                SYSTEMS[number],
                f"name: {NAMES[number]}\nID: {number}\nformat:\n"
                f"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n{lines}\n"
                f'print fmt: "gfp_flags=%s", {GFP}\n',
            )

    def tracing_data(self):
        out = b"\x17\x08\x44tracing0.6\0" + (b"\1" if self.order == ">" else b"\0") + b"\x08" + self.pack("I", 4096)
        for name in ("header_page", "header_event"):
            out += name.encode() + b"\0" + self.pack("Q", 4) + b"page"
        out += self.pack("I", 1) + self.pack("Q", 5) + b"ID: 9"
        by_system = {}
        for system, text in self.formats():
            by_system.setdefault(system, []).append(text.encode())
        out += self.pack("I", len(by_system))
        for system, texts in by_system.items():
            out += system.encode() + b"\0" + self.pack("I", len(texts))
            out += b"".join(self.pack("Q", len(text)) + text for text in texts)
        return out + self.pack("IIQ", 0, 0, 0)  # kallsyms, printk formats, command lines

    def features(self):
        def text(words):
            return self.pack("I", 64) + words.encode().ljust(64, b"\0")

        return {
            1: self.tracing_data(),
            3: text("secret-host"),
            4: text("6.12.0-test"),
            6: text("x86_64"),
            7: self.pack("II", 8, 4),
            10: self.pack("Q", 1 << 20),
        }

    def file(self, *, finished=True):
        """The bytes of a file; unfinished: as perf leaves it when it is killed."""
        attributes, ids = b"", b""
        at = 104 + len(self.attributes) * (136 + 16)
        for a in self.attributes:
            attributes += self.attr(a) + self.pack("QQ", at + len(ids), 8 * len(a.ids))
            ids += self.pack(f"{len(a.ids)}Q", *a.ids)
        data = b"".join(self.records)
        start = at + len(ids)
        features = self.features()
        bitmap = sum(1 << number for number in features)
        words = [bitmap >> 64 * place & ((1 << 64) - 1) for place in range(4)]
        magic = 0x32454C4946524550  # PERFILE2 as a little-endian number
        header = self.pack("QQQQQQQQQ4Q", magic, 104, 152, 104, len(attributes), start, len(data), 0, 0, *words)
        if not finished:
            header = header[:48] + bytes(8) + header[56:]
            return header + attributes + ids + data
        table, sections, at = b"", b"", start + len(data) + 16 * len(features)
        for number in sorted(features):
            table += self.pack("QQ", at + len(sections), len(features[number]))
            sections += features[number]
        return header + attributes + ids + data + table + sections

    def pipe(self):
        """The bytes that go into a pipe."""
        records, self.records = self.records, []
        for a in self.attributes:
            self.record(ATTR, self.attr(a) + self.pack(f"{len(a.ids)}Q", *a.ids))
        for number, data in self.features().items():
            if number != 1:
                self.record(FEATURE, self.pack("Q", number) + data + bytes(-len(data) % 8))
        data = self.tracing_data()
        data += bytes(-len(data) % 8)
        self.record(TRACING_DATA, self.pack("II", len(data), 0))
        first = b"".join(self.records) + data
        self.records = records
        return self.pack("QQ", 0x32454C4946524550, 16) + first + b"".join(records)

    def compress(self, cuts, kind=COMPRESSED):
        """Put the records up to now into compressed ones: one stream, cut where `cuts` says (bytes)."""
        data, self.records = b"".join(self.records), []
        stream = zstd.ZstdCompressor()
        for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True):
            packed = stream.compress(data[first:last], zstd.ZstdCompressor.FLUSH_BLOCK)
            if kind == COMPRESSED2:
                packed = self.pack("Q", len(packed)) + packed + bytes(-len(packed) % 8)
            self.record(kind, packed)
