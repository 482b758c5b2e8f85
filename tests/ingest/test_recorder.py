"""Recording a bundle: on a folder that looks like a machine."""

import json
import os
import signal
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_machine import INSTANCE, PAGE, STATS, FakeMachine

from ingest.recorder.perf import _Progress
from ingest.recorder.plan import Plan
from ingest.recorder.recording import record
from ingest.recorder.redact import Pseudonyms, redact_perf_script
from ingest.recorder.tracefs import Tracefs
from ingest.snapshots.machine import ring_losses
from ingest.snapshots.proc import Lines
from ptpool.cli import run
from ptpool.errors import UsageError


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever happens, signals do again what they did before."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


def unpacked(path: Path) -> bytes:
    with pa.CompressedInputStream(pa.PythonFile(path.open("rb")), "zstd") as stream:
        return bytes(stream.read())


def name_itself(root: Path, hypervisor: bytes) -> None:
    """Answer CPUID leaf 0x40000000 with a name of 12 bytes, as the driver cpuid does (arch/x86/kernel/cpuid.c)."""
    path = root / "dev/cpu/0/cpuid"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.seek(0x40000000)
        file.write(struct.pack("<I12s", 0x40000001, hypervisor))


def test_a_bundle_holds_everything_and_nothing_stays_in_tracefs(machine: FakeMachine, tmp_path: Path) -> None:
    out = tmp_path / "out" / "bundle"
    name_itself(machine.root, b"KVMKVMKVM\0\0\0")
    done = record(Plan(out, ["sh", "-c", "exit 3"], buffer=1 << 20), root=machine.root, quiet=True)

    assert (done.backend, done.ended_by, done.exit_status, done.missing) == ("tracefs", "command", 3, [])
    assert (done.bytes, done.events, done.lost_events, done.lost_by_cpu) == (4 * len(PAGE), 10, 7, {"10": 7})
    assert json.loads((out / "recording.json").read_text())["command"] == ["sh", "-c", "exit 3"]
    assert (out / "per_cpu/cpu0/trace_pipe_raw").read_bytes() == 3 * PAGE
    assert (out / "per_cpu/cpu10/trace_pipe_raw").read_bytes() == PAGE
    assert (out / "events/kmem/mm_page_free/format").read_text() == "name: mm_page_free\n"
    assert "== cpu10\nentries: 4\noverrun: 7\n" in (out / "ring_stats").read_text()
    assert (out / "saved_cmdlines").read_text() == "1 init\n2 k thread\n77 alice's job\n"
    assert (out / "uname").read_text() == f"Linux alices-laptop 6.12.0 #1 SMP {os.uname().machine} GNU/Linux\n"
    assert (out / "cpuinfo").read_text() == "processor : 0\nflags : fpu\n"
    assert (out / "virtualization").read_text() == "clocks: tsc kvm-clock\ncpuid: KVMKVMKVM\n"
    assert (out / "sysctl_vm").read_text() == "/proc/sys/vm/swappiness:60\n"
    for moment in ("before", "after"):
        assert (out / moment / "buddyinfo").read_text().startswith("Node 0, zone    DMA32")
        assert (out / moment / "page_tables").read_text() == "---[ Linear mapping ]---\n"
        assert unpacked(out / moment / "kpageflags.u64le.zst") == bytes(8 * 96)
        blocks = struct.iter_unpack("<4I", unpacked(out / moment / "free_lists.zst"))
        assert list(blocks) == [(9, 0, 1, 0), (4, 0, 1, 0), (0, 9, 0, 0xFFFF)]
        assert [zone["name"] for zone in json.loads((out / moment / "free_lists.json").read_text())["zones"]] == [
            "DMA32",
            "Normal",
        ]
    assert list(machine.instances.iterdir()) == []
    assert list(out.parent.iterdir()) == [out]


def test_what_an_instance_is_set_to(machine: FakeMachine, tmp_path: Path) -> None:
    record(Plan(tmp_path / "bundle", ["true"], buffer=4 << 20), root=machine.root, quiet=True)
    settings = machine.settings[f"ptpool-{os.getpid()}"]
    assert {name: text for name, text in settings.items() if "stats" not in name and "header" not in name} == {
        "tracing_on": "0",
        "buffer_size_kb": "4096",
        "buffer_percent": "10",
        "trace_clock": "mono",
        "trace_options": "nostacktrace\n",
        "options/stacktrace": "1",
        "trace": INSTANCE["trace"],
        "events/kmem/mm_page_alloc/enable": "1",
        "events/kmem/mm_page_free/enable": "1",
    }


