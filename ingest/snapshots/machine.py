"""What the files next to a trace say about the recorded machine."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median

from ingest.snapshots.architecture import Architecture, architecture_of, by_entry, in_uname
from ingest.snapshots.proc import Lines
from ingest.trace import MAX_CPUS, PAGE_SIZES

RING_LOSSES = ("overrun", "commit overrun", "dropped events", "unwritten events")
"""Counts of lost events in ring_stats: the kernel's, and the recorder's own, for what a full disk did not take."""

_LONGEST_RELEASE = 64  # __NEW_UTS_LEN (include/uapi/linux/utsname.h)
_IN_BOTH = {
    "nr_free_pages": "MemFree",
    "nr_anon_pages": "AnonPages",
    "nr_mapped": "Mapped",
    "nr_shmem": "Shmem",
    "nr_page_table_pages": "PageTables",
    "nr_active_anon": "Active(anon)",
    "nr_active_file": "Active(file)",
    "nr_inactive_file": "Inactive(file)",
}
"""What vmstat counts in pages and meminfo in kB (fs/proc/meminfo.c, 6.18)."""


@dataclass
class MachineFacts:
    """The recorded machine, in the order of the columns of table capture; None where no file says it."""

    kernel_release: str | None = None
    arch: str | None = None
    page_size: int | None = None
    max_order: int | None = None
    pageblock_order: int | None = None
    cpus: int | None = None
    total_pages: int | None = None
    clock: str | None = None
    platform: str | None = None
    timing: str = "unknown"


Values = Mapping[tuple[str, str], int]
"""(source, name) to value of one moment's zoneinfo, vmstat and meminfo."""


def identify(files: Mapping[str, str], comments: list[str]) -> MachineFacts:
    """Release and architecture: by uname, or by the comment lines of the trace."""
    machine = MachineFacts()
    release, machine.arch = in_uname(files.get("uname", ""))
    said = (release, _said(r"^# os ?release : (\S+)", comments))
    machine.kernel_release = next((text for text in said if text and len(text) <= _LONGEST_RELEASE), None)
    machine.arch = machine.arch or _said(r"^# arch : (\S+)", comments)
    return machine


def describe(
    files: Mapping[str, str],
    values: Values,
    cpus: int | None,
    comments: list[str],
    *,
    page_size: int | None = None,
    functions: Collection[str] = (),
) -> MachineFacts:
    """Collect what is known about the machine.

    Args:
        files: text of uname, cpuinfo, trace_clock, by name; missing files are left out.
        values: the numbers of its snapshots.
        cpus: CPUs for which zoneinfo has a pageset; None where it has none.
        comments: comment lines of the trace itself (``perf script --header``, ftrace's ``#P:``).
        page_size: bytes, as the trace itself says it; None: it does not.
        functions: in the stacks of the trace.
    """
    machine = identify(files, comments)
    machine.arch = machine.arch or by_entry(functions)
    cpu = files.get("cpuinfo") or _said(r"^# cpudesc : (.*)$", comments) or ""
    machine.platform = _platform(cpu, files.get("virtualization", ""))
    machine.timing = _TIMING.get(machine.platform, "unknown")
    clock = re.search(r"\[(\w[\w-]*)\]", files.get("trace_clock", ""))
    machine.clock = (
        clock[1] if clock else _said(r"^# trace_clock : (\S+)", comments) or _said(r"^# clockid: (\w+)", comments)
    )
    machine.page_size = page_size or _page_size(architecture_of(machine.arch), values)
    said = _said(r"#P:(\d{1,4})\b", comments) or _said(r"^# nrcpus online : (\d{1,4})$", comments)
    machine.cpus = cpus or int(said or 0) or None
    if present := _in_zones(values, "present"):
        machine.total_pages = present
    elif machine.page_size:
        kib = values.get(("meminfo", "MemTotal")) or int(_said(r"^# total memory : (\d{1,18}) kB", comments) or 0)
        machine.total_pages = kib * 1024 // machine.page_size or None
    return machine


def _said(pattern: str, comments: list[str]) -> str | None:
    match = re.search(pattern, "\n".join(comments), re.MULTILINE)
    return match[1] if match else None


