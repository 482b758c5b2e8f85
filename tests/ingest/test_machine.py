"""What the files next to a trace say about the machine."""

import pytest

from ingest.snapshots.architecture import in_uname
from ingest.snapshots.machine import describe, ring_losses
from ingest.snapshots.proc import Lines


def test_machine() -> None:
    files = {
        "uname": "Linux (none) 6.12.95+deb12-cloud-arm64 #1 SMP Debian 6.12.95-1 (2026-07-05) aarch64 GNU/Linux",
        "trace_clock": "[local] global mono\n",
        "cpuinfo": "flags\t\t: fpu vme sse\n",
    }
    machine = describe(files, {("meminfo", "Hugepagesize"): 524288, ("meminfo", "MemTotal"): 6400}, None, ["#P:8"])
    assert (machine.kernel_release, machine.arch) == ("6.12.95+deb12-cloud-arm64", "aarch64")
    assert (machine.page_size, machine.total_pages, machine.cpus) == (65536, 100, 8)
    assert (machine.clock, machine.platform, machine.timing) == ("local", "bare metal", "real")
    endless = {"uname": f"Linux host 6.{'7' * 5000} #1 SMP x86_64 GNU/Linux"}
    assert describe(endless, {}, None, ["# os release : 6.1"]).kernel_release == "6.1"
    text = "== cpu0\noverrun: 2\ndropped events: 1\n== cpu3\ncommit overrun: 4\n"
    assert ring_losses(Lines(text.splitlines())) == {0: 3, 3: 4}


GUEST = "model name : AMD EPYC\nflags : fpu hypervisor\n"


@pytest.mark.parametrize(
    ("cpuinfo", "virtualization", "platform", "timing"),
    [
        (GUEST, "clocks: tsc kvm-clock \n", "virtual machine", "real"),
        (GUEST, "clocks: hyperv_clocksource_tsc_page acpi_pm\n", "virtual machine", "real"),
        (GUEST, "hypervisor: xen\n", "virtual machine", "real"),
        (GUEST, "clocks: tsc acpi_pm\ndmi: VMware, Inc. VMware Virtual Platform\n", "virtual machine", "real"),
        (GUEST, "clocks: tsc acpi_pm\ncpuid: KVMKVMKVM\n", "virtual machine", "real"),
        (GUEST, "clocks: tsc acpi_pm\ncpuid: TCGTCGTCGTCG\n", "emulator", "emulated"),
        (
            GUEST,
            "clocks: tsc hpet acpi_pm\ndmi: QEMU Standard PC\n",
            None,
            "unknown",
        ),  # TCG whose CPU was named, or not
        (GUEST, "", None, "unknown"),
        ("flags : fpu tsc_known_freq hypervisor\n", "", "virtual machine", "real"),
        ("flags : fpu tsc_known_freq\n", "", "bare metal", "real"),
        ("model name : QEMU TCG CPU version 2.5+\nflags : fpu hypervisor\n", "", "emulator", "emulated"),
        ("Features : fp asimd\n", "emulator: QEMU TCG\n", "emulator", "emulated"),
        ("Features : fp asimd\n", "", None, "unknown"),
    ],
)
def test_what_the_kernel_ran_on(cpuinfo: str, virtualization: str, platform: str | None, timing: str) -> None:
    machine = describe({"cpuinfo": cpuinfo, "virtualization": virtualization}, {}, None, [])
    assert (machine.platform, machine.timing) == (platform, timing)


