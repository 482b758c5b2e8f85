"""What the files next to a trace say about the machine."""

from ingest.snapshots.machine import describe, ring_losses


def test_machine() -> None:
    files = {
        "uname": "Linux (none) 6.12.95+deb12-cloud-arm64 #1 SMP Debian 6.12.95-1 (2026-07-05) aarch64 GNU/Linux",
        "trace_clock": "[local] global mono\n",
        "cpuinfo": "flags\t\t: fpu vme sse\n",
    }
    machine = describe(files, {("meminfo", "Hugepagesize"): 524288, ("meminfo", "MemTotal"): 6400}, None, ["#P:8"])
    assert (machine.kernel_release, machine.arch) == ("6.12.95+deb12-cloud-arm64", "aarch64")
    assert (machine.page_size, machine.total_pages, machine.cpus) == (65536, 100, 8)
    assert (machine.clock, machine.timing) == ("local", "real")
    assert describe({"cpuinfo": "flags : fpu hypervisor\n"}, {}, None, []).timing == "unknown"
    for virtualization, timing in (
        ("clocks: tsc kvm-clock \n", "real"),
        ("clocks: hyperv_clocksource_tsc_page acpi_pm\n", "real"),
        ("hypervisor: xen\n", "real"),
        ("clocks: tsc acpi_pm\ndmi: VMware, Inc. VMware Virtual Platform\n", "real"),
        ("clocks: tsc hpet acpi_pm\ndmi: QEMU Standard PC\n", "unknown"),  # of TCG with the CPU's name set
        ("", "unknown"),
    ):
        files = {"cpuinfo": "flags : fpu hypervisor\n", "virtualization": virtualization}
        assert describe(files, {}, None, []).timing == timing, virtualization
    emulated = {"cpuinfo": "model name : QEMU TCG CPU version 2.5+\nflags : fpu hypervisor\n"}
    assert describe(emulated, {}, None, []).timing == "emulated"
    assert ring_losses("== cpu0\noverrun: 2\ndropped events: 1\n== cpu3\ncommit overrun: 4\n") == {0: 3, 3: 4}
