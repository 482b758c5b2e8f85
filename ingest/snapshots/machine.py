"""What the files next to a trace say about the recorded machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_PAGE = 4096
RING_LOSSES = ("overrun", "commit overrun", "dropped events", "unwritten events")
"""Counts of lost events in ring_stats: the kernel's, and the recorder's own, for what a full disk did not take."""


@dataclass
class MachineFacts:
    """The recorded machine, in the order of the columns of table capture; None where no file says it."""

    kernel_release: str | None = None
    arch: str | None = None
    page_size: int = DEFAULT_PAGE
    cpus: int | None = None
    total_pages: int | None = None
    clock: str | None = None
    timing: str = "unknown"


def describe(
    files: Mapping[str, str], values: Mapping[tuple[str, str], int], cpus: int | None, comments: list[str]
) -> MachineFacts:
    """Collect what is known about the machine.

    Args:
        files: text of uname, cpuinfo, trace_clock, by name; missing files are left out.
        values: (source, name) to value of one moment's zoneinfo and meminfo.
        cpus: CPUs for which zoneinfo has a pageset; None where it has none.
        comments: comment lines of the trace itself (``perf script --header``, ftrace's ``#P:``).
    """
    text = "\n".join(comments)

    def said(pattern: str) -> str | None:
        match = re.search(pattern, text, re.MULTILINE)
        return match[1] if match else None

    machine = MachineFacts(timing=_timing(files.get("cpuinfo", ""), files.get("virtualization", "")))
    if match := re.match(
        r"Linux (?:\(none\)|\S+) (\S+) .* (\w+) \S+$|Linux (?:\(none\)|\S+) (\S+)", files.get("uname", "").strip()
    ):
        machine.kernel_release, machine.arch = match[1] or match[3], match[2]
    machine.kernel_release = machine.kernel_release or said(r"^# os ?release : (\S+)")
    machine.arch = machine.arch or said(r"^# arch : (\S+)")
    clock = re.search(r"\[(\w[\w-]*)\]", files.get("trace_clock", ""))
    machine.clock = clock[1] if clock else said(r"^# trace_clock : (\S+)") or said(r"^# clockid: (\w+)")
    machine.page_size = _page_size(machine.arch, values)
    machine.cpus = cpus or int(said(r"#P:(\d+)") or said(r"^# nrcpus online : (\d+)") or 0) or None
    present = [
        n for (source, name), n in values.items() if source == "zoneinfo" and re.search(r"zone \w+, present$", name)
    ]
    if present:
        machine.total_pages = sum(present)
    elif kib := values.get(("meminfo", "MemTotal")) or int(said(r"^# total memory : (\d+) kB") or 0):
        machine.total_pages = kib * 1024 // machine.page_size
    return machine


def _page_size(arch: str | None, values: Mapping[tuple[str, str], int]) -> int:
    """4K, except on arm64 by the size of huge pages: 2M, 32M and 512M belong to granules of 4K, 16K and 64K."""
    if arch == "aarch64":
        return {32768: 16384, 524288: 65536}.get(values.get(("meminfo", "Hugepagesize"), 0), DEFAULT_PAGE)
    return DEFAULT_PAGE


_RUNS_ON_THE_CPU = re.compile(r"\bkvm-clock\b|\bhyperv_clocksource|\bxen\b|^dmi: VMware", re.MULTILINE)
"""Clocks that a hypervisor offers to guests of hardware virtualisation only (QEMU: target/i386/kvm), and VMware."""


def _timing(cpuinfo: str, virtualization: str) -> str:
    """Emulated under QEMU's TCG; real without the flag hypervisor (x86), or virtualised by hardware; else unknown."""
    if "QEMU TCG" in cpuinfo:
        return "emulated"
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    if (flags and "hypervisor" not in flags[1].split()) or _RUNS_ON_THE_CPU.search(virtualization):
        return "real"
    return "unknown"


def midr(cpuinfo: str) -> list[tuple[str, int]]:
    """Rows (name, value) of each arm64 CPU's main ID register, put together from its fields in /proc/cpuinfo."""
    rows = []
    for text in cpuinfo.split("\n\n"):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
        try:
            implementer, variant, part, revision = (
                int(fields[f"CPU {name}"], 0) for name in ("implementer", "variant", "part", "revision")
            )
        except (KeyError, ValueError):
            continue
        rows.append(
            (f"cpu {fields.get('processor', '')}, midr", implementer << 24 | variant << 20 | part << 4 | revision)
        )
    return rows


def ring_losses(text: str) -> dict[int, int]:
    """Events lost by CPU (`RING_LOSSES`), from per_cpu/*/stats with ``== cpuN`` headings."""
    losses: dict[int, int] = {}
    cpu = 0
    for line in text.splitlines():
        if match := re.match(r"== *cpu(\d+)", line):
            cpu = int(match[1])
        elif match := re.match(rf"({'|'.join(RING_LOSSES)}): (\d+)", line):
            losses[cpu] = losses.get(cpu, 0) + int(match[2])
    return losses
