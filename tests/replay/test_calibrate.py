"""Calibration: the arithmetic, what is said of a machine, and where the numbers go. What is measured is made up here."""

import errno
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.statistics import median_rank
from ptpool.warehouse import open_warehouse
from replay.calibrate import conversion, host, penalty, profile, regions, store
from replay.calibrate.chase import chase
from replay.calibrate.estimate import estimate
from replay.profiles.costs import built_in, cost_profile

MACHINE = {"cpu": "Toy 9000", "cpus": 4, "arch": "x86_64", "kernel": "6.18.0", "memory_bytes": 1 << 33}


@pytest.mark.parametrize("n", range(6, 60))
def test_the_interval_is_the_narrowest_that_holds_the_median(n):
    def missed(k):  # both sides: fewer than k of n fair coins show heads, or more than n - k
        return sum(math.comb(n, i) for i in range(n + 1) if i < k or i > n - k) / 2**n

    rank = median_rank(n) + 1
    assert missed(rank) <= 0.05 < missed(rank + 1)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_an_estimate_is_of_the_values(values):
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == np.median(values)


def test_a_load_depends_on_the_one_before():
    def end(memory):
        with np.errstate(over="ignore"):
            return chase.py_func(memory, np.uint64(64 - 3), 50, np.uint64(7))

    zeros = np.zeros(8 * 8, dtype=np.uint64)
    other = zeros.copy()
    other[8 * 5] = 1  # the first word of a line; no other word is loaded
    assert end(zeros) != end(other)
    other[:] = 1
    other[::8] = 0
    assert end(zeros) == end(other)


def test_a_penalty_is_found_in_the_noise_of_other_work():
    rng = np.random.default_rng(3)
    order = []

    def take(working_set, i):
        order.append((working_set, i))
        true = {0: 12.0, 1: 10.0, 2: 9.6}[i] * (1 + working_set / 1024)
        return true * (1 + (rng.random() < 0.4) * rng.random())  # slowed down now and then, never quickened

    values, _ = penalty.curve([4096, 1 << 21, 1 << 30], [[64, 128], [64, 128], [128]], take, lambda share: None)
    slower = {(v.working_set_bytes, v.page_bytes): v.median for v in values if v.quantity == "penalty"}
    assert slower == pytest.approx({(64, 1 << 21): 20, (128, 1 << 21): 20, (128, 1 << 30): 25})
    loads = {(v.working_set_bytes, v.page_bytes) for v in values if v.quantity == "load"}
    assert loads - slower.keys() == {(64, 4096), (128, 4096)}
    assert order[: 2 * penalty.BURSTS] == [(64, 0), (64, 1)] * penalty.BURSTS  # in turn, never one kind after the other


def test_a_change_is_the_difference_of_neighbours():
    drift, order = iter(range(10**6)), []

    def take(busy, secret):
        order.append((busy, secret))
        return 1000.0 + 20_000 * secret + 100 * busy * secret + next(drift)  # the machine gets slower all the time

    values = conversion.price([0, 2], take, lambda share: None)
    changes = {v.busy_cpus: v.median for v in values if v.quantity == "permission_change"}
    assert changes == pytest.approx({0: 20_000, 2: 20_200}, abs=1)
    assert order[:8] == [(0, True), (0, False), (2, True), (2, False), (0, False), (0, True), (2, False), (2, True)]


@pytest.mark.parametrize(("others", "busy"), [(0, [0]), (1, [0, 1]), (5, [0, 1, 2, 4, 5]), (8, [0, 1, 2, 4, 8])])
def test_numbers_of_busy_cpus(others, busy):
    assert conversion.counts(others) == busy


SMAPS = """7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
AnonHugePages:      2048 kB
Private_Hugetlb:       0 kB
7f0000400000-7f0000800000 rw-p 00000000 00:00 0
AnonHugePages:         0 kB
Private_Hugetlb:    4096 kB
7f0000800000-7f0000c00000 rw-p 00000000 00:00 0
AnonHugePages:      4096 kB
"""


@pytest.mark.parametrize(("start", "size", "huge"), [(0, 4, 2), (0, 8, 6), (4, 4, 4), (6, 8, 8), (12, 4, 0)])
def test_what_memory_is_really_mapped_in(start, size, huge):
    assert regions.huge_bytes(SMAPS, 0x7F0000000000 + (start << 20), size << 20) == huge << 20


def test_small_pages_are_small_here():
    kind = regions.kinds()[0]
    words, share = regions.region(kind, 1 << 21)
    assert (kind.how, words.nbytes, words.any(), share) == ("small", 1 << 21, False, 1.0)


@pytest.mark.skipif("madvise" not in {kind.how for kind in regions.kinds()}, reason="no transparent huge pages")
def test_huge_pages_begin_where_one_can():
    (kind,) = (kind for kind in regions.kinds() if kind.how == "madvise")
    words, share = regions.region(kind, 2 * kind.page)
    assert words.ctypes.data % kind.page == 0 and words.nbytes == 2 * kind.page
    assert 0 <= share <= 1  # the kernel may refuse them, and then says so


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


