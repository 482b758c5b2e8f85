"""A folder that looks like / of a machine, with a tracefs in which instances can be made."""

import re
import shutil
from pathlib import Path

PAGE = bytes(range(256)) * 16
HEADER_PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""
ZONEINFO = """\
Node 0, zone    DMA32
  pages free     3
        spanned  32
        present  32
        managed  30
  start_pfn:           0
Node 0, zone  Movable
  pages free     0
        spanned  0
        present  0
        managed  0
Node 1, zone   Normal
  pages free     5
        spanned  64
        present  64
        managed  60
  start_pfn:           32
"""
STATS = "entries: 4\noverrun: {lost}\ncommit overrun: 0\nbytes: {bytes}\noldest event ts: 1.5\ndropped events: 0\nread events: 6\n"
SYMBOLS = """\
ffffffff81000000 T _stext
ffffffffc0000000 t kvm_mmu_alloc\t[kvm]
ffffffffc0100000 t bpf_prog_0123456789abcdef_secret\t[bpf]
ffffffffc0200000 t ftrace_trampoline\t[__builtin__ftrace]
"""
FILES = {
    "proc/buddyinfo": "Node 0, zone    DMA32      1      1\n",
    "proc/pagetypeinfo": "Page block order: 9\n",
    "proc/zoneinfo": ZONEINFO,
    "proc/vmstat": "nr_free_pages 8\n",
    "proc/meminfo": "MemTotal: 384 kB\nMemAvailable:    4194304 kB\n",
    "proc/iomem": "00000000-0005ffff : System RAM\n",
    "proc/cmdline": "root=UUID=1234\n",
    "proc/version": "Linux version 6.12 (alice@build)\n",
    "proc/swaps": "/home/alice/swap file 1 0 -2\n",
    "proc/modules": "kvm 1 0 - Live 0x0\n",
    "proc/cpuinfo": "processor : 0\nflags : fpu\n\nprocessor : 1\nflags : fpu\n\n",
    "proc/kallsyms": SYMBOLS,
    "proc/sys/kernel/ostype": "Linux\n",
    "proc/sys/kernel/hostname": "alices-laptop\n",
    "proc/sys/kernel/osrelease": "6.12.0\n",
    "proc/sys/kernel/version": "#1 SMP\n",
    "proc/sys/vm/swappiness": "60\n",
    "proc/1/stat": "1 (init) S 0 1 1 0 -1 4194560 1 0\n",
    "proc/2/stat": "2 (k thread) S 0 0 0 0 -1 2129984 0 0\n",
    "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc kvm-clock \n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/kernel/debug/kernel_page_tables": "---[ Linear mapping ]---\n",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "sys/kernel/tracing/saved_cmdlines": "1 init\n2 k thread\n77 alice's job\n78 <...>\n",
    "sys/kernel/tracing/events/header_page": HEADER_PAGE,
    "sys/kernel/tracing/events/header_event": "# compressed entry header\n",
    "sys/kernel/tracing/events/ftrace/kernel_stack/format": "name: kernel_stack\n",
    "sys/kernel/tracing/events/kmem/mm_page_alloc/format": "name: mm_page_alloc\n",
    "sys/kernel/tracing/events/kmem/mm_page_free/format": "name: mm_page_free\n",
}
INSTANCE = {
    "tracing_on": "1",
    "buffer_size_kb": "1410",
    "buffer_percent": "50",
    "trace_clock": "[local] global mono",
    "trace_options": "nostacktrace\n",
    "options/stacktrace": "0",
    "trace": "# tracer: nop\n  alice-77 [000] ..... 1.000001: permission_change: \n",
    "events/header_page": HEADER_PAGE,
    "events/kmem/mm_page_alloc/enable": "0",
    "events/kmem/mm_page_free/enable": "0",
    "per_cpu/cpu0/stats": STATS.format(lost=0, bytes=2 * len(PAGE) + 100),
    "per_cpu/cpu10/stats": STATS.format(lost=7, bytes=0),
}


class FakeMachine:
    """The machine, and what its instances were set to when they were removed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, dict[str, str]] = {}  # by instance, when it was removed
        self.instances = root / "sys/kernel/tracing/instances"
        self.instances.mkdir(parents=True)
        (root / "proc").mkdir()
        write(root, FILES)
        (root / "proc/kpageflags").write_bytes(bytes(8 * 96))

    def create(self, name: str) -> Path:
        instance = self.instances / name
        instance.mkdir()
        write(instance, INSTANCE | {f"events/{probe}/enable": "0" for probe in self.probes()})
        for cpu, pages in (("cpu0", 3), ("cpu10", 1)):
            (instance / "per_cpu" / cpu / "trace_pipe_raw").write_bytes(pages * PAGE)
        return instance

    def probes(self) -> list[str]:
        """Kernel probes, if this machine has them: what was ever defined."""
        file = self.root / "sys/kernel/tracing/kprobe_events"
        return re.findall(r"^p:(\S+)", file.read_text(), re.MULTILINE) if file.exists() else []

    def remove(self, name: str) -> None:
        instance = self.instances / name
        if not instance.exists():
            raise FileNotFoundError(name)
        files = [path for path in instance.rglob("*") if path.is_file() and path.name != "trace_pipe_raw"]
        self.settings[name] = {path.relative_to(instance).as_posix(): path.read_text() for path in files}
        shutil.rmtree(instance)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
