"""Facts about this machine, among them whether it is a virtual one, whose memory is translated twice."""

import os
import platform
from pathlib import Path

_VENDORS = (
    "QEMU", "KVM", "VMware", "VirtualBox", "innotek", "Xen", "Microsoft Corporation", "Amazon EC2", "Google", "Bochs",
    "Parallels", "Nutanix", "OpenStack", "Alibaba", "DigitalOcean", "Hetzner",
)  # fmt: skip
"""How the vendor in the DMI tables of a virtual machine begins; bare-metal clouds say so in the product name."""


_OPTIONS = (
    "mitigations=", "nopti", "pti=", "nokpti", "kpti=", "hugepages", "default_hugepagesz", "transparent_hugepage=",
    "rodata=", "nogbpages", "secretmem", "debug_pagealloc", "page_poison", "init_on", "nested",
)  # fmt: skip
"""Boot options that influence the measurement; no others are recorded."""


def described(root: Path = Path("/")) -> dict[str, str | int]:
    """Facts without which the numbers mean nothing.

    Args:
        root: where /proc and /sys are.
    """
    cpuinfo = _text(root / "proc/cpuinfo")
    thp = root / "sys/kernel/mm/transparent_hugepage"
    memory = next((line.split()[1] for line in _text(root / "proc/meminfo").splitlines() if "MemTotal" in line), "0")
    facts: dict[str, str | int] = {
        "cpu": cpu_model(cpuinfo),
        "cpus": os.cpu_count() or 1,
        "memory_bytes": int(memory) << 10,
        "arch": platform.machine(),
        "kernel": platform.release(),
        "boot_options": " ".join(
            option for option in _text(root / "proc/cmdline").split() if option.startswith(_OPTIONS)
        ),
        "thp_enabled": _chosen(thp / "enabled"),
        "thp_defrag": _chosen(thp / "defrag"),
        "governor": _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip(),
        "virtual": virtual(root),
        "load_average": _text(root / "proc/loadavg").partition(" ")[0],
    }
    return {name: value for name, value in facts.items() if value != ""}


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that a new workload can use without swapping, and within the limit of its container."""
    lines = _text(root / "proc/meminfo").splitlines()
    available = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 0)
    group = _text(root / "proc/self/cgroup").rpartition("0::")[2].partition("\n")[0].strip("/")
    folder = root / "sys/fs/cgroup" / group
    limit, used = _text(folder / "memory.max").strip(), _text(folder / "memory.current").strip()
    return min(available, max(int(limit) - int(used), 0)) if limit.isdigit() and used.isdigit() else available


def virtual(root: Path = Path("/")) -> str:
    """How one can see that this is a virtual machine; empty: there is no sign of it."""
    flags = next((line for line in _text(root / "proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    said = ["the CPU's flag hypervisor"] if "hypervisor" in flags.split() else []
    files = ("sys/hypervisor/type", "proc/device-tree/hypervisor/compatible")
    said += [f"/{path}: {kind}" for path in files if (kind := _text(root / path).strip("\0\n "))]
    dmi = root / "sys/class/dmi/id"
    vendor, product = _text(dmi / "sys_vendor").strip(), _text(dmi / "product_name").strip()
    is_cloud_metal = "metal" in product.lower()
    is_pc = vendor == "Microsoft Corporation" and product != "Virtual Machine"
    if vendor.startswith(_VENDORS) and not is_cloud_metal and not is_pc:
        said.append(f"DMI: {vendor} {product}".strip())
    return "; ".join(said)


def cpu_model(cpuinfo: str) -> str:
    """The name of the CPU, or on arm64 the numbers that identify it."""
    lines = [line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in reversed(lines)}
    for first, others in (("model name", ("cpu family", "model", "stepping")),
                          ("CPU part", ("CPU implementer", "CPU variant", "CPU revision"))):  # fmt: skip
        if first in fields:
            return f"{fields[first]} ({', '.join(f'{name} {fields[name]}' for name in others if name in fields)})"
    return "unknown"


def _chosen(path: Path) -> str:
    """The chosen word, in brackets, of a file that lists all choices."""
    return _text(path).partition("[")[2].partition("]")[0]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
