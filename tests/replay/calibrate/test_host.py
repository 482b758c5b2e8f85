"""What is read of the machine: its CPU, its memory, whether it is a virtual one."""

import pytest

from replay.calibrate import host


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"proc/cpuinfo": "flags\t\t: fpu hypervisor\n"}, "the CPU's flag hypervisor"),
        ({"proc/cpuinfo": "flags\t\t: fpu hypervisors\n"}, ""),
        ({"sys/hypervisor/type": "xen\n"}, "/sys/hypervisor/type: xen"),
        (
            {"proc/device-tree/hypervisor/compatible": "linux,kvm\0"},
            "/proc/device-tree/hypervisor/compatible: linux,kvm",
        ),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n", "sys/class/dmi/id/product_name": "KVM\n"}, "DMI: QEMU KVM"),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m7g.metal\n"}, ""),
        ({"sys/class/dmi/id/sys_vendor": "Microsoft Corporation", "sys/class/dmi/id/product_name": "Surface"}, ""),
        ({"sys/class/dmi/id/sys_vendor": "Dell Inc."}, ""),
        ({}, ""),
    ],
)
def test_virtual_machines_are_noticed(files, said, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert host.virtual(tmp_path) == said


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        ({}, 0),
        ({"proc/meminfo": "MemFree: 1 kB\nMemAvailable: 8192 kB\n"}, 8),
        ({"proc/self/cgroup": "1:x:/y\n0::/box\n", "sys/fs/cgroup/box/memory.max": "max\n"}, 8),
        ({"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/memory.max": f"{5 << 20}\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{1 << 20}\n"}, 8),
    ],
)
def test_a_container_has_less_memory_than_its_machine(files, mib, tmp_path):
    if files:
        files = {"proc/meminfo": "MemAvailable: 8192 kB\n", "sys/fs/cgroup/box/memory.current": f"{2 << 20}\n"} | files
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert host.available_bytes(tmp_path) == mib << 20


def test_a_cpu_has_a_name():
    assert host.cpu_model("processor: 0\nmodel name\t: Toy\nmodel : 7\nstepping: 2\n\nmodel name: Toy\nmodel: 7\n") == (
        "Toy (model 7, stepping 2)"
    )
    assert host.cpu_model("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n") == "0xd40 (CPU implementer 0x41)"
    assert host.cpu_model("") == "unknown"