@pytest.fixture
def found():
    take = {0: 12.0, 1: 10.0}
    loads, _ = penalty.curve([4096, 1 << 21], [[1 << 20, 1 << 21]] * 2, lambda w, i: take[i], lambda share: None)
    prices = conversion.price([0, 3], lambda busy, secret: 1000.0 + secret * (5000 + 200 * busy), lambda share: None)
    values = [*loads, *prices]
    made = {"made_at": "2026-01-02T03:04:05+00:00", "made_by": "ptpool", "command": 'ptpool "replay" calibrate'}
    return profile.Calibration(MACHINE, made, ["a remark"], values)


def test_a_profile_is_read_back_as_it_was_written(found, tmp_path):
    (tmp_path / "toy.toml").write_text(profile.text(found), encoding="utf-8")
    assert profile.load(tmp_path / "toy.toml") == found


def test_the_profile_is_a_cost_profile_with_the_measured_flush(found, tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(profile.text(found), encoding="utf-8")
    ours, built = cost_profile(str(path)).constants["x86_64"], built_in().constants["x86_64"]
    rest = built["change_ns"].typical + 3 * built["flush_per_cpu_ns"].typical
    flush = ours["flush_base_ns"]
    assert (flush.low, flush.typical, flush.high) == (5000 - rest, 5600 - rest, 5600 - rest)
    assert "3 of 3 other CPUs busy" in flush.source
    assert {n: c for n, c in ours.items() if n != "flush_base_ns"} == {
        n: c for n, c in built.items() if n != "flush_base_ns"
    }
    assert cost_profile(str(path)).of("x86_64").flush_ns(4) + 500 == pytest.approx(5600)  # what was measured comes out


def test_files_are_next_to_each_other_and_the_warehouse_keeps_the_latest(found, tmp_path):
    written = store.write(found, store.target(tmp_path / "toy.toml"))
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == {
        "toy.toml", "toy.csv", *(f"toy-{name}.{suffix}" for name in ("penalty", "conversion") for suffix in ("svg", "png"))
    }  # fmt: skip
    db = tmp_path / "w.duckdb"
    with open_warehouse(db, write=True):
        pass
    for _ in range(2):
        assert run(["replay", "calibrate", "--profile", str(tmp_path / "toy.toml"), "--db", str(db), "--quiet"]) == 0
    with open_warehouse(db) as connection:
        assert connection.execute("SELECT cpu, cpus, virtual, facts->>'remarks' FROM calibration").fetchall() == [
            ("Toy 9000", 4, None, '["a remark"]')
        ]
        (changes,) = connection.execute(
            "SELECT list(median ORDER BY busy_cpus) FROM calibration_value WHERE quantity = 'permission_change'"
        ).fetchone()
    assert changes == [5000, 5600]


def test_without_secret_memory_the_rest_goes_on(monkeypatch):
    def none():
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(conversion, "secret_memory", none)
    measured = conversion.measure(lambda share: None)
    assert measured.values == []
    (remark,) = measured.remarks
    assert "secretmem.enable=1" in remark and "not measured" in remark


def test_without_huge_pages_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(penalty, "kinds", lambda: regions.kinds()[:1])
    measured = penalty.measure(1 << 20, lambda share: None)
    assert measured.values == []
    assert "not measured" in measured.remarks[-1]


def test_nothing_measured_is_still_a_profile(tmp_path):
    made = {"made_at": "2026-01-02T03:04:05+00:00"}
    nothing = profile.Calibration(MACHINE, made, ["no huge pages", "no secret memory"], [])
    assert len(store.write(nothing, tmp_path / "toy.toml")) == 2
    assert profile.load(tmp_path / "toy.toml") == nothing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[x86_64", "not TOML"),
        ("[x86_64.flush_base_ns]\ntypical = 1\n", "no calibration"),
        (
            '[provenance]\nmade_at = "x"\nremarks = []\n[provenance.machine]\ncpu = "x"\ncpus = "many"\n',
            "no calibration",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(text, words, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        profile.load(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--memory", "3G"], "no size to measure"),
        (["--memory", "512K"], "no size to measure"),
        (["--out", "profile.txt"], "a profile is a .toml file"),
        (["--out", "nowhere/profile.toml"], "no such folder"),
        (["--profile", "missing.toml"], "No such file"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_measured(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["replay", "calibrate", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.splitlines()) <= 3 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_warehouse_is_refused_before_anything_is_measured(capsys, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("not a warehouse", encoding="utf-8")
    monkeypatch.setattr(store, "measured", None)
    command = ["replay", "calibrate", "--out", str(tmp_path / "toy.toml"), "--db", str(tmp_path / "notes.txt")]
    assert run(command) == 2
    assert "notes.txt" in capsys.readouterr().err
    assert not (tmp_path / "toy.toml").exists()


def test_the_default_place_is_the_users_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert store.target(None) == tmp_path / "ptpool" / "calibration.toml"
    assert Path(tmp_path / "ptpool").is_dir()
