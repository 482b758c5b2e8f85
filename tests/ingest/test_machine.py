"""What the files next to a trace say about the machine."""

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
    assert (machine.clock, machine.timing) == ("local", "real")
    assert describe({"cpuinfo": "flags : fpu hypervisor\n"}, {}, None, []).timing == "unknown"
    text = "== cpu0\noverrun: 2\ndropped events: 1\n== cpu3\ncommit overrun: 4\n"
    assert ring_losses(Lines(text.splitlines())) == {0: 3, 3: 4}