def _in_zones(values: Values, what: str) -> int:
    """Pages of all zones."""
    named = re.compile(rf"zone \w+, {what}$")
    return sum(n for (source, name), n in values.items() if source == "zoneinfo" and named.search(name))


def _page_size(known: Architecture | None, values: Values) -> int | None:
    """Bytes, by the first that says it; None: nothing does.

    The architecture, if it has one size only; MemTotal, which is all managed pages (mm/show_mem.c:si_meminfo(), 6.18);
    what meminfo has in kB and vmstat in pages; the default huge page, where that is what a PMD maps.
    """
    sizes = known.pages if known else ()
    if len(sizes) == 1:
        return sizes[0]
    kib = {name: n for (source, name), n in values.items() if source == "meminfo"}
    pages = {name: n for (source, name), n in values.items() if source == "vmstat"}
    total, managed = kib.get("MemTotal", 0), _in_zones(values, "managed")
    pairs = [(kib.get(name, 0), pages.get(counter, 0)) for counter, name in _IN_BOTH.items()]
    each = [math.log2(n * 1024 / count) for n, count in pairs if n > 0 and count > 0]
    found: list[float] = []
    if total > 0 and managed > 0:
        found.append(math.log2(total * 1024 / managed))
    if len(each) > 2:
        found.append(median(each))
    if known and known.huge and (huge := kib.get("Hugepagesize", 0)) > 0:
        found.append(math.log2(huge * 1024 * 8) / 2)
    for shift in found:
        size = 1 << min(round(shift), 62) if shift > 0 and abs(shift - round(shift)) < 0.15 else 0
        if size in (sizes or PAGE_SIZES):
            return size
    return None


_TIMING: Mapping[str | None, str] = {"bare metal": "real", "virtual machine": "real", "emulator": "emulated"}
_EMULATOR = re.compile(r"QEMU TCG|^cpuid: TCGTCGTCGTCG", re.MULTILINE)
"""QEMU without an accelerator, by the CPU's name or the hypervisor's (CPUID leaf 0x40000000, target/i386/cpu.c)."""

_HYPERVISOR = re.compile(
    r"\bkvm-clock\b|\bhyperv_clocksource|\bxen\b|^dmi: VMware"
    r"|^cpuid: (?:KVMKVMKVM|Microsoft Hv|VMwareVMware|XenVMMXenVMM|bhyve bhyve |ACRNACRNACRN)",
    re.MULTILINE,
)
"""Clocks and names that only hypervisors have whose guests run on the CPU itself (QEMU: target/i386/kvm)."""


def _platform(cpuinfo: str, virtualization: str) -> str | None:
    """What the kernel ran on: bare metal, virtual machine or emulator; None: no file says it.

    tsc_known_freq: x86 kernels have the TSC's frequency from the CPU or from their hypervisor (setup_force_cpu_cap() in
    kvmclock.c, cpu/mshyperv.c, cpu/vmware.c and xen/time.c of arch/x86, 6.18); the CPUs of QEMU's TCG do not say it.
    """
    if _EMULATOR.search(cpuinfo) or _EMULATOR.search(virtualization):
        return "emulator"
    found = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    flags = found[1].split() if found else []
    if flags and "hypervisor" not in flags:
        return "bare metal"
    return "virtual machine" if "tsc_known_freq" in flags or _HYPERVISOR.search(virtualization) else None


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
        if not all(0 <= n < most for n, most in ((implementer, 256), (variant, 16), (part, 4096), (revision, 16))):
            continue
        rows.append(
            (f"cpu {fields.get('processor', '')}, midr", implementer << 24 | variant << 20 | part << 4 | revision)
        )
    return rows


_MOST_LOST = 1 << 40  # events; a larger count is damage


def ring_losses(lines: Lines) -> dict[int, int]:
    """Events lost by CPU (`RING_LOSSES`), from per_cpu/*/stats with ``== cpuN`` headings.

    Raises:
        MalformedError: a count is larger than any that a machine reaches.
    """
    losses: dict[int, int] = {}
    cpu = 0
    for line in lines:
        if match := re.match(r"== *cpu(\d+)", line):
            cpu = lines.count(match[1], MAX_CPUS)
        elif match := re.match(rf"({'|'.join(RING_LOSSES)}): (\d+)", line):
            losses[cpu] = losses.get(cpu, 0) + lines.count(match[2], _MOST_LOST)
    return losses
