"""The /proc snapshots as rows."""

from pathlib import Path

import numpy as np
import pytest

from ingest.snapshots.proc import (
    Lines,
    MalformedError,
    buddyinfo,
    iomem,
    meminfo,
    memory_end,
    page_flag_runs,
    pagetypeinfo,
    vmstat,
    zoneinfo,
)  # fmt: skip

ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 7
  pages free     3840
        min      4
        spanned  4095
        protection: (0, 1930, 15984)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count:    11
              high_min: 28
  vm stats threshold: 4
    cpu: 12
              count:    0
  vm stats threshold: 4
  node_unreclaimable:  0
  start_pfn:           1
Node 1, zone   Normal
  pages free     5
        spanned  100
  pagesets
    cpu: 12
              count:    9
  start_pfn:           65536
"""


def test_pagesets_are_apart_from_the_values_of_zones() -> None:
    values, pagesets = zoneinfo(Lines(ZONEINFO.splitlines()))
    assert values == [
        ("Node 0, zone DMA, pages free", 3840),
        ("Node 0, zone DMA, min", 4),
        ("Node 0, zone DMA, spanned", 4095),
        *((f"Node 0, zone DMA, protection[{i}]", pages) for i, pages in enumerate((0, 1930, 15984))),
        ("Node 0, zone DMA, nr_free_pages", 3840),
        ("Node 0, zone DMA, node_unreclaimable", 0),
        ("Node 0, zone DMA, start_pfn", 1),
        ("Node 1, zone Normal, pages free", 5),
        ("Node 1, zone Normal, spanned", 100),
        ("Node 1, zone Normal, start_pfn", 65536),
    ]
    assert pagesets == [
        (0, "DMA", 0, "count", 11),
        (0, "DMA", 0, "high_min", 28),
        (0, "DMA", 0, "vm stats threshold", 4),
        (0, "DMA", 12, "count", 0),
        (0, "DMA", 12, "vm stats threshold", 4),
        (1, "Normal", 12, "count", 9),
    ]
    assert memory_end(dict(values)) == 65636
    assert memory_end({}) is None


def test_reserves_that_are_garbled_are_passed_over() -> None:
    lines = Lines(["Node 0, zone DMA", "  protection: (0, 1 2)", "  protection: ()", "  min 5"])
    assert zoneinfo(lines) == ([("Node 0, zone DMA, min", 5)], [])
    assert lines.passed == 2


def test_values_before_the_first_zone_are_refused() -> None:
    with pytest.raises(MalformedError, match="line 1: pages free"):
        zoneinfo(Lines(ZONEINFO.splitlines()[3:]))


def test_counters_are_signed_though_the_kernel_prints_some_unsigned() -> None:
    text = [f"nr_dirtied {(1 << 64) - 3}", "nr_free_cma -4", f"pgalloc_normal {(1 << 32) - 1}", f"top {1 << 63}"]
    assert [value for _, value in vmstat(Lines(text))] == [-3, -4, (1 << 32) - 1, -(1 << 63)]
    text = [f"VmallocUsed: {(1 << 32) - 4} kB", f"HugePages_Rsvd: {(1 << 32) - 1}"]
    assert meminfo(Lines(text), 32) == [("VmallocUsed", -4), ("HugePages_Rsvd", -1)]
    assert meminfo(Lines(text), 64) == [("VmallocUsed", (1 << 32) - 4), ("HugePages_Rsvd", -1)]


def test_what_is_not_known_is_passed_over_and_counted() -> None:
    lines = Lines(["Rbin Total:  4096 kB", "MemTotal: 8 kB", "", "=== vendor ===", "MemFree: 4 pages"])
    assert meminfo(lines) == [("Rbin Total", 4096), ("MemTotal", 8)]
    assert lines.passed == 2
    lines = Lines(["Node 0, zone Normal 1 2", "$ "])
    assert buddyinfo(lines) == [(0, "Normal", None, 0, 1), (0, "Normal", None, 1, 2)]
    assert lines.passed == 1
    with pytest.raises(MalformedError, match="line 1: cat: /proc/vmstat"):
        vmstat(Lines(["cat: /proc/vmstat: No such file or directory"]))


ANDROID = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1
Node    0, zone   Normal, type    Unmovable      1      2
Node    0, zone   Normal, type      Movable      3    >100000
Node    0, zone   Normal, type  Reclaimable      0      0
Node    0, zone   Normal, type          CMA      5      0
Node    0, zone   Normal, type   HighAtomic      0      0
Node    0, zone   Normal, type         Rbin      7      0

Number of blocks type     Unmovable      Movable  Reclaimable          CMA   HighAtomic         Rbin
Node 0, zone   Normal            1            2            3            4            0            9
"""


def test_columns_of_pagetypeinfo_give_the_numbers_of_migratetypes() -> None:
    lines = Lines(ANDROID.splitlines())
    found = pagetypeinfo(lines)
    assert found.names == ["Unmovable", "Movable", "Reclaimable", "CMA", "HighAtomic", "Rbin"]
    assert found.block_order == 9
    assert (0, "Normal", "CMA", 4) in found.blocks
    assert not [row for row in (*found.free, *found.blocks) if row[2] == "Rbin"]
    assert lines.passed == 1


def test_memory_by_any_name_counts_once() -> None:
    text = """\
00001000-0009ffff : System RAM
00100000-7fffffff : System RAM
  01000000-01ffffff : Kernel code
100000000-17fffffff : Persistent Memory
  100000000-17fffffff : dax0.0
    100000000-17fffffff : System RAM (kmem)
180000000-1ffffffff : System RAM (virtio_mem)
  180000000-18fffffff : System RAM
8000000000-80ffffffff : System RAM (boot alias)
$ exit
"""
    lines = Lines(text.splitlines())
    rows = iomem(lines, 65536)
    ram = [(first << 16, last + 1 << 16) for first, last, name in rows if name == "System RAM"]
    assert ram == [(0x10000, 0xA0000), (0x100000, 0x80000000), (1 << 32, 6 << 30), (6 << 30, 8 << 30)]
    assert [row for row in rows if row[2] != "System RAM"] == [(0x100, 0x1FF, "Kernel code")]
    assert lines.passed == 1


@pytest.mark.parametrize("order", ["<u8", ">u8"])
def test_page_flags_of_either_byte_order(order: str, tmp_path: Path) -> None:
    words = np.array([1 << 20, 1 << 32, 1 << 10, 1 << 10, 1 << 26 | 1 << 32, 1 << 5], np.uint64)
    (tmp_path / "kpageflags").write_bytes(words.astype(order).tobytes())
    first, last, flags = page_flag_runs(tmp_path / "kpageflags")
    assert list(zip(first, last, flags, strict=True)) == [
        (0, 0, 1 << 20), (1, 1, 0), (2, 3, 1 << 10), (4, 4, 1 << 26), (5, 5, 1 << 5),
    ]  # fmt: skip
