"""Copies of /proc and /sys: snapshots before and after a recording, and files that describe the machine."""

import mmap
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingest.bundle import SNAPSHOTS
from ingest.recorder.free_lists.errors import UnreadableError
from ingest.recorder.free_lists.snapshot import FreeLists, Snapshot
from ingest.snapshots.proc import Lines, MalformedError, memory_end, read_text, zoneinfo

KPAGEFLAGS = "kpageflags.u64le.zst"
FREE_LISTS = "free_lists.zst"
MACHINE = {
    "iomem": "proc/iomem",
    "cmdline": "proc/cmdline",
    "version": "proc/version",
    "swaps": "proc/swaps",
    "modules": "proc/modules",
    "thp_enabled": "sys/kernel/mm/transparent_hugepage/enabled",
}
PERSONAL = ("cmdline", "version", "swaps")  # names of hosts, users and paths: left out by --redact

_PAGE_TABLES = ("sys/kernel/debug/page_tables/kernel", "sys/kernel/debug/kernel_page_tables")  # CONFIG_PTDUMP_DEBUGFS
_STEP = 4 << 20
_USERS_SYMBOL = re.compile(rb"([0-9a-f]+ \w )\S+\s+\[(bpf|__builtin__\w+)\]$")


class PageFlags:
    """Memory for /proc/kpageflags, allocated before the recording: reading it then allocates nothing."""

    def __init__(self, root: Path) -> None:
        self._path = root / "proc/kpageflags"
        pages = _highest_page(root)
        populate = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
        self._room = mmap.mmap(-1, 8 * pages, populate) if pages else None
        self._bytes = 0

    def read(self) -> None:
        """Read the file.

        Raises:
            OSError: it cannot be read.
        """
        if self._room is None:
            return
        with self._path.open("rb", buffering=0) as source, memoryview(self._room) as view:
            while got := source.readinto(view[self._bytes : self._bytes + _STEP]):
                self._bytes += got

    def write(self, path: Path) -> None:
        """Write what was read, compressed, and release the memory."""
        if self._room is None:
            return
        if self._bytes:
            write_zst(path, memoryview(self._room)[: self._bytes])
        self._room = None


@dataclass
class Moment:
    """The snapshots of one moment, kept in memory until recording has stopped."""

    root: Path
    free_lists: FreeLists
    files: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._flags = PageFlags(self.root)
        self._lists: Snapshot | None = None

    def take(self, *, flags_first: bool) -> None:
        """Read everything. The free lists decide where a replay starts: they are read nearest to the recording.

        Page flags take longest (0.3 s for 24 GiB), so they are read farthest from it.
        """
        steps = [self._take_flags, self._take_files, self._take_lists]
        for step in steps if flags_first else reversed(steps):
            step()

    def _take_files(self) -> None:
        for name in SNAPSHOTS:
            try:
                self.files[name] = (self.root / "proc" / name).read_bytes()
            except OSError:
                self.missing.append(name)
        for path in _PAGE_TABLES:  # few kernels have one
            with suppress(OSError):
                self.files["page_tables"] = (self.root / path).read_bytes()

    def _take_lists(self) -> None:
        try:
            self._lists = self.free_lists.read()
        except UnreadableError:
            self.missing.append("free_lists")

    def _take_flags(self) -> None:
        try:
            self._flags.read()
        except OSError:
            self.missing.append("kpageflags")

    def write(self, folder: Path) -> None:
        """Write them all into a new folder."""
        folder.mkdir()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        self._flags.write(folder / KPAGEFLAGS)
        if self._lists is not None:
            write_zst(folder / FREE_LISTS, self._lists.reading.rows.tobytes())
            (folder / "free_lists.json").write_bytes(self._lists.json())


