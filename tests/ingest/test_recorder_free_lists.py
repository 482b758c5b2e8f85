"""The lists of a kernel in a core: in their order, torn, in a circle, and where the kernel cannot be read."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from fake_kernel import IMAGE, VMEMMAP, FakeKernel, btf

from ingest.recorder.free_lists.kcore import Kcore
from ingest.recorder.free_lists.snapshot import FreeLists
from ingest.snapshots.free_lists import PAGEBLOCK

ZONES = [(0, 0, "DMA", 0, 512), (0, 2, "Normal", 512, 1024), (1, 2, "Normal", 2048, 1000)]
DMA, NORMAL, FAR = range(3)


@pytest.fixture
def kernel() -> FakeKernel:
    made = FakeKernel(ZONES)
    made.free(DMA, 0, 1, [7, 3, 300])
    made.free(NORMAL, 3, 0, [1024, 520])
    made.free(FAR, 1, 3, [2300, 2050])
    made.cache(NORMAL, 1, 1 * 3 + 2, [602, 600], 4)  # order 1, type 2
    made.cache(FAR, 0, 13, [2560], 512)  # huge, type 1
    for section, bits in enumerate((0x10, 0x02, 0x31)):  # bits 0 to 2 and 4 to 6: type
        made.poke(IMAGE + 0x10000 + 16 * section + 8, "B", bits)
    return made


EXPECTED = [
    *((pfn, 0, 1, 0) for pfn in (7, 3, 300)),
    *((pfn, 3, 0, 2) for pfn in (1024, 520)),
    *((pfn, 1, 3, 2 | 1 << 20) for pfn in (2300, 2050)),
    *((pfn, 1, 2, 2 | 2 << 8) for pfn in (602, 600)),
    (2560, 9, 1, 2 | 1 << 8 | 1 << 20),
]
PAGEBLOCKS = [(0, 0), (512, 1), (1024, 2), (2048, 1), (2560, 3)]


def rows(lists: FreeLists) -> list[Any]:
    return [row for row in lists.read().reading.rows.tolist() if row[3] != PAGEBLOCK]


def counted(lists: FreeLists) -> dict[str, int]:
    names = ("torn", "broken", "overlaps", "left_out", "nr_free_differs", "pcp_count_differs")
    return {name: n for name in names if (n := lists.read().notes[name])}


def test_every_list_in_its_order(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.write(tmp_path)
    lists = FreeLists(tmp_path)
    assert (lists.cost, rows(lists), counted(lists)) == ("", EXPECTED, {})
    blocks = [row for row in lists.read().reading.rows.tolist() if row[3] == PAGEBLOCK]
    assert blocks == [(pfn, 9, kind, PAGEBLOCK) for pfn, kind in PAGEBLOCKS]


def test_the_sidecar_tells_names_and_no_address(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.write(tmp_path)
    text = FreeLists(tmp_path).read().json().decode()
    said = json.loads(text)
    assert said["zones"][2] == {
        "node": 1,
        "index": 2,
        "name": "Normal",
        "start": 2048,
        "spanned": 1000,
        "present": 1000,
    }
    assert (said["types"]["MIGRATE_HIGHATOMIC"], said["cpus"], len(said["zones"])) == (3, 2, 3)
    assert max(int(number) for number in re.findall(r"\d+", text)) < 1 << 20


def test_a_link_that_does_not_agree_ends_its_list(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.poke(kernel.links(3) + 8, "Q", kernel.links(300))  # prev
    kernel.write(tmp_path)
    lists = FreeLists(tmp_path)
    assert rows(lists) == [EXPECTED[0], *EXPECTED[3:]]
    assert counted(lists) == {"torn": 20_000, "broken": 1, "nr_free_differs": 1}


def test_a_circle_ends(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.poke(kernel.links(300), "Q", kernel.links(7))  # next
    kernel.write(tmp_path)
    lists = FreeLists(tmp_path)
    assert rows(lists) == EXPECTED
    assert counted(lists) == {"torn": 20_000, "broken": 1}


def test_a_page_that_moved_is_read_again(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.write(tmp_path)
    lists, read, seen = FreeLists(tmp_path), Kcore.read, []

    def sometimes_gone(core: Kcore, address: int, size: int) -> bytes:
        seen.append(address)
        gone = address == kernel.links(3) - 8 and seen.count(address) % 4 != 0  # three of four times
        return bytes(size) if gone else read(core, address, size)

    monkeypatch.setattr(Kcore, "read", sometimes_gone)
    assert rows(lists) == EXPECTED
    assert counted(lists)["torn"] > 2


def test_no_page_is_in_two_blocks(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.free(NORMAL, 0, 2, [521])  # of the block at 520
    kernel.write(tmp_path)
    lists = FreeLists(tmp_path)
    assert rows(lists) == EXPECTED
    assert counted(lists) == {"overlaps": 3, "left_out": 1}

    read, seen = Kcore.read, []

    def split_meanwhile(core: Kcore, address: int, size: int) -> bytes:
        seen.append(address)
        return (
            bytes(size) if address == kernel.links(520) - 8 and seen.count(address) > 1 else read(core, address, size)
        )

    monkeypatch.setattr(Kcore, "read", split_meanwhile)
    assert [row[0] for row in rows(lists) if 512 <= row[0] < 600] == [521]


def test_without_symbols_only_the_cpus_lists_are_missing(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.write(tmp_path)
    (tmp_path / "proc/kallsyms").write_text("0000000000000000 D __per_cpu_offset\n")
    lists = FreeLists(tmp_path)
    assert "the CPUs' free lists cannot be read (/proc/kallsyms hides them)" in lists.cost
    assert rows(lists) == EXPECTED[:7]
    assert lists.read().notes["cpus"] == 0


def test_nodes_that_vmcoreinfo_does_not_tell_are_those_of_the_symbols(kernel: FakeKernel, tmp_path: Path) -> None:
    del kernel.symbols["node_data"]  # as on arm64
    kernel.write(tmp_path)
    assert rows(FreeLists(tmp_path)) == EXPECTED
    (tmp_path / "proc/kallsyms").unlink()
    assert "hides where the nodes are" in FreeLists(tmp_path).cost


def test_a_kernel_without_numa(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.symbols = {"contig_page_data": IMAGE + 0x1000, "mem_section": kernel.symbols["mem_section"]}
    kernel.write(tmp_path)
    assert [row[:3] for row in rows(FreeLists(tmp_path))] == [row[:3] for row in EXPECTED if row[0] < 2000]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("proc/kcore", None, "proc/kcore: No such file or directory"),
        ("proc/kcore", lambda data: data.replace(b"ELF\2", b"ELF\1"), "64-bit little-endian"),
        ("proc/kcore", lambda data: data[:40], "64-bit little-endian"),
        ("proc/kcore", lambda data: data[:-0x4000], "kcore gives"),
        ("sys/kernel/btf/vmlinux", None, "the kernel has no BTF"),
        ("sys/kernel/btf/vmlinux", lambda data: data[:-1], "cut off"),
        ("sys/kernel/btf/vmlinux", lambda data: b"", "cut off"),
        ("sys/kernel/btf/vmlinux", lambda data: b"\x00\x01" + data[2:], "not of version 1"),
        ("sys/kernel/btf/vmlinux", lambda data: data.replace(b"lru", b"lrx").replace(b"buddy_", b"muddy_"), "nor lru"),
        ("sys/kernel/btf/vmlinux", lambda data: data.replace(b"nr_free", b"mr_free"), "free_area has no nr_free"),
        ("proc/pagetypeinfo", None, "pagetypeinfo: No such file"),
        ("proc/pagetypeinfo", lambda data: b"", "damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_the_cost(
    name: str, change: Any, words: str, kernel: FakeKernel, tmp_path: Path
) -> None:
    kernel.write(tmp_path)
    path = tmp_path / name
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    cost = FreeLists(tmp_path).cost
    assert words in cost
    assert cost.endswith("a replay draws the order of free blocks")
    assert "\n" not in cost


def test_a_memory_map_in_pieces_is_not_read(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.poke(IMAGE + 0x8110, "Q", VMEMMAP + 0x10000 | 7)
    kernel.write(tmp_path)
    assert "no SPARSEMEM_VMEMMAP" in FreeLists(tmp_path).cost


def test_lockdown_refuses(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(core: Kcore, address: int, size: int) -> bytes:
        raise PermissionError(1, "Operation not permitted")

    kernel.write(tmp_path)
    monkeypatch.setattr(Kcore, "read", refused)
    assert "(/proc/kcore: Operation not permitted)" in FreeLists(tmp_path).cost


def test_damaged_type_information_never_ends_the_recording(kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.write(tmp_path)
    good, chance = btf(), random.Random(1)
    said = 0
    for _ in range(150):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(good))] = chance.randrange(256)
        (tmp_path / "sys/kernel/btf/vmlinux").write_bytes(damaged)
        said += FreeLists(tmp_path).cost != ""
    assert said > 50