@pytest.mark.parametrize(
    ("text", "release", "machine"),
    [
        ("Linux (none) 6.12.95+deb12-amd64 #1 SMP Debian 6.12.95-1 (2026-07-05) x86_64 GNU/Linux", "6.12.95+deb12-amd64", "x86_64"),
        ("Linux centos7 3.10.0-1160.el7.x86_64 #1 SMP Mon Oct 19 x86_64 x86_64 x86_64 GNU/Linux", "3.10.0-1160.el7.x86_64", "x86_64"),
        ("Linux localhost 4.14.117-perf #1 SMP PREEMPT Tue Mar 3 12:00:00 CST 2020 aarch64", "4.14.117-perf", "aarch64"),
        ("Linux localhost 6.6.30-android15 #1 SMP Mon Jun  3 12:00:00 UTC 2024 aarch64 Toybox", "6.6.30-android15", "aarch64"),
        ("Linux pi 6.1.21-v7+ #1642 SMP Mon Apr  3 armv7l GNU/Linux", "6.1.21-v7+", "armv7l"),
        ("Linux t5240 6.10.0-sparc64-smp #1 SMP Debian sparc64 GNU/Linux", "6.10.0-sparc64-smp", "sparc64"),
        ("Linux 5.4.0 #1 SMP loongarch64", "5.4.0", "loongarch64"),
        ("Linux host 5.4.0", "5.4.0", None),
        ("6.1.0-rpi", "6.1.0-rpi", None),
        ("", None, None),
        ("garbage", None, None),
    ],
)  # fmt: skip
def test_uname(text: str, release: str | None, machine: str | None) -> None:
    assert in_uname(text) == (release, machine)


def zone(name: str, pages: int) -> dict[tuple[str, str], int]:
    return {("zoneinfo", f"Node 0, zone {name}, managed"): pages, ("zoneinfo", f"Node 0, zone {name}, present"): pages}


@pytest.mark.parametrize(
    ("machine", "values", "page_size"),
    [
        ("x86_64", {}, 4096),
        ("s390x", {}, 4096),
        ("sparc64", {("meminfo", "Hugepagesize"): 8192}, 8192),
        ("riscv64", {("meminfo", "MemTotal"): 1 << 20, **zone("Normal", 1 << 14)}, 4096),  # of another machine
        ("aarch64", {("meminfo", "MemTotal"): 1 << 20, **zone("Normal", 1 << 16)}, 16384),
        ("ppc64le", {("meminfo", "MemTotal"): 1 << 20, **zone("Normal", 1 << 14)}, 65536),
        ("ppc64le", {("meminfo", "MemTotal"): 1 << 20, **zone("Normal", 1 << 18)}, 4096),
        ("ppc64le", {("meminfo", "Hugepagesize"): 2048}, None),  # the same for 4K and 64K pages
        ("loongarch64", {("meminfo", "Hugepagesize"): 32768}, 16384),
        ("aarch64", {("meminfo", "Hugepagesize"): 2048}, 4096),
        ("aarch64", {("meminfo", "Hugepagesize"): 1 << 20}, None),  # default_hugepagesz=1G
        ("aarch64", {}, None),
        (None, {("meminfo", "MemTotal"): 1 << 20, **zone("Normal", 1 << 16)}, 16384),
        (None, {}, None),
        (
            "aarch64",  # counters move between the two files
            {
                ("meminfo", "MemFree"): 16000, ("vmstat", "nr_free_pages"): 1020, ("meminfo", "Mapped"): 3200,
                ("vmstat", "nr_mapped"): 200, ("meminfo", "Shmem"): 160, ("vmstat", "nr_shmem"): 40,
            },
            16384,
        ),
    ],
)  # fmt: skip
def test_page_size(machine: str | None, values: dict[tuple[str, str], int], page_size: int | None) -> None:
    uname = {"uname": f"Linux host 6.6.0 #1 {machine} GNU/Linux"} if machine else {}
    assert describe(uname, values, None, []).page_size == page_size


def test_the_trace_itself_may_hold_the_page_size_and_its_stacks_the_architecture() -> None:
    assert describe({"uname": "Linux h 6.6.0 #1 aarch64"}, {}, None, [], page_size=65536).page_size == 65536
    found = describe({}, {}, None, [], functions={"vfs_write", "do_syscall_64"})
    assert (found.arch, found.page_size) == ("x86_64", 4096)
    assert describe({}, {}, None, [], functions={"do_syscall_64", "el0_svc"}).arch is None
    assert describe({}, {}, None, [], functions={"vfs_write"}).arch is None


def test_memory_is_not_counted_in_pages_of_unknown_size() -> None:
    uname = {"uname": "Linux h 6.6.0 #1 aarch64"}
    assert describe(uname, {("meminfo", "MemTotal"): 8 << 20}, None, []).total_pages is None
    assert describe(uname, {("meminfo", "MemTotal"): 8 << 20}, None, [], page_size=16384).total_pages == 524288