def write_machine(root: Path, folder: Path, *, redact: bool) -> list[str]:
    """Write the files that describe the machine; returns the names of those that cannot be read."""
    missing = []
    kernel = root / "proc/sys/kernel"
    for name, source in MACHINE.items():
        if redact and name in PERSONAL:
            continue
        try:
            (folder / name).write_bytes((root / source).read_bytes())
        except OSError:
            missing.append(name)
    try:
        words = {name: (kernel / name).read_text().strip() for name in ("ostype", "hostname", "osrelease", "version")}
        words["hostname"] = "host" if redact else words["hostname"]
        (folder / "uname").write_text(" ".join([*words.values(), os.uname().machine, "GNU/Linux"]) + "\n")
    except OSError:
        missing.append("uname")
    try:
        first, _, _ = (root / "proc/cpuinfo").read_text().partition("\n\n")  # all CPUs are alike
        (folder / "cpuinfo").write_text(first + "\n")
    except OSError:
        missing.append("cpuinfo")
    (folder / "virtualization").write_text("".join(_virtualization(root)))
    (folder / "sysctl_vm").write_text("".join(_sysctls(root)))
    try:
        write_zst(folder / "kallsyms.zst", b"".join(_symbols(root, redact=redact)))
    except OSError:
        missing.append("kallsyms")
    return missing


def kernel_threads(root: Path) -> set[int]:
    """Pids of kernel threads alive: PF_KTHREAD (include/linux/sched.h) in the flags of /proc/PID/stat."""
    pids = {0}
    for path in (root / "proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 6 and int(fields[6]) & 0x00200000:
            pids.add(int(path.parent.name))
    return pids


def available_memory(root: Path) -> int:
    """Bytes of MemAvailable; 0 where /proc/meminfo has none."""
    match = re.search(r"^MemAvailable: +(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) << 10 if match else 0


def write_zst(path: Path, data: bytes | memoryview) -> None:
    """Write a file compressed with zstd."""
    import pyarrow as pa

    with path.open("wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        stream.write(data)


_VIRTUALIZATION = {
    "clocks": ("sys/devices/system/clocksource/clocksource0/available_clocksource",),
    "hypervisor": ("sys/hypervisor/type", "proc/device-tree/hypervisor/compatible"),
    "dmi": ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"),
}


def _virtualization(root: Path) -> Iterator[str]:
    """Lines that tell a machine virtualised by hardware from an emulated one, as far as files say it."""
    for name, paths in _VIRTUALIZATION.items():
        words = []
        for path in paths:
            with suppress(OSError):
                words.append((root / path).read_text(errors="replace").strip("\0\n "))
        if words:
            yield f"{name}: {' '.join(words)}\n"
    if signature := _hypervisor(root):
        yield f"cpuid: {signature}\n"


def _hypervisor(root: Path) -> str:
    """The hypervisor's own name, CPUID leaf 0x40000000, from the driver cpuid of x86; empty: it cannot be asked."""
    try:
        with (root / "dev/cpu/0/cpuid").open("rb", buffering=0) as file:
            file.seek(0x40000000)
            _, name = struct.unpack("<I12s", file.read(16))
    except (OSError, struct.error):
        return ""
    text = name.rstrip(b"\0").decode("latin-1")
    return text if text.isascii() and text.isprintable() else ""


def _sysctls(root: Path) -> Iterator[str]:
    for path in sorted((root / "proc/sys/vm").glob("*")):
        if path.name == "stat_refresh":  # reading it triggers an update
            continue
        try:
            yield f"/proc/sys/vm/{path.name}:{path.read_text().strip()}\n"
        except OSError:  # some may only be written
            continue


def _symbols(root: Path, *, redact: bool) -> Iterator[bytes]:
    """Lines of kallsyms; redacted, BPF programs and trampolines, which users name, are named after their kind."""
    with (root / "proc/kallsyms").open("rb") as file:
        for line in file:
            if redact and (match := _USERS_SYMBOL.match(line)):
                yield b"%s%s\t[%s]\n" % (match[1], match[2], match[2])
            else:
                yield line


def _highest_page(root: Path) -> int:
    """The page after the last one of any zone; 0 where no file says it."""
    try:
        values, _ = zoneinfo(Lines(read_text(root / "proc/zoneinfo")))
    except (OSError, MalformedError):
        return 0
    return memory_end(dict(values)) or 0