def test_redacted_files_tell_nothing_about_people(machine: FakeMachine, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    record(Plan(out, ["sh", "-c", ": alice"], redact=True), root=machine.root, quiet=True)
    assert (out / "saved_cmdlines").read_text() == "1 task-1\n2 k thread\n77 task-2\n"
    assert unpacked(out / "kallsyms.zst").splitlines() == [
        b"ffffffff81000000 T _stext",
        b"ffffffffc0000000 t kvm_mmu_alloc\t[kvm]",
        b"ffffffffc0100000 t bpf\t[bpf]",
        b"ffffffffc0200000 t __builtin__ftrace\t[__builtin__ftrace]",
    ]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        data = unpacked(path) if path.suffix == ".zst" else path.read_bytes()
        assert b"alice" not in data, path
        assert b"UUID" not in data, path
        assert b"secret" not in data, path


def test_perf_text_is_redacted(tmp_path: Path) -> None:
    text = b"""\
my job  1 [001] 12.5: kmem:mm_page_free: page=0x1 pfn=0x1 order=0
\tffffffff8161f42b free_unref_page
\t    55d0c0ffee00 alices_function

kswapd0 40 [000] 12.6: kmem:mm_page_free: page=0x2 pfn=0x2 order=0

my job 9 [000] 12.7: kmem:mm_page_free: page=0x3 pfn=0x3 order=0
Warning: alice
"""
    redact_perf_script(text.splitlines(keepends=True), tmp_path / "text.zst", Pseudonyms({40}))
    assert (
        unpacked(tmp_path / "text.zst")
        == b"""\
task-1 1 [001] 12.5: kmem:mm_page_free: page=0x1 pfn=0x1 order=0
\tffffffff8161f42b free_unref_page

kswapd0 40 [000] 12.6: kmem:mm_page_free: page=0x2 pfn=0x2 order=0

task-1 9 [000] 12.7: kmem:mm_page_free: page=0x3 pfn=0x3 order=0
"""
    )


def test_what_crashed_captures_left_is_removed(
    machine: FakeMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (
        "ptpool-4999999",
        f"ptpool-{os.getpid()}",
        "ptpool-4999999-changes",
        "ptpool-1",
        "ptpool-x",
        "somebody-else",
    ):
        machine.create(name)
    (machine.root / "proc" / str(os.getpid())).mkdir()
    record(Plan(tmp_path / "bundle", ["true"]), root=machine.root)
    assert sorted(path.name for path in machine.instances.iterdir()) == ["ptpool-1", "ptpool-x", "somebody-else"]
    assert "ptpool-4999999" in capsys.readouterr().err


@pytest.mark.parametrize("redact", [False, True])
def test_permission_changes_are_recorded_where_there_are_kprobes(
    redact: bool, machine: FakeMachine, tmp_path: Path
) -> None:
    mine, theirs = f"ptpool_{os.getpid()}/permission_change", "p:mine/probe do_exit"
    probes = machine.root / "sys/kernel/tracing/kprobe_events"
    probes.write_text(f"{theirs}\np:ptpool_4999999/permission_change f x\n")
    done = record(Plan(tmp_path / "bundle", ["true"], redact=redact), root=machine.root, quiet=True)
    assert done.permission_changes
    settings = machine.settings[f"ptpool-{os.getpid()}-changes"]
    assert settings["tracing_on"] == "0"
    assert settings["trace_clock"] == "mono"
    assert [name for name, value in settings.items() if name.endswith("/enable") and value == "1"] == [
        f"events/{mine}/enable"
    ]
    text = (tmp_path / "bundle/permission_changes").read_text()
    assert ("task-3-77 [000]" if redact else "alice-77 [000]") in text
    commands = probes.read_text().splitlines()
    assert commands[0] == theirs
    assert [line.split()[0] for line in commands[2:]] == [
        "-:ptpool_4999999/permission_change",
        f"p:{mine}",
        f"-:{mine}",
    ]
    assert list(machine.instances.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_recording_and_keeps_it(
    number: signal.Signals, machine: FakeMachine, tmp_path: Path
) -> None:
    threading.Timer(0.3, os.kill, [os.getpid(), number]).start()
    done = record(Plan(tmp_path / "bundle", ["sleep", "60"]), root=machine.root, quiet=True)
    assert (done.ended_by, done.exit_status) == ("interrupt", -signal.SIGTERM)
    assert (tmp_path / "bundle" / "after" / "buddyinfo").exists()
    assert list(machine.instances.iterdir()) == []


@pytest.mark.slow
def test_a_second_interrupt_drops_it(machine: FakeMachine, tmp_path: Path) -> None:
    for delay in (0.5, 1.0):
        threading.Timer(delay, os.kill, [os.getpid(), signal.SIGINT]).start()
    stubborn = ["sh", "-c", f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"]
    with pytest.raises(KeyboardInterrupt):
        record(Plan(tmp_path / "bundle", stubborn), root=machine.root, quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pid", "root"]
    assert list(machine.instances.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_it_ends_after_the_time_asked_for(machine: FakeMachine, tmp_path: Path) -> None:
    done = record(Plan(tmp_path / "bundle", seconds=0.2), root=machine.root, quiet=True)
    assert (done.ended_by, done.exit_status) == ("seconds", None)
    assert 0.2 <= done.seconds < 5


def full_after(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full when this many pages were written."""
    written, write = [0], os.write

    def limited(file: int, data: Any) -> int:
        if len(data) >= len(PAGE) // 2:
            written[0] += 1
            if written[0] == pages + 1:
                return write(file, data[: len(PAGE) // 2])
            if written[0] > pages + 1:
                raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr("ingest.recorder.drain.os.write", limited)


@pytest.mark.parametrize("while_recording", [False, True])
def test_a_full_disk_keeps_what_is_written(
    while_recording: bool, machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(name: str) -> Path:
        instance = machine.create(name)
        full = 3 * len(PAGE) if while_recording else 0  # else no CPU has a full page before the end
        (instance / "per_cpu/cpu0/stats").write_text(STATS.format(lost=0, bytes=full))
        return instance

    monkeypatch.setattr(Tracefs, "create", staticmethod(create))
    full_after(2, monkeypatch)
    out = tmp_path / "bundle"
    command = ["sleep", "60"] if while_recording else ["true"]
    with pytest.raises(UsageError, match=r"No space left on device after .* kept") as said:
        record(Plan(out, command), root=machine.root, quiet=True)
    assert str(out) in said.value.what
    assert f"ptpool ingest trace {out}" in said.value.remedy
    assert (out / "per_cpu/cpu0/trace_pipe_raw").read_bytes() == 2 * PAGE
    assert (out / "after/buddyinfo").exists()
    assert ring_losses(Lines((out / "ring_stats").read_text().splitlines())) == {
        0: 4,
        10: 11,
    }  # the page not written is counted as lost
    done = json.loads((out / "recording.json").read_text())
    assert (done["fault"], done["lost_events"]) == ("No space left on device", 15)
    assert done["ended_by"] == ("fault" if while_recording else "command")
    assert not (out / ".room").exists()
    assert list(machine.instances.iterdir()) == []


def test_a_disk_that_is_full_before_the_recording_is_said_with_the_path(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingest.recorder.recording.os.posix_fallocate", refuse)
    with pytest.raises(UsageError, match=r"bundle\.partial: it cannot be written \(No space left on device\)"):
        record(Plan(tmp_path / "bundle", ["true"]), root=machine.root, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_closed_standard_error_loses_nothing(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr("sys.stderr", closed)
        record(Plan(tmp_path / "bundle", ["true"]), root=machine.root)
    assert (tmp_path / "bundle/recording.json").exists()


def test_a_killed_recorder_leaves_what_can_be_imported_and_the_next_one_names_it(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        f"cd {tmp_path}/killed.partial && ls -d events/*/*/format events/header_page trace_clock before/* kallsyms.zst"
    )
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "listed"
    record(Plan(tmp_path / "killed", ["sh", "-c", f"sleep 0.3; {script} > {listed}"]), root=machine.root)
    assert "killed.partial" not in capsys.readouterr().err
    there = listed.read_text().split()
    for name in ("events/kmem/mm_page_alloc/format", "events/header_page", "trace_clock", "before/zoneinfo"):
        assert name in there

    (tmp_path / "killed").rename(tmp_path / "killed.partial")
    record(Plan(tmp_path / "next", ["true"]), root=machine.root)
    error = capsys.readouterr().err
    assert f"ptpool ingest trace {tmp_path}/killed.partial" in error
    assert f"rm -r {tmp_path}/killed.partial" in error


def test_a_setting_that_the_kernel_refuses_leaves_no_instance(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_stacks(name: str) -> Path:
        instance = machine.create(name)
        (instance / "options/stacktrace").unlink()
        return instance

    monkeypatch.setattr(Tracefs, "create", staticmethod(without_stacks))
    with pytest.raises(UsageError, match="options/stacktrace cannot be set"):
        record(Plan(tmp_path / "bundle", ["true"], backend="tracefs"), root=machine.root, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert list(machine.instances.iterdir()) == []


def test_files_that_cannot_be_read_are_named(machine: FakeMachine, tmp_path: Path) -> None:
    for name in ("modules", "pagetypeinfo", "kpageflags"):
        (machine.root / "proc" / name).unlink()
    done = record(Plan(tmp_path / "bundle", ["true"]), root=machine.root, quiet=True)
    assert done.missing == ["modules", "free_lists", "kpageflags", "pagetypeinfo"]


def test_a_kernel_that_hides_its_lists_is_recorded_without_them(
    machine: FakeMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine.root / "proc/kcore").unlink()
    done = record(Plan(tmp_path / "bundle", ["true"]), root=machine.root)
    assert done.missing == ["free_lists"]
    said = [line for line in capsys.readouterr().err.splitlines() if "free lists" in line]
    assert len(said) == 1
    assert "proc/kcore: No such file or directory): a replay draws the order of free blocks" in said[0]


def record_bytes(kind: int, *words: int) -> bytes:
    return struct.pack(f"=IHH{len(words)}Q", kind, 0, 8 + 8 * len(words), *words)


def test_samples_and_losses_are_counted_while_perf_writes(tmp_path: Path) -> None:
    whole = bytes(40) + struct.pack("=Q", 104) + bytes(56) + record_bytes(9, 1, 2) + record_bytes(2, 5, 30)
    whole += record_bytes(13, 12) + record_bytes(68) + record_bytes(9, 1)
    for cut in range(len(whole) + 1):
        (tmp_path / "perf.data").write_bytes(whole[:cut])
        progress = _Progress(tmp_path / "perf.data")
        progress.status()
        (tmp_path / "perf.data").write_bytes(whole)
        status = progress.status()
        assert (status.events, status.lost, status.bytes) == (2, 30, len(whole))


FORKS = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true; done"]


def test_this_machine_can_be_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracefs, name = Tracefs(Path("/")), f"ptpool-{os.getpid()}"
    try:
        usable = tracefs.missing() is None and tracefs.create(name)
    except OSError:
        usable = None
    if not usable:
        pytest.skip("no tracefs that may be used here")
    tracefs.remove(name)

    out, db = tmp_path / "bundle", ["--db", str(tmp_path / "db")]
    options = f"--backend tracefs --out {out} --buffer 16M --json --quiet --".split()
    assert run(["ingest", "capture", *options, *FORKS]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["bundle"], shown["exit_status"]) == (str(out), 0)
    assert shown["bytes"] == sum(path.stat().st_size for path in out.glob("per_cpu/*/trace_pipe_raw"))
    assert not (tracefs.path / "instances" / name).exists()

    assert run(["ingest", "trace", str(out), *db, "--quiet"]) == 0
    capsys.readouterr()
    query = """
        SELECT count(*) AS events, count(stack_id) AS with_stack, any_value(clock) AS clock, any_value(lost_events) AS lost,
               count(*) FILTER (consumer = 'pgtable_user') AS tables, count(*) FILTER (comm = 'sh') AS own,
               (SELECT count(DISTINCT moment) FROM page_flags) AS moments
        FROM page_event JOIN capture USING (capture_id)"""
    assert run(["sql", query, "--json", *db]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["events"] > 100
    assert found["with_stack"] > 0.9 * found["events"]
    assert min(found["tables"], found["own"]) > 10
    assert (found["clock"], found["moments"], found["lost"]) == ("mono", 2, shown["lost_events"])
